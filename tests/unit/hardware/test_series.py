from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from pytest_llmbench.hardware.series import energy_over, others_cpu, rows, span

SECOND = 10**9


def at(second: float, **values: Any) -> dict[str, Any]:
    return {"t": int(second * SECOND), **values}


def test_a_span_is_bracketed_by_samples() -> None:
    samples = [at(0), at(1), at(2), at(3)]
    assert span(samples, int(1.2 * SECOND), int(1.8 * SECOND)) == (1, 2)
    assert span(samples, SECOND, 2 * SECOND) == (1, 2)
    assert span(samples, -5 * SECOND, 9 * SECOND) == (0, 3)
    assert span(samples, 8 * SECOND, 9 * SECOND) == (3, 3)


def test_counters_become_rates_and_gauges_stay() -> None:
    first = at(
        0, rss=5, cpu_time_core0=1.0, cpu_time_core1=1.0, own_time=0.0, cpu_pressure_time=0.0, steal_time=0.0
    )
    second = at(
        2, rss=7, cpu_time_core0=2.0, cpu_time_core1=3.0, own_time=1.0, cpu_pressure_time=0.5, steal_time=0.2
    )
    row = list(rows([first, second], [0, 1]))[1]
    assert row["rss"] == 7
    assert (row["cpu_percent_core0"], row["cpu_percent_core1"], row["cpu_percent"]) == (50.0, 100.0, 75.0)
    assert row["own_cpu"] == 0.5
    assert row["foreign_cpu"] == 1.0
    assert row["cpu_pressure"] == 0.25
    assert row["steal"] == pytest.approx(0.05)


def test_a_slow_counter_is_held_against_its_own_last_reading() -> None:
    samples = [at(0, swap_in_bytes=0), at(1), at(2), at(4, swap_in_bytes=400)]
    table = list(rows(samples, []))
    assert table[3]["swap_in"] == 100
    assert "swap_in" not in table[2]


def test_edges_are_no_rows() -> None:
    assert len(list(rows([at(0), at(0.05, edge=True), at(0.1)], []))) == 2


def test_others_cpu_counts_the_usable_cores_alone() -> None:
    samples = [
        at(0, cpu_time_core0=0.0, cpu_time_core1=0.0, own_time=0.0),
        at(1, cpu_time_core0=1.0, cpu_time_core1=0.5, own_time=1.0),
    ]
    assert others_cpu(samples, [0, 1]) == 0.5
    assert others_cpu(samples, [0]) == 0.0
    assert others_cpu(samples[:1], [0]) is None


def test_energy_is_the_difference_of_the_counters_at_the_edges() -> None:
    samples = [at(0, gpu0_energy=10.0, package0_energy=1.0), at(2, gpu0_energy=110.0, package0_energy=21.0)]
    energy = energy_over(samples, 0, 2 * SECOND, {})
    assert energy.domains == {"gpu0": 100.0, "package0": 20.0}
    assert (energy.joules, energy.method, energy.reason) == (120.0, "nvml_counter+rapl", None)


def test_energy_between_samples_is_read_off_the_line() -> None:
    samples = [at(0, package0_energy=0.0), at(1, package0_energy=10.0), at(2, package0_energy=30.0)]
    assert energy_over(samples, SECOND // 2, SECOND * 3 // 2, {}).joules == pytest.approx(15.0)


@pytest.mark.parametrize("counter", [{}, {"gpu0_energy": 7.0}])
def test_power_is_integrated_where_no_counter_moved(counter: dict[str, float]) -> None:
    samples = [at(0, gpu0_power=100.0, **counter), at(1, gpu0_power=300.0, **counter)]
    energy = energy_over(samples, 0, SECOND, {})
    assert energy.joules == pytest.approx(200.0)
    assert energy.method == "power_integral"
    assert energy_over(samples, SECOND // 2, SECOND, {}).joules == pytest.approx(125.0)


def test_a_span_too_short_for_the_counter_of_a_gpu_has_its_power_over_the_time() -> None:
    # As an H100 counted rounds of 20 ms at 160 W: nothing, then all of 120 ms at once.
    readings = [100.0, 100.0, 100.0, 119.0, 119.0, 119.0]
    samples = [at(0.02 * i, edge=True, gpu0_energy=value) for i, value in enumerate(readings)]
    samples = [at(-0.05, gpu0_power=150.0, gpu0_energy=100.0), *samples, at(0.15, gpu0_power=170.0)]
    for i in range(5):
        energy = energy_over(samples, round(0.02 * i * SECOND), round(0.02 * (i + 1) * SECOND), {})
        assert energy.joules == pytest.approx(0.02 * 160.0, rel=0.1)
        assert energy.method == "power_integral"


def test_a_short_span_without_power_has_no_energy_and_says_so() -> None:
    samples = [at(0, gpu0_energy=100.0), at(0.05, gpu0_energy=119.0)]
    energy = energy_over(samples, 0, SECOND // 20, {})
    assert energy.joules is None
    assert energy.reason == "gpu0: the window is too short, or was not sampled"


def test_power_from_long_ago_gives_no_energy() -> None:
    energy = energy_over([at(0, gpu0_power=100.0)], 5 * SECOND, 6 * SECOND, {})
    assert energy.joules is None
    assert "gpu0" in (energy.reason or "")


def test_no_energy_is_null_with_the_reasons() -> None:
    energy = energy_over(
        [at(0), at(1)], 0, SECOND, {"gpu": "no driver", "package_energy": "for root", "x": "y"}
    )
    assert asdict(energy) == {
        "joules": None,
        "method": None,
        "reason": "gpu: no driver; package_energy: for root",
        "domains": {},
    }


def test_a_domain_that_is_missing_is_said_beside_the_sum_of_the_others() -> None:
    energy = energy_over(
        [at(0, package0_energy=0.0), at(1, package0_energy=4.0)], 0, SECOND, {"gpu0_energy": "Not Supported"}
    )
    assert energy.joules == 4.0
    assert energy.reason == "gpu0_energy: Not Supported"

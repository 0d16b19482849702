from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmbench.hardware.cpu import CpuThrottling, CpuTime
from pytest_llmbench.hardware.disturbance import BOUNDS, assess, gap, slows_cpu
from pytest_llmbench.hardware.memory import Memory, Pressure
from pytest_llmbench.hardware.nvml import GpuProcesses, GpuState
from pytest_llmbench.hardware.processes import ProcessTrees
from pytest_llmbench.hardware.raspberry import RaspberryThrottling

SECOND = 10**9
Make = Callable[[float], dict[str, Any]]


def quiet(second: float) -> dict[str, Any]:
    """Two cores, an engine of one thread, a machine that does nothing else; ticks of 10 ms."""
    return {
        "t": int(second * SECOND),
        "cpu_time_core0": round(second, 2),
        "cpu_time_core1": round(0.03 * second, 2),
        "own_time": round(second, 2),
        "steal_time": round(0.005 * second, 2),
        "cpu_pressure_time": 0.02 * second,
        "memory_pressure_time": 0.0,
        "swap_in_bytes": int(4096 * second),
        "swap_out_bytes": 0,
        "throttle_count": 17,
        "gpu0_event_reasons": 0x4,
        "gpu0_foreign_processes": 0,
        "pi_throttled": 0x50000,
    }


def series(seconds: float, **changes: Callable[[float], float]) -> list[dict[str, Any]]:
    """Samples at 10 Hz, with some fields by other functions of the time."""
    beats = [quiet(n / 10) for n in range(int(seconds * 10) + 1)]
    for beat in beats:
        beat.update({name: change(beat["t"] / SECOND) for name, change in changes.items()})
    return beats


def codes(samples: list[dict[str, Any]], start: float, end: float, cores: int = 2) -> tuple[str, ...]:
    return assess(samples, int(start * SECOND), int(end * SECOND), range(cores)).codes


def test_a_quiet_machine_gives_no_code() -> None:
    assert codes(series(10), 1, 9) == ()
    assert codes(series(10), 3.01, 3.02) == ()


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("foreign_cpu", {"cpu_time_core1": lambda s: 0.3 * s}),
        ("steal", {"steal_time": lambda s: 0.05 * s}),
        ("cpu_pressure", {"cpu_pressure_time": lambda s: 0.2 * s, "cpu_time_core1": lambda s: 0.1 * s}),
        ("memory_pressure", {"memory_pressure_time": lambda s: 0.05 * s}),
        ("swap", {"swap_out_bytes": lambda s: int(4e6 * s)}),
        ("foreign_gpu", {"gpu0_foreign_processes": lambda s: 1}),
        ("throttled", {"throttle_count": lambda s: 17 + int(s)}),
        ("throttled", {"gpu0_event_reasons": lambda s: 0x40}),
        ("throttled", {"pi_throttled": lambda s: 0x50004}),
    ],
)
def test_each_disturbance_has_its_code(code: str, changes: dict[str, Callable[[float], float]]) -> None:
    assert codes(series(10, **changes), 1, 9) == (code,)
    assert code in BOUNDS


def test_a_tick_at_the_wrong_moment_is_no_disturbance() -> None:
    """A round of 20 ms in which two ticks of others fell: a whole core, taken by itself."""
    samples = series(10, cpu_time_core1=lambda s: 0.02 if s > 5 else 0.0)
    assert codes(samples, 5.0, 5.02) == ()


def test_a_short_round_inside_a_disturbed_second_is_marked() -> None:
    samples = series(10, cpu_time_core1=lambda s: max(0.0, min(s - 4, 2.0)))
    assert codes(samples, 5.0, 5.05) == ("foreign_cpu",)
    assert codes(samples, 8.0, 8.05) == ()


def test_a_burst_in_a_long_round_is_marked() -> None:
    samples = series(60, cpu_time_core1=lambda s: max(0.0, min(s - 30, 2.0)))
    assert codes(samples, 0, 60) == ("foreign_cpu",)


def test_pressure_that_the_engine_makes_itself_is_no_disturbance() -> None:
    samples = series(10, cpu_pressure_time=lambda s: s, cpu_time_core1=lambda s: s, own_time=lambda s: 2 * s)
    assert codes(samples, 1, 9) == ()


def test_a_large_machine_bears_more_of_others() -> None:
    samples = series(10, cpu_time_core1=lambda s: 0.3 * s)
    assert codes(samples, 1, 9, cores=64) == ()


def test_a_foreign_process_that_computes_nothing_is_no_disturbance() -> None:
    idle = series(10, gpu0_foreign_processes=lambda s: 1, gpu0_foreign_utilization=lambda s: 0.0)
    assert codes(idle, 1, 9) == ()


def test_what_was_not_read_is_no_code_and_null() -> None:
    samples = [{"t": n * SECOND // 10} for n in range(30)]
    assessment = assess(samples, 0, 2 * SECOND, [0])
    assert assessment.codes == ()
    assert set(assessment.figures) == set(BOUNDS)
    assert set(assessment.figures.values()) == {None}


def test_no_samples_at_all_are_no_code() -> None:
    assert assess([], 0, SECOND, [0]).codes == ()


def test_every_bound_says_why() -> None:
    assert all(bound.why and bound.unit and bound.burst >= bound.mean for bound in BOUNDS.values())


@pytest.mark.parametrize(
    ("start", "end", "missing"),
    [
        (1.0, 9.0, None),
        (3.01, 3.02, None),
        (-2.0, 1.0, "nothing was read in the first 2 s"),
        (8.0, 12.5, "nothing was read in the last 2.5 s"),
        (11.0, 12.0, "nothing was read in that time"),
    ],
)
def test_a_span_is_watched_if_samples_stand_on_both_its_sides(
    start: float, end: float, missing: str | None
) -> None:
    assert gap(series(10), int(start * SECOND), int(end * SECOND), 3.0) == missing


def test_a_span_with_a_hole_in_its_samples_is_not_watched() -> None:
    samples = [s for s in series(10) if not 3 * SECOND < s["t"] < 7 * SECOND]
    assert gap(samples, SECOND, 9 * SECOND, 3.0) == "nothing was read for 4 s"
    assert gap(samples, SECOND, 9 * SECOND, 5.0) is None
    assert gap(samples, 8 * SECOND, 9 * SECOND, 3.0) is None
    assert gap([], 0, 1, 3.0) == "nothing was read in that time"


def test_every_code_names_probes_that_there_are() -> None:
    named = {probe for bound in BOUNDS.values() for probe in bound.probes}
    probes = (
        CpuTime,
        ProcessTrees,
        Pressure,
        Memory,
        CpuThrottling,
        RaspberryThrottling,
        GpuState,
        GpuProcesses,
    )
    assert named == {probe.name for probe in probes}


def test_others_use_of_the_cpus_does_not_make_cpu_time_longer_and_what_is_not_known_may() -> None:
    assert [code for code in BOUNDS if not slows_cpu(code)] == [
        "foreign_cpu",
        "steal",
        "cpu_pressure",
        "foreign_gpu",
    ]
    assert slows_cpu("a code of a later version")

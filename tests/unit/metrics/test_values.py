"""Do live and stored records have the same values of every metric?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmbench.errors import LLMBenchWarning
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.row import Metric
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.metrics.values import case_values, computed, process_values
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.rows import round_row
from tests.fakes.llmbench_levels import a_level

MS = 1_000_000
OF_A_CASE = Metric(
    name="slowest",
    unit="s",
    better="lower",
    scope="case",
    formula="the longest time to first token",
    source="https://example.org",
    of_case=lambda case: max(one.value("ttft") or 0.0 for p in case.processes for one in p.rounds),
)


def a_round(first: int, *, counted: bool = True, **more: object) -> Round:
    times = tuple(1_000 * MS + (first + 10 * index) * MS + index for index in range(5))
    line = Timeline(1_000 * MS, 1_001 * MS, None, times, times[-1], 16, 5, "o", "p", "length")
    return Round(replace(line, **more), 5_000, counted=counted, measured={"energy": 2.0})  # type: ignore[arg-type]


def a_run() -> Run:
    rounds = [a_round(50), a_round(70, counted=False), a_round(90, untimed="buffered")]
    level = {"load_time": 1.5, "peak_rss": 2**20, "system_throughput": 80.0, "goodput": None}
    return Run("default", {}, [ProcessRun(1, {}, {}, rounds, level, load=a_level())] * 2)


@pytest.mark.parametrize("metric", METRICS)
def test_a_stored_case_has_the_values_of_the_run(metric: str) -> None:
    run = a_run()
    case = case_from_run(run, nodeid="a::b", backend="x", model=ModelSpec("tiny"), outcome="passed")
    assert case_values(metric, case) == case_values(metric, run) == list(run.metric(metric).values)


def test_a_metric_has_the_values_of_its_scope_that_count() -> None:
    run = a_run()
    assert case_values("ttft", run) == [0.05, 0.09] * 2
    assert case_values("itl", run) == [0.010000001] * 8
    assert case_values("energy_per_token", run) == [0.4] * 4
    assert case_values("instructions_per_token", run) == [1000.0] * 4
    assert case_values("peak_rss", run) == [2**20] * 2
    assert case_values("system_throughput", run) == [80.0] * 2
    assert case_values("goodput", run) == []
    assert process_values("ttft", run.processes[0], run.processes[0].rounds[:2]) == [0.05, 0.07]


def test_a_value_that_a_level_has_of_a_metric_of_rounds_stands_for_its_requests() -> None:
    run = a_run()
    assert case_values("cpu_time_per_token", run) == []
    for number, process in enumerate(run.processes):
        run.processes[number] = replace(process, measured={**process.measured, "cpu_time_per_token": 0.002})
    case = case_from_run(run, nodeid="a::b", backend="x", model=ModelSpec("tiny"), outcome="passed")
    for process in (*run.processes, *case.processes):
        assert process.values["cpu_time_per_token"] == process.value("cpu_time_per_token") == 0.002
        assert process_values("cpu_time_per_token", process, process.rounds[:1]) == [0.002]
        assert process_values("cpu_time_per_token", process, []) == [0.002]
    assert case.values("cpu_time_per_token") == list(run.cpu_time_per_token.values) == [0.002, 0.002]
    record = case.metrics["cpu_time_per_token"]
    assert (record.n, record.median, record.intervals) == (2, 0.002, None)
    assert "cpu_time_per_token" not in case.processes[0].rounds[0].values
    row = round_row(case, case.processes[0], 0, 0)
    assert (row["cpu_time_per_token"], row["prefill_cpu_time"]) == (0.002, None)


def test_a_metric_of_a_case_has_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "slowest", OF_A_CASE)
    run = a_run()
    case = case_from_run(run, nodeid="a::b", backend="x", model=ModelSpec("tiny"), outcome="passed")
    assert run.slowest.values == (0.09,)
    assert (case.case_values, case.values("slowest")) == ({"slowest": 0.09}, [0.09])
    assert (case.metrics["slowest"].n, case.metrics["slowest"].median) == (1, 0.09)


def test_values_of_a_metric_without_a_row_are_found_where_they_are() -> None:
    run = a_run()
    run.processes[0].measured["strange"] = 3.0
    run.rounds[0].measured["odd"] = 4.0
    case = case_from_run(run, nodeid="a::b", backend="x", model=ModelSpec("tiny"), outcome="passed")
    assert case.values("strange") == [3.0, 3.0]
    assert case.values("odd") == [4.0, 4.0]
    assert case.values("gone") == []


def test_a_metric_is_an_attribute_and_what_is_none_is_refused() -> None:
    run = a_run()
    case = case_from_run(run, nodeid="a::b", backend="x", model=ModelSpec("tiny"), outcome="passed")
    for process in (run.processes[0], case.processes[0]):
        assert (process.peak_rss, process.rounds[0].ttft) == (2**20, 0.05)  # type: ignore[union-attr]
        assert process.peak_vram is None  # type: ignore[union-attr]
        assert not hasattr(process, "ttfs")
        assert not hasattr(process.rounds[0], "ttfs")


def test_a_function_that_fails_gives_no_value_and_says_so() -> None:
    broken = replace(METRICS["ttft"], compute=lambda line: 1 / 0)
    with pytest.warns(
        LLMBenchWarning, match="the metric ttft of a round cannot be computed: ZeroDivisionError"
    ):
        assert computed(broken, broken.of, a_round(50).timeline) is None

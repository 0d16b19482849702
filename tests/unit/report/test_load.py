"""Can a sweep be read: its columns, its marks, and what failed?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmbench.report.load import legend, sweeps
from pytest_llmbench.report.markdown import markdown_table
from pytest_llmbench.report.table import case_tables, render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.results.records import CaseRecord
from tests.fakes.llmbench_levels import a_failure_record, a_load_record

MakeCase = Callable[..., CaseRecord]
Level = Callable[..., CaseRecord]


@pytest.fixture
def level(make_case: MakeCase) -> Level:
    def make(
        concurrency: int = 8, throughput: float = 800.0, latency: float = 1.0, **load: Any
    ) -> CaseRecord:
        case = make_case(
            f"benchmarks/test_s.py::test_load[server-name-c{concurrency}]",
            values={
                "system_throughput": [throughput],
                "request_throughput": [throughput / 64],
                "ttft": [0.05] * 200,
                "tpot": [0.01] * 200,
                "decode_throughput": [100.0] * 200,
                "itl": [0.011] * 200,
                "e2e_latency": [latency] * 200,
                "peak_rss": None,
            },
            rounds=(3,),
            backend="server",
        )
        case.protocol.concurrency = concurrency
        case.processes[0].load = a_load_record(**load)
        return case

    return make


def lines(cases: list[CaseRecord], width: int = 80) -> list[str]:
    return [line for table in case_tables(cases) for line in render(table, Screen(width)).splitlines()]


def test_a_level_has_its_own_columns(level: Level) -> None:
    text = lines([level()])
    assert text[0].split() == ["req/s", "out", "user", "TTFT", "TTFT", "TPOT", "TPOT", "gap", "ok", "fail"]
    assert "12.5" in text[-1]
    assert text[-1].endswith("3    0")


def test_a_level_says_how_fast_a_user_is_served(level: Level) -> None:
    text = lines([level(throughput=800.0)])
    assert text[1].split()[1:] == ["tok/s", "tok/s", "p50", "p99", "p50", "p99", "p99"]
    assert text[-1].split()[1:4] == ["12.5", "800", "100"]


def test_models_and_levels_have_a_table_each(level: Level, make_case: MakeCase) -> None:
    assert len(case_tables([level(), make_case()])) == 2
    assert len(case_tables([level()])) == 1
    assert case_tables([]) == []


def test_a_wide_table_fits_160_columns_and_a_narrow_one_80(level: Level) -> None:
    cases = [level(n) for n in (1, 8, 64)]
    assert max(map(len, lines(cases))) <= 80
    assert max(map(len, lines(cases, 160))) <= 160
    assert "CPU" in lines(cases, 160)[1]


def test_the_knee_of_a_sweep_is_marked(level: Level) -> None:
    cases = [level(1, 100, 1.0), level(8, 700, 1.1), level(64, 750, 8.0), level(256, 760, 32.0)]
    marked = [line for line in lines(cases) if "^" in line]
    assert any("700^" in line for line in marked)
    assert any(line.startswith("^ knee") for line in marked)


def test_a_sweep_is_of_one_test_and_server_by_rising_load(level: Level) -> None:
    one, other = level(64), level(8)
    elsewhere = level(8)
    elsewhere.nodeid = "benchmarks/test_s.py::test_load[server@other-name-c8]"
    assert sweeps([one, elsewhere, other]) == [[other, one], [elsewhere]]


def test_failures_are_told_by_kind(level: Level) -> None:
    case = level()
    case.processes[0].failures = [
        a_failure_record(),
        a_failure_record(),
        a_failure_record("reset", status=None),
    ]
    assert lines([case])[-1] == "test_load[server-name-c8]: failed: 2 HTTP 503, 1 reset"


def test_what_is_not_to_be_believed_is_marked_and_explained(level: Level) -> None:
    text = "\n".join(
        lines([level(8, saturated=True, saturation="it grew"), level(9, invalid="it was late")], 200)
    )
    assert "s test_load[server-name-c8]: it grew" in text
    assert "x test_load[server-name-c9]: it was late" in text
    assert "800s" in text
    assert "800x" in text
    assert not any(line.startswith("s ") for line in legend([level(saturated=False)], wide=False))


def test_a_rate_says_why_it_is_not_known_whether_it_was_held_and_a_concurrency_does_not(level: Level) -> None:
    rate, closed = level(8, saturated=None, saturation="too few"), level(9, saturated=None)
    rate.protocol.arrivals = "poisson"
    text = lines([rate, closed], 200)
    assert "s? test_load[server-name-c8]: it is not known whether it was saturated: too few" in text
    assert sum("800s?" in line for line in text) == 1
    assert sum(line.startswith("s? ") for line in text) == 1


def test_tokens_per_chunk_show_where_they_are_not_one(level: Level) -> None:
    assert any("3.97" in line for line in lines([level(tokens_per_chunk=3.97)]))


def test_a_metric_that_a_buffered_stream_cannot_tell_is_marked_and_explained_once(level: Level) -> None:
    cases = [level(8), level(9), level(10)]
    for case in cases[:2]:
        case.unknown = dict.fromkeys(("tpot", "itl", "goodput"), "buffered")
        for name in ("tpot", "itl"):
            del case.metrics[name]
    text = lines(cases, 200)
    assert "good" in text[0]
    (told,) = [line for line in text if line.startswith("# ")]
    assert "buffers the stream" in told
    assert "proxy_buffering off" in told
    # TPOT at four percentiles, the gap, and goodput.
    assert [sum(cell == "-#" for cell in line.split()) for line in text if "-c" in line and "#" in line] == [
        6,
        6,
    ]
    assert not any(line.startswith("#") for line in lines([level()]))


def test_hidden_tokens_have_a_column_where_there_are_any(level: Level) -> None:
    case = level()
    for measured, hidden in zip(case.rounds, (100, 120, 110), strict=True):
        measured.hidden_tokens = hidden
    text = lines([case])
    assert "hidden" in text[0]
    assert "110" in text[-1].split()
    assert "hidden" not in lines([level()])[0]


def test_goodput_shows_where_there_are_objectives(level: Level, make_case: MakeCase) -> None:
    case = level()
    case.metrics["goodput"] = case.metrics["request_throughput"]
    assert "good" in lines([case])[0]


def test_confidence_intervals_show_in_a_wide_table(level: Level) -> None:
    case = level()
    case.metrics["ttft"].intervals = {"p50": (0.045, 0.055)}
    text = "\n".join(lines([case], 200))
    assert "50.0 ms ±10%" in text
    assert "half the 95% confidence interval" in text


def test_markdown_has_both_tables(level: Level, make_case: MakeCase) -> None:
    text = markdown_table([make_case(), level()])
    assert text.count("| case |") == 2
    assert "req/s" in text

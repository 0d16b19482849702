"""What does a person see who prints a run, or whose assert on one fails?"""

from __future__ import annotations

import pytest

from pytest_llmbench.bench.model import Generated
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.results.frames import read_results
from pytest_llmbench.results.records import ResultsDocument, Session
from tests.fakes.llmbench_levels import a_failure, a_level

MS = 1_000_000
STAMP = 7_000_000_000_123


def a_round(first: int = 6, tokens: int = 500) -> Round:
    times = tuple(STAMP + first * MS + index * MS for index in range(tokens))
    timeline = Timeline(STAMP, STAMP + MS, STAMP + 5 * MS, times, times[-1], 16, tokens, "a", "b", "length")
    return Round(timeline, instructions=4, measured={"energy": 1.0})


def a_run(rounds: int = 15, **process: object) -> Run:
    made = [a_round(6 + index % 2) for index in range(rounds)]
    return Run(
        "default",
        {},
        [ProcessRun(1, {}, {}, made, {"load_time": 0.5, "peak_rss": 2**30, "peak_vram": 2**30})],
    )


def test_a_printed_run_is_a_table_of_at_most_ten_lines() -> None:
    run = a_run()
    lines = str(run).splitlines()
    assert len(run.metrics) > 10
    assert len(lines) == 10
    assert lines[0].split() == ["default:", "15", "rounds", "median", "spread", "min", "max", "n"]
    assert lines[1].split() == ["ttft", "6.00", "ms", "±9%", "6.00", "ms", "7.00", "ms", "15"]
    assert lines[-1].startswith("and peak_rss, peak_vram, ")
    assert set(lines[-1].removeprefix("and ").split(", ")) < set(METRICS)
    assert max(map(len, lines[:-1])) <= 80


def test_a_run_that_is_not_to_be_believed_says_so_when_it_is_printed() -> None:
    run = a_run()
    run.processes[0].load = a_level(invalid="its client was late")
    run.processes[0].failures = [a_failure()]
    lines = str(run).splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("default: 15 requests, 1 failed")
    assert lines[-1] == "not valid: its client was late"


def test_a_run_that_measured_nothing_can_be_printed() -> None:
    assert str(Run("default", {})).splitlines()[0].startswith("default: 0 rounds")
    assert repr(Run("default", {})) == "<Run default: 0 rounds; nothing measured>"


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary("ttft", (0.0064, 0.0064, 0.0067)), "ttft: median 6.40 ms ±3%, 6.40 ms to 6.70 ms, n 3"),
        (Summary("peak_rss", (2.0**30,)), "peak_rss: median 1.00 GiB, n 1"),
        (Summary("energy", ()), "energy: no value"),
        (Summary("energy", (0.0, 0.0)), "energy: median 0 J, 0 J to 0 J, n 2"),
    ],
)
def test_a_printed_metric_is_its_median_with_unit_and_spread(summary: Summary, text: str) -> None:
    assert str(summary) == text
    assert repr(summary) == f"<{text}>"


def test_what_an_assert_shows_has_no_stamps() -> None:
    run = a_run(1000)
    document = ResultsDocument(session=Session(id="20260102T030405Z-0a1b2c3d", started="now"))
    shown = [
        run,
        run.ttft,
        run.itl,
        run.rounds[0],
        run.rounds[0].timeline,
        run.processes[0],
        Generated("word " * 999, run.rounds[0]),
        read_results(document),
    ]
    for one in shown:
        assert len(repr(one)) < 160, repr(one)
        assert str(STAMP)[:6] not in repr(one)
    assert repr(run) == "<Run default: 1000 rounds; ttft 6.50 ms, tpot 1.00 ms, itl 1.00 ms>"
    assert (
        repr(run.rounds[0].timeline) == "<Timeline: 500 tokens, the first after 0.006 s, done after 0.505 s>"
    )


def test_a_failing_assert_shows_the_value(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from tests.unit.measure.test_run import a_run

        def test_it():
            run = a_run(1000)
            assert run.ttft.median < 0.001
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:llmbench")
    result.stdout.fnmatch_lines(
        ["E * assert 0.0065* < 0.001", "E *where 0.0065* = <ttft: median 6.50 ms *>.median"]
    )
    assert str(STAMP)[:6] not in result.stdout.str()

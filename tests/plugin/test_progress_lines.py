"""Does a log say how far a long session is, and does nothing else change by that?"""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Run

BENCH = """
import pytest

@pytest.mark.llm(models=["tiny"], rounds=1, warmup_rounds=0, max_new_tokens=2)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_speed(llm_model, n):
    llm_model.measure("a")

def test_other(): pass
"""
ALWAYS = "--llm-progress-every=0.000001"


def test_where_there_is_no_terminal_lines_say_what_is_measured_what_is_next_and_how_long_it_takes(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(BENCH)
    result = run(ALWAYS)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "llmbench: [[]1/3[]] fake tiny: *; next test_speed?fake-tiny-2?",
            "llmbench: [[]2/3, * left[]] fake tiny: *; next test_speed?fake-tiny-3?",
            "llmbench: [[]3/3, * left[]] fake tiny: round 1/1",
        ]
    )


def test_a_short_session_has_none_of_them(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    run().stdout.no_fnmatch_line("llmbench: [[]*")


@pytest.mark.parametrize("argument", ["-q", "--llm-progress-every=0"])
def test_who_wants_none_has_none(bench: pytest.Pytester, run: Run, argument: str) -> None:
    bench.makepyfile(BENCH)
    run(*({ALWAYS, argument} if argument == "-q" else {argument})).stdout.no_fnmatch_line("llmbench: [[]*")


def test_what_is_skipped_is_not_counted(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    run(ALWAYS, "-k", "1 or 2").stdout.fnmatch_lines(["llmbench: [[]2/2, *"])


def test_with_workers_the_controller_says_how_many_are_over(bench: pytest.Pytester, run: Run) -> None:
    pytest.importorskip("xdist")
    bench.makepyfile(BENCH)
    result = run(ALWAYS, "-n1")
    result.assert_outcomes(passed=4)
    lines = [line for line in result.outlines if line.startswith("llmbench: [")]
    assert [line.partition(" done, ")[0] for line in lines] == ["llmbench: [1/3", "llmbench: [2/3"]

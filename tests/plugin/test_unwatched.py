"""When nobody watched the machine: is that said, and never taken for quiet?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

DYING = """
import pytest

@pytest.mark.llm(rounds=2, warmup_rounds=0, max_new_tokens=2)
def test_one(llm_model, hw_monitor):
    llm_model.measure("before", label="before")
    hw_monitor._process.kill()
    llm_model.measure("after", label="after")
"""

ONE = """
import pytest

@pytest.mark.llm(rounds=5, processes=2, warmup_rounds=0, max_new_tokens=2)
def test_one(llm_model):
    {first}
    llm_model.measure("hello")
"""


def test_rounds_after_the_sampler_died_are_null_with_a_reason_and_marked_in_the_table(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(DYING)
    result = run(monitor=True)
    result.assert_outcomes(passed=1)
    before, after = document()["cases"]
    assert all(isinstance(r["disturbance"], list) for r in before["processes"][0]["rounds"])
    (process,) = after["processes"]
    assert [r["disturbance"] for r in process["rounds"]] == [None, None]
    assert after["disturbance"] is None
    assert "ended by itself, with status -9" in process["unwatched"]
    assert process["watch_lost"] is True
    result.stdout.fnmatch_lines(
        ["*after*?2", "[?] rounds that were not watched, and may have been disturbed: the sampler process*"]
    )


def test_with_the_monitor_off_no_round_is_said_to_be_undisturbed(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(ONE.format(first="pass"))
    result = run()
    result.assert_outcomes(passed=1)
    for process in document()["cases"][0]["processes"]:
        assert {r["disturbance"] for r in process["rounds"]} == {None}
        assert (process["unwatched"], process["watch_lost"]) == ("the hardware monitor is off", False)
    # It is what the user asked for: no mark.
    result.stdout.no_fnmatch_line("*not watched*")


def test_a_case_that_was_not_watched_is_no_pass(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(ONE.format(first="pass"))
    run("--llm-save=main").assert_outcomes(passed=1)
    bench.makepyfile(ONE.format(first="llm_model._runtime.start_monitor()._process.kill()"))
    result = run("--llm-compare=main", "--llm-gate=ttft", "--llm-inconclusive=fail", monitor=True)
    result.assert_outcomes(failed=1)
    (case,) = document()["cases"]
    assert case["verdict"] == "invalid"
    assert "10 of 10 rounds were disturbed or not watched (unwatched)" in case["judgments"][0]["reason"]

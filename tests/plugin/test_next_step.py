"""Does a session end with what the gate could not judge, and with a command that takes just that up again?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmbench.hardware.monitor import HardwareMonitor
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

BENCH = """
import pytest

@pytest.mark.llm(rounds=2, max_new_tokens=4)
@pytest.mark.parametrize("name", ["one", "two"])
def test_open(llm_model, name):
    llm_model.measure("hello")

@pytest.mark.llm(rounds=5, max_new_tokens=4, thresholds={"tpot": "off", "ttft": "<100s"})
def test_judged(llm_model):
    llm_model.measure("hello")
"""
FAST = "--llm-option=fake.seconds_per_token=0.001"
# So few pairs can say nothing of times.
PAIRS = (FAST, "--llm-ab=fake.seconds_per_token=0.002", "--llm-gate=tpot", "--llm-budget=2")
FOLLOWS = "--llm-inconclusive=fail makes that exit with 1"


@pytest.fixture(autouse=True)
def under_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last lines are all that is read."""
    monkeypatch.setenv("CI", "true")


def last_lines(result: pytest.RunResult) -> list[str]:
    """What stands above pytest's own last line, the last first."""
    lines = [line for line in result.outlines if line.strip()]
    return lines[-2::-1]


def test_the_last_line_counts_what_was_not_judged(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(BENCH)
    result = run(*PAIRS)
    assert result.ret == pytest.ExitCode.OK
    said = "the gate could not judge 2 of 3 cases (2 inconclusive)"
    assert last_lines(result)[0] == f"{said}: {FOLLOWS}"
    strict = run(*PAIRS, "--llm-inconclusive=fail")
    assert strict.ret == pytest.ExitCode.TESTS_FAILED
    strict.assert_outcomes(failed=2, passed=1)
    strict.stdout.fnmatch_lines([f"{said}, which fails their tests (--llm-inconclusive=fail)"])
    monkeypatch.delenv("CI")
    run(*PAIRS).stdout.no_fnmatch_line("the gate could not judge*")


def test_a_session_that_judged_everything_says_nothing_of_it(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    result = run(*PAIRS, "-k", "test_judged")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*could not judge*")
    result.stdout.no_fnmatch_line("*to decide*")


def test_the_command_that_is_proposed_runs_what_is_not_decided_and_decides_it(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(BENCH)
    (line,) = [line for line in run(*PAIRS).outlines if line.startswith("to decide")]
    found = re.fullmatch(r"to decide 2 of 3 cases: add (.*) \(about \d+ s\)", line)
    assert found is not None, line
    result = run(*PAIRS, *shlex.split(found[1]))
    result.assert_outcomes(passed=2, deselected=1)
    result.stdout.fnmatch_lines(["2 cases: 2 pass*"])


def test_a_case_is_named_where_its_function_has_others_that_are_not_open(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.llm(rounds=2, max_new_tokens=4)
        @pytest.mark.parametrize("name", ["one", "two"])
        def test_open(llm_model, name):
            llm_model.measure("hello") if name == "one" else llm_model.generate("hello")
        """
    )
    (line,) = [line for line in run(*PAIRS, "--llm-missing=warn").outlines if line.startswith("to decide")]
    found = re.search(r"-k '(.*)'", line)
    assert found is not None, line
    assert found[1] == "test_open[fake-tiny-one]"
    run(*PAIRS, "-k", found[1]).assert_outcomes(passed=1, deselected=1)


@pytest.mark.parametrize("paired", [True, False])
def test_what_is_invalid_exits_with_1_where_that_was_asked_for(
    bench: pytest.Pytester,
    run: Run,
    document: Document,
    monkeypatch: pytest.MonkeyPatch,
    paired: bool,
) -> None:
    bench.makepyfile(BENCH)
    if paired:
        how = (*PAIRS, "--llm-disturbed=drop")
    else:
        run(FAST, "--llm-save=main")
        how = (FAST, "--llm-compare=main", "--llm-gate=tpot")
    monkeypatch.setattr(HardwareMonitor, "disturbance", lambda self, start, end: ("foreign_cpu",))
    result = run(*how, "-k", "test_open", monitor=True)
    assert {case["verdict"] for case in document()["cases"]} - {None} == {"invalid"}
    assert result.ret == pytest.ExitCode.OK
    assert last_lines(result)[0] == f"the gate could not judge 2 of 2 cases (2 invalid): {FOLLOWS}"
    strict = run(*how, "-k", "test_open", "--llm-inconclusive=fail", monitor=True)
    assert strict.ret == pytest.ExitCode.TESTS_FAILED
    strict.assert_outcomes(failed=2, deselected=1)


def test_one_process_against_one_is_told_to_measure_more(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    run(FAST, "--llm-save=main")
    how = (FAST, "--llm-compare=main", "--llm-gate=tpot")
    result = run(*how)
    result.stdout.fnmatch_lines(["to decide 2 of 3 cases: add --llm-processes=3 -k test_open"])
    assert run(*how, "--llm-inconclusive=fail").ret == pytest.ExitCode.TESTS_FAILED


def test_an_engine_that_ran_is_told_what_it_takes(bench: pytest.Pytester, run: Run) -> None:
    pytest.importorskip("llama_cpp")
    bench.makepyfile(
        """
        import pytest

        @pytest.mark.llm(models=["tiny"], rounds=2, max_new_tokens=4)
        def test_speed(llm_model):
            llm_model.measure("hello")
        """
    )
    ab = ("--llm-ab=llamacpp.n_batch=512", "--llm-gate=ttft", "--llm-budget=2")
    result = run(*ab, backend="llamacpp", monitor=True)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.re_match_lines([r"to decide it: add --llm-(budget=\d+|clock=cpu) \(about \d+ s\)"])
    assert "could not judge 1 of 1 case (1 inconclusive)" in last_lines(result)[0]

"""Does a regression fail its own test, in words, and nothing else?"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

BENCH = """
import pytest

@pytest.mark.llm(processes=3, rounds=4, max_new_tokens=8)
def test_speed(llm_model):
    llm_model.measure("hello")
"""

FAST = "--llm-option=fake.seconds_per_token=0.002"
SLOW = "--llm-option=fake.seconds_per_token=0.006"


@pytest.fixture
def slower(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the same engine slower from now on: nothing that identifies a case changes."""
    return lambda: monkeypatch.setenv("LLMBENCH_FAKE_SECONDS", "0.004")


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of --llm-missing depends on it."""
    monkeypatch.delenv("CI", raising=False)


# -- stored baselines ---------------------------------------------------------------------------


def test_an_unchanged_run_passes_against_its_baseline(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    for _ in range(2):
        run(FAST, "--llm-save=main").assert_outcomes(passed=1)
    result = run(FAST, "--llm-compare=main", "--llm-gate=tpot")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*LLM comparison*", "*tpot*"])


def test_a_slower_run_fails_its_test_in_the_terminal_in_junit_and_in_the_exit_status(
    bench: pytest.Pytester, run: Run, document: Document, slower: Callable[[], None]
) -> None:
    bench.makepyfile(BENCH + "\ndef test_other(): pass\n")
    for _ in range(3):
        run(FAST, "--llm-save=main")
    slower()
    result = run(FAST, "--llm-compare=main", "--llm-gate=tpot", "--junitxml=junit.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*test_speed*fail*", "*tpot: fail*", "*base*", "*now*", "*change*"])
    suite = ElementTree.parse(bench.path / "junit.xml").getroot()[0]
    assert suite.get("failures") == "1"
    (case,) = document()["cases"]
    assert case["outcome"] == "failed"
    assert case["verdict"] == "fail"
    assert case["judgements"][0]["metric"] == "tpot"


def test_a_failed_case_is_the_one_that_lf_runs_again(bench: pytest.Pytester) -> None:
    bench.makepyfile(BENCH + "\ndef test_other(): pass\n")
    fixed = ["--llm-backend=fake", "--llm-monitor-rate=0"]
    bench.runpytest_inprocess(*fixed, FAST, "--llm-save=main").assert_outcomes(passed=2)
    slow = [*fixed, SLOW, "--llm-compare=main", "--llm-threshold=tpot:<3ms"]
    bench.runpytest_inprocess(*slow).assert_outcomes(failed=1, passed=1)
    bench.runpytest_inprocess(*slow, "--lf").assert_outcomes(failed=1)


def test_a_missing_baseline_is_a_usage_error(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    result = run("--llm-compare=nothing")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *nothing*"])


def test_what_has_no_counterpart_is_told_and_fails_where_asked(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(test_one=BENCH)
    run(FAST, "--llm-save=main")
    bench.makepyfile(
        test_one=BENCH.replace("test_speed", "test_renamed") + BENCH.replace("test_speed", "test_new")
    )
    result = run(FAST, "--llm-compare=main", "--llm-missing=warn")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*renamed*"])
    assert run(FAST, "--llm-compare=main", "--llm-missing=fail").ret == pytest.ExitCode.TESTS_FAILED


def test_a_case_that_nobody_measured_any_more_fails_under_ci(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = BENCH + "\ndef test_gone(llm_model): llm_model.measure('x', rounds=1)\n"
    bench.makepyfile(test_one=two)
    run(FAST, "--llm-save=main").assert_outcomes(passed=2)
    bench.makepyfile(test_one=BENCH)
    compare = (FAST, "--llm-compare=main", "--llm-inconclusive=pass", "--llm-gate=tpot")
    assert run(*compare).ret == pytest.ExitCode.OK
    monkeypatch.setenv("CI", "true")
    result = run(*compare)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*test_gone*"])
    bench.makepyfile(test_one=two)
    # What was left out on purpose is not missing.
    assert run(*compare, "-k", "test_speed").ret == pytest.ExitCode.OK


def test_a_session_with_a_failure_is_no_baseline(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(
        BENCH + "\ndef test_bad(llm_model):\n    llm_model.measure('x', rounds=1)\n    assert False\n"
    )
    result = run(FAST, "--llm-save=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the baseline 'main' was not changed: 1 failed*"])
    assert run(FAST, "--llm-compare=main").ret == pytest.ExitCode.USAGE_ERROR


def test_thresholds_of_the_marker_hold_and_the_command_line_beats_them(
    bench: pytest.Pytester, run: Run
) -> None:
    bench.makepyfile(BENCH.replace("processes=3,", 'processes=3, thresholds={"tpot": "<1ms"},'))
    run(FAST, "--llm-save=main").assert_outcomes(passed=1)
    compare = (FAST, "--llm-compare=main", "--llm-gate=tpot")
    result = run(*compare)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tpot: fail*"])
    run(*compare, "--llm-threshold=tpot:<1s").assert_outcomes(passed=1)


# -- A/B ----------------------------------------------------------------------------------------


def test_a_slower_side_fails_and_a_faster_base_is_kept_beside_it(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(BENCH)
    result = run(SLOW, "--llm-ab=fake.seconds_per_token=0.002", "--llm-gate=tpot")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tpot: fail*", "*signed-rank*"])
    now, base = document()["cases"]
    assert (now["measurement"], base["measurement"]) == ("default", "default@base")
    assert now["verdict"] == "fail"
    assert len(now["processes"]) == len(base["processes"])
    assert base["protocol"]["ab"] == {"fake.seconds_per_token": "0.002"}


def test_a_faster_side_passes(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    run(FAST, "--llm-ab=fake.seconds_per_token=0.006", "--llm-gate=tpot").assert_outcomes(passed=1)
    result = run(
        FAST, "--llm-ab=fake.seconds_per_token=0.006", "--llm-gate=tpot", "--llm-fail-on-improvement"
    )
    result.assert_outcomes(failed=1)


def test_a_budget_of_pairs_ends_in_words(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile(BENCH)
    ab = ("--llm-ab=fake.seconds_per_token=0.002", "--llm-gate=tpot", "--llm-budget=2")
    result = run(SLOW, *ab)
    result.assert_outcomes(passed=1, warnings=1)
    assert [len(case["processes"]) for case in document()["cases"]] == [2, 2]
    assert document()["cases"][0]["verdict"] == "inconclusive"
    run(SLOW, *ab, "--llm-inconclusive=fail").assert_outcomes(failed=1)
    run(SLOW, *ab, "--llm-inconclusive=pass").assert_outcomes(passed=1, warnings=0)


def test_a_variable_of_the_base_side_reaches_its_process_alone(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(BENCH)
    run(FAST, "--llm-ab=env.LLMBENCH_FAKE_SECONDS=0.006", "--llm-gate=tpot").assert_outcomes(passed=1)
    now, base = document()["cases"]
    assert now["judgements"][0]["improved"]
    assert base["protocol"]["ab"] == {"env.LLMBENCH_FAKE_SECONDS": "set"}
    assert "LLMBENCH_FAKE_SECONDS" not in os.environ


def test_the_base_side_keeps_its_own_model(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile("def test_speed(llm_model): llm_model.measure('hello', rounds=2, max_new_tokens=4)")
    run(FAST, "--llm-ab=quantization=q8_0", "--llm-budget=1", "--llm-inconclusive=pass")
    assert [case["model"]["quantization"] for case in document()["cases"]] == ["f16", "q8_0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llm-ab=quantisation=q8_0"], "--llm-ab has no key 'quantisation'; did you mean 'quantization'?*"),
        (["--llm-ab=speed"], "--llm-ab: 'speed' is no KEY=VALUE*"),
        (["--llm-ab="], "--llm-ab says in what the base side differs*"),
        (["--llm-ab=model=tinny"], "*'tinny'*tiny*"),
        (["--llm-ab=fake.contxt=5"], "*contxt*context*"),
        (["--llm-ab=model=tiny model=tiny"], "--llm-ab gives 'model' twice"),
        (["--llm-ab=model=tiny", "--llm-compare=x"], "*give one of them"),
        (["--llm-budget=5"], "*give --llm-ab too"),
        (["--llm-ab=model=tiny", "--llm-budget=soon"], "--llm-budget=soon: write a number of pairs*"),
        (["--llm-ab=model=tiny", "--llm-threshold=tpt:5%"], "*'tpt'*tpot*"),
        (["--llm-ab=model=tiny", "--llm-gate=speed"], "*'speed'*ttft*"),
        (["--llm-ab=model=tiny", "--llm-missing=maybe"], "--llm-missing=maybe: not one of fail, warn"),
        (["--llm-ab=model=tiny", "--llm-inconclusive=no"], "--llm-inconclusive=no: not one of*"),
    ],
)
def test_a_wrong_option_of_the_gate_is_a_usage_error(
    bench: pytest.Pytester, run: Run, options: list[str], message: str
) -> None:
    bench.makepyfile(BENCH)
    result = run(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "Traceback" not in result.stderr.str()


def test_pairs_need_fresh_processes(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(BENCH)
    result = run("--llm-ab=model=tiny", "--llm-isolation=model", "--llm-processes=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*--llm-ab needs isolation='test'*"])


def test_the_gate_is_refused_in_workers_of_xdist(bench: pytest.Pytester, run: Run) -> None:
    pytest.importorskip("xdist")
    bench.makepyfile(BENCH)
    result = run(FAST, "--llm-ab=model=tiny", "-n1")
    assert result.ret != pytest.ExitCode.OK

"""Does a regression fail its own test, in words, and nothing else?"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_llmbench.hardware.monitor import HardwareMonitor
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
    return lambda: monkeypatch.setenv("LLMBENCH_FAKE_SECONDS", "0.02")


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
    result.stdout.fnmatch_lines(["tpot +*%*", "*tpot: fail*", "*base*", "*now*", "*change*"])
    suite = ElementTree.parse(bench.path / "junit.xml").getroot()[0]
    assert suite.get("failures") == "1"
    (case,) = document()["cases"]
    assert case["outcome"] == "failed"
    assert case["verdict"] == "fail"
    assert case["judgments"][0]["metric"] == "tpot"


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
    run(FAST, "--llm-save=main", "--llm-threshold=tpot:<1s").assert_outcomes(passed=1)
    compare = (FAST, "--llm-compare=main", "--llm-gate=tpot")
    result = run(*compare)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*tpot: fail*"])
    run(*compare, "--llm-threshold=tpot:<1s").assert_outcomes(passed=1)


ONE = """
def test_one(llm_model):
    llm_model.measure("hello", rounds=1, max_new_tokens=4)
"""


# -- the life of a failure ----------------------------------------------------------------------

THREE = """
import os

import pytest

@pytest.mark.llm(rounds=3, max_new_tokens=8)
@pytest.mark.parametrize("name", ["first", "second", "third"])
def test_speed(llm_model, name, monkeypatch):
    if name == os.environ.get("SLOWER"):
        monkeypatch.setenv("LLMBENCH_FAKE_SECONDS", "0.01")
    llm_model.measure("hello")
"""


def outcomes(bench: pytest.Pytester) -> dict[str, str]:
    """Test to outcome, of those that the last run's JUnit file has."""
    suite = ElementTree.parse(bench.path / "junit.xml").getroot()[0]
    kinds = {case.get("name", ""): [part.tag for part in case] for case in suite}
    return {
        name.partition("[")[2].rstrip("]").rpartition("-")[2]: "failed" if "failure" in tags else "passed"
        for name, tags in kinds.items()
    }


def test_a_regression_stops_a_session_with_x_and_lf_runs_it_again_and_nothing_that_passed(
    bench: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(test_one=THREE, test_two=ONE)
    # Twice as slow is a regression on any machine; what is loaded now and was not is none.
    fixed = ["--llm-backend=fake", "--llm-monitor-rate=0", "--llm-gate=tpot", "--llm-threshold=tpot:90%"]
    fixed += [FAST, "--junitxml=junit.xml"]
    for _ in range(3):
        bench.runpytest_inprocess(*fixed, "--llm-save=main").assert_outcomes(passed=4)
    compare = [*fixed, "--llm-compare=main", "--llm-inconclusive=pass", "--llm-missing=fail"]
    monkeypatch.setenv("SLOWER", "second")
    result = bench.runpytest_inprocess(*compare, "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    assert outcomes(bench) == {"first": "passed", "second": "failed"}
    suite = ElementTree.parse(bench.path / "junit.xml").getroot()[0]
    assert suite.get("failures") == "1"
    (failure,) = suite.iter("failure")
    assert "tpot: fail" in (failure.text or "") + failure.get("message", "")
    bench.runpytest_inprocess(*compare, "--lf")
    assert outcomes(bench) == {"second": "failed"}
    monkeypatch.delenv("SLOWER")
    result = bench.runpytest_inprocess(*compare, "--lf")
    assert outcomes(bench) == {"second": "passed"}
    # What --lf leaves out, on purpose and file by file, is not missing.
    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(("policy", "status"), [("fail", 1), ("warn", 0)])
def test_the_document_has_the_exit_status_that_the_gate_leaves(
    bench: pytest.Pytester, run: Run, document: Document, policy: str, status: int
) -> None:
    bench.makepyfile(ONE + ONE.replace("test_one", "test_gone"))
    run(FAST, "--llm-save=main").assert_outcomes(passed=2)
    bench.makepyfile(ONE)
    compare = (FAST, "--llm-compare=main", "--llm-inconclusive=pass", "--llm-gate=tpot")
    result = run(*compare, f"--llm-missing={policy}")
    assert (result.ret, document()["session"]["exit_status"]) == (status, status)
    (stored,) = [path for path in results(bench) if path["session"]["id"] == document()["session"]["id"]]
    assert stored["session"]["exit_status"] == status


def test_a_baseline_that_cannot_be_written_fails_the_session_and_the_documents_say_so(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(ONE)
    (bench.path / ".llmbench").mkdir()
    (bench.path / ".llmbench" / "baselines").write_text("no folder")
    result = run(FAST, "--llm-save=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the baseline 'main' could not be saved*"])
    assert document()["session"]["exit_status"] == 1
    assert [one["session"]["exit_status"] for one in results(bench)] == [1]


def results(bench: pytest.Pytester, folder: str = "results") -> list[dict[str, Any]]:
    """The documents in a folder of the store, the oldest first."""
    paths = sorted((bench.path / ".llmbench" / folder).glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def ids(documents: list[dict[str, Any]]) -> list[str]:
    return [document["session"]["id"] for document in documents]


# -- replacing the baseline ---------------------------------------------------------------------

UPDATE = (FAST, "--llm-update-baseline", "--llm-gate=tpot", "--llm-inconclusive=pass")


def test_a_session_replaces_the_named_baseline_that_it_was_compared_with(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(ONE)
    for _ in range(2):
        run(FAST, "--llm-save=main")
    old = ids(results(bench, "baselines/main"))
    result = run(*UPDATE, "--llm-compare=main")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*LLM comparison*", "*tpot*", "*baseline 'main': *place of 2 sessions*"])
    assert ids(results(bench, "baselines/main")) == [document()["session"]["id"]]
    assert ids(results(bench, "baselines/main/replaced")) == old
    run(FAST, "--llm-compare=main", "--llm-gate=tpot").assert_outcomes(passed=1)


def test_a_session_replaces_the_document_that_it_was_compared_with_and_keeps_it(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(ONE)
    run(FAST, "--llm-store=elsewhere")
    (bench.path / "out.json").rename(bench.path / "base.json")
    old = json.loads((bench.path / "base.json").read_text())
    result = run(*UPDATE, "--llm-compare=base.json")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"*baseline *base.json: *place of {old['session']['id']}*"])
    assert json.loads((bench.path / "base.json").read_text()) == document()
    assert results(bench, "replaced") == [old]


def test_a_document_whose_session_is_in_the_store_is_not_kept_twice(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(ONE)
    run(FAST)
    (bench.path / "out.json").rename(bench.path / "base.json")
    assert run(*UPDATE, "--llm-compare=base.json").ret == pytest.ExitCode.OK
    assert len(results(bench)) == 2
    assert results(bench, "replaced") == []


FAILING = """
def test_bad(llm_model):
    llm_model.measure("x", rounds=1)
    assert not os.environ.get("BAD")
"""
UNMEASURED = """
@pytest.fixture
def broken():
    assert not os.environ.get("BAD")

def test_bad(llm_model, broken):
    llm_model.measure("x", rounds=1)
"""


@pytest.mark.parametrize(("test", "said"), [(FAILING, "1 failed"), (UNMEASURED, "1 failed")])
def test_a_session_with_a_failure_replaces_no_baseline(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch, test: str, said: str
) -> None:
    bench.makepyfile("import os\nimport pytest\n" + ONE + test)
    run(FAST, "--llm-save=main").assert_outcomes(passed=2)
    before = results(bench, "baselines/main")
    monkeypatch.setenv("BAD", "1")
    result = run(*UPDATE, "--llm-compare=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*the baseline 'main' was not changed: {said}; *update main --force*"])
    assert results(bench, "baselines/main") == before


def test_a_regression_replaces_no_baseline(
    bench: pytest.Pytester, run: Run, slower: Callable[[], None]
) -> None:
    bench.makepyfile(BENCH)
    for _ in range(3):
        run(FAST, "--llm-save=main")
    before = results(bench, "baselines/main")
    slower()
    result = run(*UPDATE, "--llm-compare=main")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the baseline 'main' was not changed: 1 failed*"])
    assert results(bench, "baselines/main") == before


def test_a_session_that_would_lose_a_case_replaces_no_baseline(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile(ONE + ONE.replace("test_one", "test_left"))
    run(FAST, "--llm-save=main").assert_outcomes(passed=2)
    before = results(bench, "baselines/main")
    # A case that was left out on purpose is not missing, but a baseline without it would not have it.
    result = run(*UPDATE, "--llm-compare=main", "-k", "test_one")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert document()["session"]["exit_status"] == 1
    result.stdout.fnmatch_lines(["*the baseline 'main' was not changed: it would lose *test_left*"])
    assert results(bench, "baselines/main") == before


def test_a_session_that_was_disturbed_replaces_no_baseline(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(ONE)
    run(FAST, "--llm-save=main")
    before = results(bench, "baselines/main")
    monkeypatch.setattr(HardwareMonitor, "disturbance", lambda self, start, end: ("foreign_cpu",))
    result = run(*UPDATE, "--llm-compare=main", monitor=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the baseline 'main' was not changed: *test_one*: too disturbed*"])
    assert results(bench, "baselines/main") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--llm-update-baseline replaces the baseline of --llm-compare, and none is compared*"),
        (["--llm-ab=model=tiny"], "*and none is compared*"),
        (["--llm-compare=main", "--llm-compare=latest"], "*and several are compared*"),
        (["--llm-compare=latest"], "--llm-update-baseline: latest is not one baseline*there are: main)*"),
        (["--llm-compare=commit:HEAD"], "--llm-update-baseline: commit:HEAD is not one baseline*"),
        (["--llm-compare=branch:trunk"], "--llm-update-baseline: branch:trunk is not one baseline*"),
        (["--llm-compare=folder"], "--llm-update-baseline: folder is not one baseline*"),
        (["--llm-compare=.llmbench/baselines/main"], "--llm-update-baseline: *main is not one baseline*"),
        (["--llm-compare=SESSION"], "--llm-update-baseline: *is not one baseline*"),
        (["--llm-compare=.llmbench/results/SESSION.json"], "--llm-update-baseline: *is not one baseline*"),
        (["--llm-compare=base.json", "--llm-json=base.json"], "--llm-json=*base.json would overwrite*"),
        (["--llm-compare=nothing"], "--llm-compare: *nothing*"),
    ],
)
def test_what_is_no_single_baseline_cannot_be_replaced(
    bench: pytest.Pytester, run: Run, options: list[str], message: str
) -> None:
    git(bench, "init", "-b", "trunk")
    bench.makepyfile(ONE)
    git(bench, "add", ".")
    git(bench, "commit", "-m", "first")
    run(FAST, "--llm-save=main")
    (bench.path / "folder").mkdir()
    for name in ("base.json", "folder/one.json"):
        (bench.path / name).write_bytes((bench.path / "out.json").read_bytes())
    (session,) = ids(results(bench))
    before = results(bench, "baselines/main")
    result = run("--llm-update-baseline", *(option.replace("SESSION", session) for option in options))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert "Traceback" not in result.stderr.str()
    assert results(bench, "baselines/main") == before
    assert len(results(bench)) == 1


def git(bench: pytest.Pytester, *arguments: str) -> None:
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=bench.path, check=True, capture_output=True)


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
    assert now["judgments"][0]["improved"]
    assert base["protocol"]["ab"] == {"env.LLMBENCH_FAKE_SECONDS": "set"}
    assert "LLMBENCH_FAKE_SECONDS" not in os.environ


def test_the_base_side_keeps_its_own_model(bench: pytest.Pytester, run: Run, document: Document) -> None:
    bench.makepyfile("def test_speed(llm_model): llm_model.measure('hello', rounds=2, max_new_tokens=4)")
    run(FAST, "--llm-ab=quantization=q8_0", "--llm-budget=1", "--llm-inconclusive=pass")
    assert [case["model"]["quantization"] for case in document()["cases"]] == ["f16", "q8_0"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--llm-ab=quantisation=q8_0"], "--llm-ab: there is no key 'quantisation'; did you mean *"),
        (["--llm-ab=speed"], "--llm-ab: 'speed' is not KEY=VALUE*"),
        (["--llm-ab="], "--llm-ab is empty*"),
        (["--llm-ab=model=tinny"], "*'tinny'*tiny*"),
        (["--llm-ab=fake.contxt=5"], "*contxt*context*"),
        (["--llm-ab=model=tiny model=tiny"], "--llm-ab: 'model' is given twice"),
        (["--llm-ab=model=tiny", "--llm-compare=x"], "*give one of them"),
        (["--llm-budget=5"], "*give --llm-ab too"),
        (["--llm-ab=model=tiny", "--llm-budget=soon"], "--llm-budget: 'soon' is not a number of pairs*"),
        (["--llm-ab=model=tiny", "--llm-threshold=tpt:5%"], "*'tpt'*tpot*"),
        (["--llm-ab=model=tiny", "--llm-gate=speed"], "*'speed'*ttft*"),
        (["--llm-ab=model=tiny", "--llm-missing=maybe"], "--llm-missing: 'maybe' is not one of fail, warn"),
        (["--llm-ab=model=tiny", "--llm-inconclusive=no"], "--llm-inconclusive: 'no' is not one of*"),
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

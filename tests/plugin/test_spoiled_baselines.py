"""Is it said at once what a session is of no use for as a baseline, and is the one that failed remembered?"""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.hardware.monitor import HardwareMonitor
from tests.plugin.conftest import Run

BENCH = """
import pytest

@pytest.mark.llm(processes=3, rounds=3, max_new_tokens=6)
@pytest.mark.parametrize("name", ["quiet", "loud"])
def test_speed(llm_model, name):
    llm_model.measure("hello")
"""
FAST = "--llm-option=fake.seconds_per_token=0.002"


@pytest.fixture
def disturbed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each next round is disturbed; the last word holds for all that follow."""
    marks = [True]

    def disturbance(self: object, start: int, end: int) -> tuple[str, ...]:
        return ("foreign_cpu",) if (marks.pop(0) if len(marks) > 1 else marks[0]) else ()

    monkeypatch.setattr(HardwareMonitor, "disturbance", disturbance)
    return marks


def test_a_session_of_which_every_case_was_disturbed_is_no_baseline(
    bench: pytest.Pytester, run: Run, disturbed: list[bool]
) -> None:
    bench.makepyfile(test_a=BENCH)
    result = run(FAST, "--llm-save=main", monitor=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*the baseline 'main' was not changed*9 of 9 rounds were disturbed (foreign_cpu) and 1 more*"]
    )
    assert not (bench.path / ".llmbench" / "baselines").exists()


def test_a_case_that_was_disturbed_is_told_when_its_session_is_saved(
    bench: pytest.Pytester, run: Run, disturbed: list[bool]
) -> None:
    bench.makepyfile(test_a=BENCH)
    disturbed[:] = [False] * 9 + [True]
    result = run(FAST, "--llm-save=main", monitor=True)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*baseline 'main': *.json",
            "*test_speed[[]fake-tiny-loud]: its times are of no use as a baseline: 9 of 9 rounds*",
        ]
    )
    result.stdout.no_fnmatch_line("*quiet]: its times*")


def test_a_session_that_is_saved_afterwards_is_held_to_the_same_rule(
    bench: pytest.Pytester, run: Run, disturbed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(test_a=BENCH)
    run(FAST, monitor=True)
    monkeypatch.chdir(bench.path)
    result = CliRunner().invoke(app, ["baseline", "save", "main"])
    assert result.exit_code == 2
    assert "no session could be judged by it" in result.output
    assert CliRunner().invoke(app, ["baseline", "save", "main", "--force"]).exit_code == 0


def test_nothing_measured_is_no_baseline(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(test_a="import pytest\ndef test_skipped(llm_model): pytest.skip('not here')\n")
    result = run(FAST, "--llm-save=main")
    result.stdout.fnmatch_lines(["*'main' was not changed*nothing was measured*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_the_session_in_which_the_gate_failed_is_in_the_history_and_can_be_shown_again(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(test_a=BENCH)
    run(FAST, "--llm-save=main").assert_outcomes(passed=2)
    # A limit below what a token takes is one that no machine keeps.
    run(FAST, "--llm-compare=main", "--llm-gate=tpot", "--llm-threshold=tpot:<1ms").assert_outcomes(failed=2)
    monkeypatch.chdir(bench.path)
    monkeypatch.setenv("COLUMNS", "100")
    shown = CliRunner().invoke(app, ["history", "quiet"]).output
    *before, last = [line for line in shown.splitlines() if line.startswith("  20")]
    assert len(before) == 1
    assert last.endswith("failed")
    assert "left out" not in shown
    assert "2 cases: 2 fail" in CliRunner().invoke(app, ["show", "out.json"]).output
    comment = CliRunner().invoke(app, ["show", "out.json", "--format=markdown"]).output
    assert comment.startswith("### ❌ LLM benchmarks: 2 cases: 2 fail")
    assert "What was measured" in comment


def test_verdicts_on_pairs_can_be_shown_again(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(test_a=BENCH)
    ab = ("--llm-ab=fake.seconds_per_token=0.001", "--llm-gate=tpot", "--llm-budget=1", "-k", "quiet")
    run("--llm-option=fake.seconds_per_token=0.01", *ab).assert_outcomes(passed=1, warnings=1, deselected=1)
    monkeypatch.chdir(bench.path)
    shown = CliRunner().invoke(app, ["show", "out.json"]).output
    assert "1 case: 1 inconclusive" in shown
    assert "1 pair is too few for any verdict" in " ".join(shown.split())
    comment = CliRunner().invoke(app, ["show", "out.json", "--format=markdown"]).output
    assert "❔ inconclusive" in comment


def test_why_there_was_nothing_to_compare_with_is_shown_again(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(test_a=BENCH)
    run(FAST, "--llm-save=main")
    run(FAST, "--llm-compare=main", "--llm-warmup-rounds=2", "--llm-missing=warn")
    monkeypatch.chdir(bench.path)
    # Of two sessions that began in one second, the latest is not known by their ids.
    shown = CliRunner().invoke(app, ["show", "out.json"]).output
    assert "other protocol: warmup_rounds: 1 → 2" in shown

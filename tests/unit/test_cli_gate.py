"""Does the command line judge, keep and look back as the gate does, with the right exit status?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pytest_llmbench.cli import app
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, a_session: Any) -> Store:
    monkeypatch.setenv("LLMBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Store(tmp_path / "store")
    for day in range(1, 6):
        made.write(a_session(day))
    return made


def llmbench(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def fast(store: Store, tmp_path: Path, a_session: Any) -> Path:
    return write_document(tmp_path / "fast.json", a_session(8))


@pytest.fixture
def slow(store: Store, tmp_path: Path, a_session: Any) -> Path:
    return write_document(tmp_path / "slow.json", a_session(9, slow=2.0))


def test_unchanged_code_passes(store: Store, fast: Path) -> None:
    assert "1 case: 1 pass" in llmbench("compare", store.path, fast, "--fail").stdout


def test_a_regression_is_shown_and_fails_only_when_asked(store: Store, slow: Path) -> None:
    assert "1 case: 1 fail" in llmbench("compare", "commit:aaaa", slow).stdout
    llmbench("compare", "commit:aaaa", slow, "--fail", status=1)


def test_several_baselines_count_together(store: Store, fast: Path) -> None:
    shown = llmbench("compare", "20260101", "20260102", "20260103", fast).stdout
    assert "compared with 3 sessions" in shown


def test_thresholds_can_be_given(store: Store, slow: Path) -> None:
    off = ["--threshold=ttft:off", "--threshold=tpot:off", "--threshold=decode_throughput:off"]
    llmbench("compare", store.path, slow, "--fail", *off)
    llmbench("compare", store.path, slow, "--fail", *off, "--threshold=ttft:<1ms", status=1)


def test_markdown_and_json_have_the_same_verdict(store: Store, slow: Path) -> None:
    assert "1 fail" in llmbench("compare", store.path, slow, "--format", "markdown").stdout
    data = json.loads(llmbench("compare", store.path, slow, "--format", "json").stdout)
    assert data["verdict"] == "fail"


def test_what_has_no_baseline_fails_when_asked_or_gating_under_ci(
    store: Store, tmp_path: Path, a_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_document(tmp_path / "other.json", a_session(9, machine="machine-b"))
    assert "other hardware" in llmbench("compare", store.path, other, "--fail").stdout
    llmbench("compare", store.path, other, "--missing", "fail", status=1)
    monkeypatch.setenv("CI", "true")
    llmbench("compare", store.path, other)
    llmbench("compare", store.path, other, "--fail", status=1)
    llmbench("compare", store.path, other, "--fail", "--missing", "warn")


def test_what_cannot_be_judged_follows_its_option(store: Store, tmp_path: Path, a_session: Any) -> None:
    base = write_document(tmp_path / "base.json", a_session(8, processes=1))
    now = write_document(tmp_path / "now.json", a_session(9, processes=1))
    llmbench("compare", base, now, "--fail")
    llmbench("compare", base, now, "--inconclusive", "fail", status=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["slow.json"], "needs a baseline and what is to be judged"),
        (["latest", "nowhere.json"], "nowhere.json"),
        (["latest", "commit:aaaa"], "one is judged at a time"),
        (["slow.json", "slow.json"], "compared with itself"),
        (["latest", "slow.json", "--threshold", "tpo:5%"], "did you mean 'tpot'"),
    ],
)
def test_bad_input_is_one_line_with_status_2(
    store: Store, slow: Path, arguments: list[str], said: str
) -> None:
    result = llmbench("compare", *arguments, status=2)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_baseline_is_saved_listed_and_compared_with(store: Store, slow: Path) -> None:
    assert "There is no named baseline" in llmbench("baseline", "list").stderr
    llmbench("baseline", "save", "nightly", "20260101")
    llmbench("baseline", "save", "nightly")
    shown = llmbench("baseline", "list").stdout
    assert "nightly: 2 sessions" in shown
    assert "20260105T000000Z" in shown
    llmbench("compare", "nightly", slow, "--fail", status=1)


def test_an_update_shows_the_differences_and_replaces(store: Store, slow: Path) -> None:
    llmbench("baseline", "save", "nightly", "commit:aaaa")
    shown = llmbench("baseline", "update", "nightly", slow, "--yes").stdout
    assert "1 case: 1 fail" in shown
    assert "nightly: 1 session\n" in llmbench("baseline", "list").stdout
    assert "is that already" in llmbench("baseline", "update", "nightly", slow).stdout


def test_an_update_that_nobody_can_confirm_changes_nothing(store: Store, slow: Path) -> None:
    llmbench("baseline", "save", "nightly")
    assert "say --yes" in llmbench("baseline", "update", "nightly", slow, status=2).stderr
    assert "20260105T000000Z" in llmbench("baseline", "list").stdout


def test_a_session_in_which_a_case_failed_is_no_baseline_unless_forced(
    store: Store, tmp_path: Path, a_session: Any
) -> None:
    failed = write_document(tmp_path / "failed.json", a_session(9, outcome="failed"))
    llmbench("baseline", "save", "nightly")
    for command in ("save", "update"):
        result = llmbench("baseline", command, "nightly", failed, status=2)
        assert "is no baseline" in result.stderr
    llmbench("baseline", "update", "nightly", failed, "--force", "--yes")


def test_an_update_that_would_lose_cases_is_refused(
    store: Store, tmp_path: Path, a_session: Any, a_case: Any
) -> None:
    both = write_document(tmp_path / "both.json", a_session(8, [a_case(), a_case("test_y")]))
    llmbench("baseline", "save", "nightly", both)
    result = llmbench("baseline", "update", "nightly", "latest", "--yes", status=2)
    assert "1 of its cases would be lost" in result.stderr


def test_history_lists_the_sessions_of_a_case(store: Store) -> None:
    shown = llmbench("history", "test_x", "--metric", "ttft").stdout
    assert "benchmarks/test_a.py::test_x[llamacpp-tiny-q8_0]: ttft, machine machine-a" in shown
    assert shown.count("3 proc.") == 5
    assert "no session of" in llmbench("history", "test_nowhere", status=2).stderr
    assert "did you mean 'tpot'" in llmbench("history", "test_x", "--metric", "tpo", status=2).stderr


def test_history_marks_where_it_changed(store: Store, a_session: Any) -> None:
    pytest.importorskip("ruptures")
    for day in range(6, 11):
        store.write(a_session(day, slow=1.5))
    lines = llmbench("history", "test_x").stdout.splitlines()
    (marked,) = [line for line in lines if "<-" in line]
    assert "20260106T" in marked
    assert marked.endswith("worse")

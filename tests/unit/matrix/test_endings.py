"""Does the end of an attempt say whether there is a result, and whether another one may help?"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_llmbench.matrix.endings import ending
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.records import ResultsDocument
from tests.unit.matrix.plans import a_cell, a_document

CELL = a_cell()
NONE = Path("there-is-none.json")
ERROR = "pytest_llmbench.errors"


@pytest.fixture
def document() -> ResultsDocument:
    """The document of a cell that was measured."""
    return a_document(CELL)


def of(
    document: ResultsDocument, tmp_path: Path, status: int = 0, log: str = "", **more: object
) -> tuple[str, str | None]:
    """What an end means that left *document*."""
    found = ending(status, write_document(tmp_path / "d.json", document), log, **more)  # type: ignore[arg-type]
    return found.end, found.reason


def test_what_was_measured_is_a_result_whatever_its_verdict(
    document: ResultsDocument, tmp_path: Path
) -> None:
    document.cases[0].outcome, document.cases[0].error = "failed", "Failed: slower than the baseline\nby 10 %"
    assert of(document, tmp_path, 1) == ("measured", "Failed: slower than the baseline by 10 %")


def test_what_ended_by_an_error_of_the_engine_is_not(document: ResultsDocument, tmp_path: Path) -> None:
    case = document.cases[0]
    case.outcome, case.error = "failed", f"{ERROR}.EngineCrashedError: tiny: it was ended by SIGSEGV"
    assert of(document, tmp_path, 1) == ("engine", "tiny: it was ended by SIGSEGV")


def test_what_was_interrupted_is_lost(document: ResultsDocument, tmp_path: Path) -> None:
    document.session.state = "interrupted"
    assert of(document, tmp_path, 2)[0] == "lost"
    assert of(document, tmp_path, 0, stopped=True) == ("lost", "it was stopped")


def test_a_result_that_came_before_it_was_stopped_counts(document: ResultsDocument, tmp_path: Path) -> None:
    assert of(document, tmp_path, -9, stopped=True)[0] == "measured"


def test_another_setting_than_was_asked_for_does_not_count(document: ResultsDocument, tmp_path: Path) -> None:
    case = document.cases[0]
    case.protocol.options, case.processes[0].engine = {"n_threads": 4}, {"n_threads": 1}
    assert of(document, tmp_path) == ("engine", "n_threads was to be 4, and the engine says 1")
    assert ending(0, tmp_path / "d.json", "").document


@pytest.mark.parametrize(
    ("error", "end"),
    [
        ("BackendUnavailableError", "usage"),
        ("UsageError", "usage"),
        ("NoRoomError", "usage"),
        ("PromptTooLongError", "usage"),
        ("ModelError", "engine"),
        ("EngineTimeoutError", "engine"),
        ("ResultsError", "transient"),
    ],
)
def test_an_error_is_of_its_kind(error: str, end: str) -> None:
    found = ending(1, NONE, f"E   {ERROR}.{error}: vllm is not here\nE   more\n")
    assert (found.end, found.reason) == (end, "vllm is not here")


@pytest.mark.parametrize(
    ("status", "log", "end", "reason"),
    [
        (0, "SKIPPED [1] m.llm.yaml:1: it needs more memory", "usage", "skipped: it needs more memory"),
        (0, "SKIPPED [1] m.llm.yaml: torch is missing: pip it", "usage", "skipped: torch is missing: pip it"),
        (4, "ERROR: m.llm.yaml:1:1: no key 'x'", "usage", "m.llm.yaml:1:1: no key 'x'"),
        (5, "", "usage", "pytest exited with status 5"),
        (2, "", "lost", "pytest was interrupted"),
        (-11, "", "engine", "pytest was ended by SIGSEGV"),
        (3, "INTERNALERROR> boom", "engine", "boom"),
        (0, "", "engine", "pytest exited with status 0 and nothing was measured"),
        (
            1,
            f"E   OSError: {os.strerror(errno.ENOSPC)}",
            "transient",
            f"OSError: {os.strerror(errno.ENOSPC)}",
        ),
    ],
)
def test_the_status_and_the_last_words_tell_the_rest(status: int, log: str, end: str, reason: str) -> None:
    found = ending(status, NONE, log)
    assert (found.end, found.reason) == (end, reason)


def test_a_kill_says_what_may_have_done_it() -> None:
    assert "memory" in (ending(-9, NONE, "").reason or "")

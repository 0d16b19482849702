"""What does the end of an attempt mean: is there a result, and if not, may another attempt help?

Read from what pytest leaves: its exit status, its document and its last words.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmbench.errors import ResultsError, one_line
from pytest_llmbench.matrix.effective import not_as_asked
from pytest_llmbench.matrix.executor import End
from pytest_llmbench.processes.endings import OF_MEMORY, how_it_ended, was_killed
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.files import read_bounded
from pytest_llmbench.results.records import CaseRecord, ResultsDocument

_INTERRUPTED, _USAGE, _NOTHING = 2, 4, 5
"""Exit statuses of pytest: it was interrupted; it could not start; there was no test."""
BY_ERROR: dict[str, End] = {
    "UsageError": "usage",
    "BackendUnavailableError": "usage",
    "NoRoomError": "usage",
    "PromptTooLongError": "usage",
    "ResultsError": "transient",
}
"""What an error of :mod:`pytest_llmbench.errors` means; any other is the engine's."""
_DISK = re.compile("|".join(re.escape(os.strerror(one)) for one in (errno.ENOSPC, errno.EROFS, errno.EDQUOT)))
"""What a system says of a disk that nothing can be written to; another node has another one."""
_RAISED = re.compile(r"^(?:E\s+)?pytest_llmbench\.errors\.(\w+): (.*)", re.MULTILINE)
_SKIPPED = re.compile(r"^SKIPPED \[\d+\] .*?: (.*)", re.MULTILINE)
"""With the line of the file or without it, as the test has one."""
_WORDS = re.compile(r"^(?:ERROR:?|E  |FAILED|INTERNALERROR>)\s*(.*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended."""

    end: End
    reason: str | None = None
    document: bytes | None = field(default=None, repr=False)
    """Of what was measured, also where it does not count."""


def ending(
    status: int, document: Path, log: str, *, quantization: str | None = None, stopped: bool = False
) -> Ending:
    """What the end of pytest means.

    :param status: as :mod:`subprocess` has it.
    :param document: where the results document is, if there is one.
    :param log: the end of what it printed.
    :param quantization: that the cell asks for.
    :param stopped: whether it was told to end.
    """
    found = _read(document)
    if found is not None and found.session.state == "finished" and _has_measured(found):
        return _measured(found, document, quantization)
    if stopped:
        return Ending("lost", "it was stopped")
    if (disk := _DISK.search(log)) is not None:
        return Ending("transient", f"{_last_words(log) or disk[0]}")
    if status < 0:
        more = f"; {OF_MEMORY}" if was_killed(status) else ""
        return Ending("engine", f"pytest {how_it_ended(status)}{more}")
    if status == _INTERRUPTED:
        return Ending("lost", "pytest was interrupted")
    if found is not None and (error := _error(found)) is not None:
        return _by_words(error)
    if (skipped := _SKIPPED.search(log)) is not None:
        return Ending("usage", f"skipped: {one_line(skipped[1])}")
    if (raised := _RAISED.search(log)) is not None:
        return _by_words(raised[0])
    if status in (_USAGE, _NOTHING):
        return Ending("usage", _last_words(log) or f"pytest {how_it_ended(status)}")
    return Ending("engine", _last_words(log) or f"pytest {how_it_ended(status)} and nothing was measured")


def _measured(found: ResultsDocument, path: Path, quantization: str | None) -> Ending:
    """What there is of a cell that was measured."""
    data = read_bounded(path, "the document")
    for case in found.cases:
        if (difference := not_as_asked(case, quantization)) is not None:
            return Ending("engine", difference, data)
    bad = next((case for case in found.cases if case.outcome in ("failed", "error")), None)
    return Ending("measured", None if bad is None else one_line(bad.error or bad.outcome), data)


def _has_measured(document: ResultsDocument) -> bool:
    """Whether it is a result: a round was measured, and none ended by an error of the engine."""
    return any(case.rounds for case in document.cases) and not any(map(_broke, document.cases))


def _broke(case: CaseRecord) -> bool:
    """Whether a case ended by an error, and not by the verdict on what was measured."""
    return case.error is not None and _RAISED.match(case.error) is not None


def _read(path: Path) -> ResultsDocument | None:
    try:
        return read_document(path)
    except ResultsError:
        return None


def _error(document: ResultsDocument) -> str | None:
    return next((case.error for case in document.cases if case.error), None)


def _by_words(error: str) -> Ending:
    raised = _RAISED.match(error)
    first = error.strip().partition("\n")[0]
    if raised is None:
        return Ending("engine", one_line(first))
    return Ending(BY_ERROR.get(raised[1], "engine"), one_line(raised[2]))


def _last_words(log: str) -> str | None:
    found = [one_line(words) for words in _WORDS.findall(log) if words.strip()]
    return found[0] if found else None

"""Which attempts were made at the cells of a matrix, and how did they end?

``STORE/matrix/NAME/journal.jsonl``, and ``journal-BATCH.jsonl`` of who drives a batch: one line an event,
appended by whoever holds the lock of the same name. A start is on the disk before the attempt is made, so
that no session is unknown, whatever is killed. The documents of the store say what was measured; the journal
says what failed, and spares opening what it names.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pytest_llmbench.errors import one_line
from pytest_llmbench.matrix.executor import End, Outcome, Task
from pytest_llmbench.results.files import make_folder, read_bounded, results_error, write_all
from pytest_llmbench.times import iso

_JOURNAL, _SUFFIX = "journal", ".jsonl"
_LONGEST = 8192
"""Bytes of a line: ours are a tenth of that, and what is longer is not ours."""
_REASON = 300
"""Characters of a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A driver began: what others had started and not ended is lost."""

    event: Literal["run"] = "run"
    at: str
    pid: int
    host: str
    digest: str
    """Of the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """An attempt is about to be made."""

    event: Literal["start"] = "start"
    at: str
    cell: str
    session: str
    attempt: int
    node: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An attempt has ended."""

    event: Literal["end"] = "end"
    at: str
    cell: str
    session: str
    end: End
    reason: str | None = None
    seconds: float = 0.0
    node: str | None = None
    key: str | None = None
    failed: bool = False
    """Whether the cell is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What is known of failures of a cell, or of its results, is forgotten: it is measured anew."""

    event: Literal["again"] = "again"
    at: str
    cell: str
    results: tuple[str, ...] = ()
    """Sessions that do not count any more; their documents stay."""


Event = Run | Start | Ended | Again


class MatrixJournal:
    """The journal, open for appending; for who holds the lock."""

    def __init__(self, folder: Path, part: str | None = None) -> None:
        """:raises ResultsError: if it cannot be written."""
        make_folder(folder)
        self.path = folder / (_JOURNAL + ("" if part is None else f"-{part}") + _SUFFIX)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self._end = os.lseek(self._fd, 0, os.SEEK_END)
            # A line that a kill cut off must not spoil the next one.
            if self._end and os.pread(self._fd, 1, self._end - 1) != b"\n":
                write_all(self._fd, b"\n")
                self._end += 1
        except OSError as error:
            raise results_error("write", self.path, error) from error

    def run(self, host: str, digest: str) -> None:
        """A driver begins."""
        self._append(Run(at=iso(time.time()), pid=os.getpid(), host=host, digest=digest))

    def start(self, task: Task) -> None:
        """An attempt is about to be made: on the disk before this returns.

        :raises ResultsError: if it cannot be written; the attempt must not be made then.
        """
        start = Start(at=iso(time.time()), cell=task.cell.id, session=task.session_id, attempt=task.attempt)
        self._append(start)

    def end(self, outcome: Outcome, *, failed: bool = False) -> None:
        """An attempt has ended.

        :param failed: whether the cell is given up.
        :raises ResultsError: if it cannot be written.
        """
        reason = None if outcome.reason is None else one_line(outcome.reason, _REASON)
        ended = Ended(
            at=iso(time.time()),
            cell=outcome.task.cell.id,
            session=outcome.task.session_id,
            end=outcome.end,
            reason=reason,
            seconds=round(outcome.seconds, 3),
            node=outcome.node,
            key=outcome.key,
            failed=failed,
        )
        self._append(ended)

    def again(self, cell: str, results: Iterable[str] = ()) -> None:
        """A cell is to be measured anew."""
        self._append(Again(at=iso(time.time()), cell=cell, results=tuple(results)))

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, event: Event) -> None:
        data = json.dumps(asdict(event), separators=(",", ":")).encode() + b"\n"
        try:
            write_all(self._fd, data)
            os.fsync(self._fd)
        except OSError as error:
            # Half a line would spoil the next one; a full disk still allows to shorten a file.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise results_error("write", self.path, error) from error
        self._end += len(data)


@dataclass(frozen=True, slots=True)
class Part:
    """What one journal holds."""

    name: str | None
    """The batch, as its files are called; None for all of the matrix."""
    events: Sequence[Event]
    """In order; a damaged line is left out."""


def read_parts(folder: Path) -> list[Part]:
    """The journals of a matrix's folder.

    :raises ResultsError: if there is one that cannot be read.
    """
    return [Part(name, _read(path)) for name, path in journal_paths(folder).items()]


def journal_paths(folder: Path) -> dict[str | None, Path]:
    """The journals of a matrix's folder, by batch; None has that of the whole."""
    found: dict[str | None, Path] = {}
    for path in sorted(folder.glob(f"{_JOURNAL}*{_SUFFIX}")):
        name = path.name.removeprefix(_JOURNAL).removesuffix(_SUFFIX)
        if not name or name.startswith("-"):
            found[name[1:] or None] = path
    return found


def _read(path: Path) -> list[Event]:
    events: list[Event] = []
    for line in read_bounded(path, "the journal").split(b"\n"):
        if 0 < len(line) <= _LONGEST:
            with contextlib.suppress(ValidationError):
                events.append(_adapter().validate_json(line))
    return events


@cache
def _adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Annotated[Event, Field(discriminator="event")])

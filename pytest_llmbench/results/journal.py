"""How does what was measured survive a session that is killed?

Each finished case is one line of a JSON Lines file, on the disk before the next test starts. The
first line is the session's header. A case may be appended again when more is known of it (its
outcome, say): the last line of a key holds. At the end of a session the document takes the place
of the journals; of a session that was killed, :func:`recover` makes one.

Under xdist the controller starts the session's journal, each worker appends to one of its own,
``SESSION.WORKER.jsonl``, and the controller calls :func:`collect` at the end, then :func:`finish`.
The controller's journal holds no case; it tells others that the session is still running.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydantic_core
from pydantic import ValidationError

from pytest_llmbench.errors import ResultsError, one_line
from pytest_llmbench.results.document import check_version, read_case, read_document, to_json
from pytest_llmbench.results.files import (
    is_plain_file,
    lock,
    read_bounded,
    results_error,
    take_name,
    write_all,
)
from pytest_llmbench.results.ids import check_session_id, is_session_id
from pytest_llmbench.results.records import CaseRecord, Header, ResultsDocument, Session, merge_cases
from pytest_llmbench.results.store import Store
from pytest_llmbench.results.upgrade import NOW, upgrade_header
from pytest_llmbench.times import STAMP_LENGTH, iso, read_stamp

SUFFIX = ".jsonl"
_DAMAGED = ".damaged"
_LONGEST_HEADER = 2**20
"""Bytes of a journal's first line that are looked at."""


class Journal:
    """One process's journal of one session. Use :meth:`create`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._end = 0

    @classmethod
    def create(cls, store: Store, header: Header, worker: str | None = None) -> Journal:
        """Start a journal in *store*; *worker* is the xdist worker's id, such as ``gw0``.

        :raises ResultsError: if the store cannot be written. Nothing is lost by going on without
            a journal but what a kill would lose.
        """
        store.create()
        check_session_id(header.session.id)
        name = header.session.id if worker is None else f"{header.session.id}.{worker}"
        path = store.journals / f"{name}{SUFFIX}"
        # It takes its name when it is locked and has its header: whoever sees it sees that it is in use.
        hidden = path.with_name(f".{name}.tmp")
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
            journal = cls(hidden, os.open(hidden, flags, 0o666))
        except OSError as error:
            raise results_error("start the journal", path, error) from error
        try:
            lock(journal._fd)
            journal._write(_header_of_this_process(header))
            take_name(hidden, path)
        except OSError as error:
            journal.discard()
            raise results_error("start the journal", path, error) from error
        except ResultsError:
            journal.discard()
            raise
        journal.path = path
        return journal

    def append(self, *cases: CaseRecord) -> None:
        """Put *cases* on the disk before this returns: those of a test together, as all or none of them.

        :raises ResultsError: if they cannot be written. The journal holds what it held before, and
            a later append may succeed; keep the cases, and put them into the document.
        """
        self._write(*cases)

    def _write(self, *parts: CaseRecord | Header) -> None:
        lines = b"".join(to_json(part) + b"\n" for part in parts)
        try:
            write_all(self._fd, lines)
            os.fsync(self._fd)
        except OSError as error:
            # Half a line would spoil the next one; a full disk still allows to shorten a file.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise results_error("write the journal", self.path, error) from error
        self._end += len(lines)

    def close(self) -> None:
        """Close the file; it stays, for :func:`collect` or :func:`recover`."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and remove the file: its cases are safe elsewhere."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def read_journal(path: Path | str) -> tuple[ResultsDocument, list[str]]:
    """The document that a journal holds, and one line for each part of it that is damaged.

    A last line that was cut off by a kill is named and left out; so is a damaged line anywhere.

    :raises ResultsError: if the file cannot be read, or is of another major version.
    """
    path = Path(path)
    lines = read_bounded(path, "the journal").split(b"\n")
    torn = lines.pop()
    problems = []
    header, major = _read_header_line(path, lines[0]) if lines else (None, NOW)
    if header is None:
        problems.append(f"{path}: the header, line 1, is damaged: machine and versions are lost")
        header = Header(session=Session(id=_session_id(path), started=_start_of(path)))
    elif header.session.id != _session_id(path):
        # What a file has in it does not decide whose document may be replaced; its name does.
        problems.append(f"{path}: its header is of another session, {one_line(header.session.id, 60)!r}")
        header.session.id = _session_id(path)
    cases: list[CaseRecord] = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            cases.append(read_case(line, major))
        except ValidationError:
            problems.append(f"{path}: line {number} is damaged and left out")
    if torn:
        problems.append(f"{path}: the last line was cut off amid writing and is left out")
    document = ResultsDocument.model_validate(header.model_dump())
    document.cases = merge_cases(cases)
    return document, problems


def journals(store: Store, session_id: str | None = None) -> list[Path]:
    """The journals in *store*, or those of one session, by name."""
    try:
        paths = sorted(p for p in store.journals.iterdir() if p.suffix == SUFFIX)
    except OSError:
        return []
    return [
        p
        for p in paths
        if (is_session_id(_session_id(p)) if session_id is None else _session_id(p) == session_id)
        and is_plain_file(p)
    ]


def collect(store: Store, session_id: str) -> tuple[ResultsDocument | None, list[str]]:
    """One document of all journals of a session, and what is damaged in them.

    A document that the session has in the store is part of it. None if there is neither.
    """
    merged = _document(store, session_id)
    problems: list[str] = []
    for path in journals(store, session_id):
        try:
            document, found = read_journal(path)
        except ResultsError as error:
            problems.append(str(error))
            continue
        problems += found
        if merged is None:
            merged = document
            continue
        merged.cases = merge_cases(merged.cases, document.cases)
        merged.machine = merged.machine or document.machine
        merged.versions = {**document.versions, **merged.versions}
    return merged, problems


def finish(store: Store, document: ResultsDocument) -> Path:
    """Write the session's document to the store, then remove its journals. Returns its path.

    The document must hold every case of the journals.

    :raises ResultsError: if it cannot be written; the journals stay, for :func:`recover`.
    """
    path = store.write(document)
    for journal in journals(store, document.session.id):
        with contextlib.suppress(OSError):
            journal.unlink(missing_ok=True)
    return path


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of one session's journals."""

    session_id: str
    status: Literal["recovered", "running", "elsewhere", "complete", "empty", "failed"]
    cases: int = 0
    path: Path | None = None
    """The document that was written."""
    kept: tuple[Path, ...] = ()
    """Where the journals are that were not removed."""
    problems: tuple[str, ...] = ()


def recover(store: Store, *, force: bool = False) -> list[Recovery]:
    """Make a document of each session that left journals and no document.

    A session that is still running is left alone (it holds a lock on its journal), and so is one of
    another machine, of which this machine cannot know: *force* takes the latter. Journals with damage are
    kept as ``*.jsonl.damaged``.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in journals(store):
        groups[_session_id(path)].append(path)
    found = []
    for session_id, paths in groups.items():
        with contextlib.ExitStack() as locks:
            try:
                states = [_state(path, locks) for path in paths]
                found.append(_recover_session(store, session_id, paths, states, force))
            except (OSError, ValueError) as error:
                problem = f"{paths[0]}: {error}"
                found.append(Recovery(session_id, "failed", kept=tuple(paths), problems=(problem,)))
    return found


def is_running(store: Store, session_id: str) -> bool:
    """Whether a process of this machine writes a session's journals.

    :raises ResultsError: if one cannot be read.
    """
    with contextlib.ExitStack() as locks:
        try:
            return any(_state(path, locks) == "running" for path in journals(store, session_id))
        except OSError as error:
            raise results_error("read", store.journals, error) from error


def _recover_session(
    store: Store, session_id: str, paths: list[Path], states: list[_JournalState], force: bool
) -> Recovery:
    if "running" in states:
        return Recovery(session_id, "running")
    if "elsewhere" in states and not force:
        return Recovery(session_id, "elsewhere")
    before = _document(store, session_id)
    place = store.document_path(session_id)
    if os.path.lexists(place) and (before is None or before.session.id != session_id):
        problem = f"{place} is not a document of this session; move it away, and recover again"
        return Recovery(session_id, "failed", kept=tuple(paths), problems=(problem,))
    document, problems = collect(store, session_id)
    if document is None:
        return Recovery(session_id, "failed", kept=tuple(paths), problems=tuple(problems))
    known = {case.key for case in before.cases} if before is not None else set()
    if all(case.key in known for case in document.cases):
        kept = _put_away(paths, problems)
        status: Literal["complete", "empty"] = "empty" if before is None else "complete"
        return Recovery(session_id, status, kept=kept, problems=tuple(problems))
    document.session.state = "recovered"
    document.session.ended = document.session.ended or iso(max(p.stat().st_mtime for p in paths))
    document.session.outcomes = count_outcomes(document.cases)
    try:
        written = store.write(document)
    except ResultsError as error:
        return Recovery(
            session_id, "failed", len(document.cases), kept=tuple(paths), problems=(*problems, str(error))
        )
    kept = _put_away(paths, problems)
    return Recovery(session_id, "recovered", len(document.cases), written, kept, tuple(problems))


def count_outcomes(cases: list[CaseRecord]) -> dict[str, int]:
    """How many cases ended how."""
    counts: dict[str, int] = defaultdict(int)
    for case in cases:
        counts[case.outcome] += 1
    return dict(counts)


def _document(store: Store, session_id: str) -> ResultsDocument | None:
    with contextlib.suppress(ResultsError):
        return read_document(store.document_path(session_id))
    return None


def _put_away(paths: list[Path], problems: list[str]) -> tuple[Path, ...]:
    """Remove journals; returns where those are that are damaged or could not be removed."""
    kept = []
    for path in paths:
        place = path
        with contextlib.suppress(OSError):
            if any(problem.startswith(f"{path}:") for problem in problems):
                place = path.rename(path.with_name(path.name + _DAMAGED))
            else:
                path.unlink(missing_ok=True)
                continue
        kept.append(place)
    return tuple(kept)


_JournalState = Literal["running", "ended", "elsewhere"]


def _state(path: Path, locks: contextlib.ExitStack) -> _JournalState:
    """Whether the process that wrote a journal is still there; if not, *locks* has a lock on it."""
    import platform

    file = locks.enter_context(path.open("rb"))
    locked = lock(file.fileno())
    if locked is False:
        return "running"
    header = None
    with contextlib.suppress(ResultsError):
        header, _ = _read_header_line(path, file.readline(_LONGEST_HEADER))
    if header is None or header.session.pid is None:
        return "ended"
    if header.session.host != platform.node():
        return "elsewhere"
    return "ended" if locked or not _is_there(header.session) else "running"


def _is_there(session: Session) -> bool:
    """Whether a process of this machine is the one that wrote a journal, where no lock can tell."""
    import psutil

    if session.pid is None or session.pid <= 0:
        return False
    with contextlib.suppress(psutil.Error, OverflowError):
        process = psutil.Process(session.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # The clock may have been set meanwhile; a reused pid is off by more.
        return session.process_started is None or abs(process.create_time() - session.process_started) < 2
    return False


def _header_of_this_process(header: Header) -> Header:
    import platform

    import psutil

    bare = Header.model_validate(header.model_dump(exclude={"cases"}))
    bare.session.host = platform.node()
    bare.session.pid = os.getpid()
    bare.session.process_started = psutil.Process().create_time()
    return bare


def _read_header_line(path: Path, line: bytes) -> tuple[Header | None, int]:
    """The header that a journal's first line holds, if any, and the major version that wrote it."""
    try:
        data = pydantic_core.from_json(line)
        if not isinstance(data, dict) or "session" not in data:
            return None, NOW
        major = check_version(path, data.get("schema_version"), data.get("versions"))
        return Header.model_validate(upgrade_header(data, major)), major
    except ValueError:
        return None, NOW


def _session_id(path: Path) -> str:
    return path.name.removesuffix(SUFFIX).partition(".")[0]


def _start_of(path: Path) -> str:
    """The session's start, as its id tells it."""
    with contextlib.suppress(ValueError):
        return iso(read_stamp(_session_id(path)[:STAMP_LENGTH]))
    return iso(path.stat().st_mtime)

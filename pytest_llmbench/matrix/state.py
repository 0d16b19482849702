"""What of a matrix is done, what runs, what failed, and what is left?

Done is what has a document in the store: of the cell's id, finished, with a case that measured something. The
journal says what failed, and which documents need not be opened.
"""

from __future__ import annotations

import heapq
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from pytest_llmbench.catalog.hardware import Devices, read_devices
from pytest_llmbench.errors import ResultsError
from pytest_llmbench.matrix.cells import key_of
from pytest_llmbench.matrix.executor import End, Node
from pytest_llmbench.matrix.journal import Again, Ended, Event, Part, Run, Start, journal_paths, read_parts
from pytest_llmbench.matrix.lock import is_driven
from pytest_llmbench.matrix.prices import hourly
from pytest_llmbench.matrix.summary import PLAN, CellSummary, KeptPlan, matrix_folder, read_kept_plan
from pytest_llmbench.results.cell import Hardware, session_of
from pytest_llmbench.results.document import CASES, read_document
from pytest_llmbench.results.files import read_bounded, results_error
from pytest_llmbench.results.ids import is_session_id
from pytest_llmbench.results.records import CellRecord
from pytest_llmbench.results.store import Store

CellProgress = Literal["done", "running", "failed", "left"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellState(CellSummary):
    """A cell, and how far it is."""

    state: CellProgress
    sessions: tuple[str, ...] = ()
    """Of its results, the oldest first."""
    attempts: int = 0
    """That were made, since it was last to be measured anew."""
    ends: Mapping[End, int] = field(default_factory=dict)
    """How many of them ended how."""
    end: End | None = None
    """How the last one ended."""
    reason: str | None = None
    """Why, in one line."""
    seconds: float = 0.0
    """That all its attempts took."""
    cost: float | None = None
    """US dollars of these; None where no price is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a matrix is."""

    name: str
    digest: str
    """Of the plan."""
    cells: Sequence[CellState]
    """In the plan's order."""
    driven: bool
    """Whether a process drives it now."""
    counts: Mapping[CellProgress, int]
    failed_by: Mapping[End, int]
    """How many of the failed ones failed how."""
    seconds: float
    """That all attempts took together."""
    eta: float | None
    """Seconds until all that is left is measured, as many at once as now; None where nothing tells."""
    cost: float | None = None
    """US dollars of that time; None where a price that it needs is not known."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A document that measured a cell."""

    session: str
    key: str | None


@dataclass(slots=True)
class _Log:
    """What the journal says of one cell."""

    ends: Counter[End] = field(default_factory=Counter)
    attempts: int = 0
    end: End | None = None
    reason: str | None = None
    failed: bool = False
    running: set[str] = field(default_factory=set)
    seconds: float = 0.0
    not_counted: set[str] = field(default_factory=set)


def read_state(
    store: Store, name: str, nodes: Sequence[Node] | None = None, devices: Devices | None = None
) -> State:
    """How far a matrix is.

    :param nodes: those that are there: a result of another engine's version, driver or product than theirs
        does not count as done. By default any result of a cell counts.
    :param devices: with the prices; by default those that come with the package.
    :raises UsageError: if no matrix of that name was run into the store.
    :raises ResultsError: if the store cannot be read.
    """
    return state_of(store, read_kept_plan(store, name), nodes, devices)


def state_of(
    store: Store, plan: KeptPlan, nodes: Sequence[Node] | None = None, devices: Devices | None = None
) -> State:
    """As :func:`read_state`, of a plan that is known."""
    folder = matrix_folder(store, plan.name)
    read = _read_journals(folder)
    stored = _stored(store, read.known)
    hourly = _hourly(plan, read_devices() if devices is None else devices)
    cells = [
        _cell(one, read.logs.get(one.id) or _Log(), stored.get(one.id, ()), nodes, hourly[one.devices])
        for one in plan.cells
    ]
    counts: Counter[CellProgress] = Counter(dict.fromkeys(get_args(CellProgress), 0))
    counts.update(cell.state for cell in cells)
    return State(
        name=plan.name,
        digest=plan.digest,
        cells=cells,
        driven=read.driven,
        counts=dict(counts),
        failed_by=dict(
            Counter(cell.end for cell in cells if cell.state == "failed" and cell.end is not None)
        ),
        seconds=sum(cell.seconds for cell in cells),
        eta=_eta(counts, read.measured),
        cost=_sum(cell.cost for cell in cells if cell.seconds),
    )


def _hourly(plan: KeptPlan, devices: Devices) -> dict[Hardware, float | None]:
    """US dollars an hour of each kind of hardware; None where no price is known."""
    price = hourly(devices)
    return {kind: price(kind) for kind in {one.devices for one in plan.cells}}


def _sum(costs: Iterable[float | None]) -> float | None:
    """None if one is not known, or there is none."""
    found = list(costs)
    known = [cost for cost in found if cost is not None]
    return sum(known) if known and len(known) == len(found) else None


@dataclass(frozen=True, slots=True)
class Stamp:
    """By which it is seen, without reading anything, whether a state may be another one by now."""

    files: tuple[tuple[int, int, int], ...]
    """Of the plan, the journals and the folder of documents: which file, its size, when it was written."""
    driven: tuple[bool, ...]
    """Of all of it, and each batch, whether a process drives it."""

    @property
    def changed(self) -> int:
        """When something was written last, in nanoseconds since 1970; 0 if nothing is there."""
        return max((written for _, _, written in self.files[:-1]), default=0)


def stamp_of(store: Store, name: str) -> Stamp:
    """The stamp of a matrix's state now.

    :raises UsageError: for what is not a matrix's name.
    """
    folder = matrix_folder(store, name)
    journals = journal_paths(folder)
    files = (_stamp(path) for path in (folder / PLAN, *journals.values(), store.results))
    return Stamp(tuple(files), tuple(is_driven(folder, part) for part in (None, *filter(None, journals))))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns)


def _cell(
    one: CellSummary,
    log: _Log,
    stored: Sequence[Stored],
    nodes: Sequence[Node] | None,
    hourly: float | None,
) -> CellState:
    keys = _keys(one, nodes)
    counted = [
        result.session
        for result in stored
        if result.session not in log.not_counted and (keys is None or result.key in keys)
    ]
    state: CellProgress = "left"
    if counted:
        state = "done"
    elif log.running:
        state = "running"
    elif log.failed:
        state = "failed"
    return CellState(
        **{name: getattr(one, name) for name in _SUMMARY},
        state=state,
        sessions=tuple(sorted(counted)),
        attempts=log.attempts,
        ends=dict(log.ends),
        end=log.end,
        reason=log.reason,
        seconds=log.seconds,
        cost=None if hourly is None else log.seconds / 3600 * hourly,
    )


_SUMMARY = tuple(one.name for one in fields(CellSummary))


def _keys(one: CellSummary, nodes: Sequence[Node] | None) -> set[str] | None:
    """The keys of results that count; None where any does: no node that is there could measure another."""
    having = [node for node in nodes or () if node.hardware.get(one.hardware, 0) >= one.count]
    return {key_of(one.id, node.digest) for node in having} or None


@dataclass(slots=True)
class _Read:
    """What the journals say."""

    logs: dict[str, _Log] = field(default_factory=lambda: defaultdict(_Log))
    """By cell."""
    known: dict[str, tuple[str, Stored]] = field(default_factory=dict)
    """Of sessions that measured, the cell and the result."""
    measured: list[float] = field(default_factory=list)
    """Seconds of these."""
    driven: bool = False


def _read_journals(folder: Path) -> _Read:
    read = _Read()
    open_starts: dict[tuple[str | None, str], str] = {}
    for part, event in _in_order(read_parts(folder)):
        match event:
            case Run():
                _lose(read, open_starts, part)
            case Start():
                log = read.logs[event.cell]
                log.attempts += 1
                log.running.add(event.session)
                open_starts[part, event.session] = event.cell
            case Ended():
                open_starts.pop((part, event.session), None)
                _end(read, event)
            case Again():
                before = read.logs[event.cell]
                read.logs[event.cell] = _Log(
                    seconds=before.seconds, not_counted=before.not_counted | set(event.results)
                )
    driven = {part: is_driven(folder, part) for part in {None, *(part for part, _ in open_starts)}}
    for part, there in driven.items():
        if not there:
            _lose(read, open_starts, part)
    read.driven = any(driven.values())
    return read


def unended(folder: Path, part: str | None) -> dict[str, str]:
    """The attempts of a part that were started and whose end was not noted: the cell by session."""
    found: dict[str, str] = {}
    for one in read_parts(folder):
        for event in one.events if one.name == part else ():
            match event:
                case Run():
                    found.clear()
                case Start():
                    found[event.session] = event.cell
                case Ended():
                    found.pop(event.session, None)
    return found


def _in_order(parts: Sequence[Part]) -> Iterator[tuple[str | None, Event]]:
    """The events of all journals by their time, and of one journal always as it has them."""

    def dated(part: Part) -> Iterator[tuple[str, str | None, Event]]:
        latest = ""
        for event in part.events:
            # A clock may have been set back meanwhile.
            latest = max(latest, event.at)
            yield latest, part.name, event

    for _, name, event in heapq.merge(*map(dated, parts), key=lambda one: one[0]):
        yield name, event


def _end(read: _Read, event: Ended) -> None:
    log = read.logs[event.cell]
    log.running.discard(event.session)
    log.ends[event.end] += 1
    log.end, log.reason, log.failed = event.end, event.reason, event.failed
    log.seconds += event.seconds
    if event.end == "measured":
        read.known[event.session] = (event.cell, Stored(event.session, event.key))
        read.measured.append(event.seconds)


def _lose(read: _Read, open_starts: dict[tuple[str | None, str], str], part: str | None) -> None:
    """What was started by a driver that is gone has ended with it."""
    for (name, session), cell in list(open_starts.items()):
        if name != part:
            continue
        del open_starts[name, session]
        log = read.logs[cell]
        if session in log.running:
            log.running.discard(session)
            log.ends["lost"] += 1
            log.end, log.reason = "lost", "its driver was killed"


def _eta(counts: Mapping[CellProgress, int], measured: Sequence[float]) -> float | None:
    if not counts["left"] and not counts["running"]:
        return 0.0
    if not measured:
        return None
    each = sum(measured) / len(measured)
    at_once = max(1, counts["running"])
    return each * (counts["left"] + counts["running"] / 2) / at_once


# --- The documents ------------------------------------------------------------------------------


def _stored(store: Store, known: Mapping[str, tuple[str, Stored]]) -> dict[str, list[Stored]]:
    """The documents of the store that measured a cell, by cell.

    :param known: what the journal says of some by session; these are not opened.
    :raises ResultsError: if the store's folder cannot be listed.
    """
    found: dict[str, list[Stored]] = defaultdict(list)
    try:
        with os.scandir(store.results) as entries:
            for entry in entries:
                session, dot, suffix = entry.name.partition(".")
                if suffix != "json" or not dot:
                    continue
                if (told := known.get(session)) is None:
                    told = _look(entry, session)
                if told is not None:
                    found[told[0]].append(told[1])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise results_error("list", store.results, error) from error
    return found


_SEEN: dict[str, tuple[tuple[int, int, int], tuple[str, Stored] | None]] = {}
"""What documents said that were opened, by path, with what tells a file from one that took its place."""


def _look(entry: os.DirEntry[str], session: str) -> tuple[str, Stored] | None:
    """What a document says: which cell it measured, under which key; None if none."""
    if not is_session_id(session):
        return None
    try:
        status = entry.stat()
    except OSError:
        return None
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    seen = _SEEN.get(entry.path)
    if seen is None or seen[0] != stamp:
        record = measured_cell(Path(entry.path))
        told = None if record is None else (record.id, Stored(session, record.key))
        seen = _SEEN[entry.path] = (stamp, told)
    return seen[1]


def measured_cell(path: Path) -> CellRecord | None:
    """The cell that a document has measured; None if it has none, or has not measured it."""
    session = session_of(path)
    if session is None or session.cell is None or session.state != "finished":
        return None
    return session.cell if measured_something(path) else None


def measured_something(path: Path) -> bool:
    """Whether a case of a document has a round: what only failed to load has metrics too."""
    try:
        _, found, cases = read_bounded(path, "the document").partition(CASES)
        if found:
            # Inside of a string its quotes would be escaped.
            return b'"rounds":[{"' in cases
        return any(case.rounds for case in read_document(path).cases)
    except ResultsError:
        return False

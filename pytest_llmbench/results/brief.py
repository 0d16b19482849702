"""What of a document does a comparison need, and how is it read fast?

A comparison of five baselines reads six documents, and most of each is what it never looks at: the
time of every token, the summaries of the hardware's samples, statistics that can be computed anew.
Here a case has only what is compared, in objects that are small and quickly made; what is the same in
many cases, such as the engine's options, is read once. Token times are fetched from the file when
somebody asks for them.

What is not laid out as we write it is read whole; so is what looks damaged, which tells what is wrong.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, Field, TypeAdapter
from pydantic_core import PydanticUndefined

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.processes.garbage import gc_paused
from pytest_llmbench.results.document import CASES, END, check_version, read_document
from pytest_llmbench.results.records import (
    SCHEMA_VERSION,
    CaseRecord,
    FailureRecord,
    Header,
    ModelRecord,
    ProcessRecord,
    ResultsDocument,
    RoundRecord,
)
from pytest_llmbench.results.upgrade import NOW

# Every other field of a case, a process and a round is there and checked, also one that is new.
_CASE_LEAVES_OUT = ("metrics", "hardware", "disturbance", "verdict_reason", "compared_with", "judgments")
_PROCESS_LEAVES_OUT = ("hardware",)
_ROUND_LEAVES_OUT = (
    "started",
    "instructions",
    "cpu_wait",
    "finish_reason",
    "tokenized",
    "prefilled",
    "done",
    "token_times",
)

# What many cases and processes have in common; neighbors in what is written.
_OF_CASES = ("model", "protocol")
_OF_PROCESSES = ("engine", "versions")

_TIMES, _NO_TIMES = b'"token_times":[', b'"token_times":[]'
_NUMBERS = b"0123456789.eE+-,"

_BUFFER = 1 << 20
"""Bytes; lines of ten kilobytes would empty the usual buffer each time."""


class BriefDocument(Header):
    """A document whose cases have only what a comparison needs: they cannot be written."""

    cases: list[CaseRecord] = Field(default_factory=list)


def read_brief(path: Path | str) -> BriefDocument | ResultsDocument:
    """Read what a comparison needs of a results document.

    :raises ResultsError: as :func:`read_document`; what is left out is hardly looked at.
    """
    path = Path(path)
    try:
        with path.open("rb", buffering=_BUFFER) as file, gc_paused():
            document = _read_by_lines(path, file)
    except (OSError, ValueError):
        document = None
    return read_document(path) if document is None else document


def _read_by_lines(path: Path, file: BinaryIO) -> BriefDocument | None:
    """The document; None if it is not laid out as we write it, or is damaged.

    :raises ValueError: if a line is not what it should be.
    """
    head = file.readline()
    if not head.endswith(CASES):
        return None
    document = BriefDocument.model_validate_json(head + END)
    if check_version(path, document.schema_version, document.versions) != NOW:
        return None
    # Another version may have other keys, or put them elsewhere.
    parse = _parsed if document.schema_version == SCHEMA_VERSION else _parsed_carefully
    source, start = _File(path, file), len(head)
    for line in file:
        if line == END:
            return None if file.read(1) else document
        case = parse(_bare(line))
        place = _Place(source, start, len(line))
        start += len(line)
        for index, one in enumerate(case.rounds):
            one.index, one.place = index, place  # type: ignore[attr-defined]
        document.cases.append(case)
    return None


# --- A line -------------------------------------------------------------------------------------


def _bare(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b",")


def _parsed(line: bytes) -> CaseRecord:
    """The brief case of a line, of which only what is needed is parsed.

    An object that contains the key by which its end is found leaves what is not JSON, or not a case.

    :raises ValueError: for what is not a case, or is not laid out as we write it.
    """
    head, *parts = line.split(_TIMES)
    start, end = _between(head, *_SHARED_BY_CASES)
    of_case = _read_shared(_OF_CASES, head[start:end])
    of_processes: list[Any] = []
    pieces = [_without_process(head[:start] + head[end:], of_processes)]
    for rest in map(_after_times, parts):
        # The next process may begin in it.
        begins = _SHARED_BY_PROCESSES[0] in rest
        pieces.append(_without_process(rest, of_processes) if begins else rest)
    pieces[-1] = _without(pieces[-1], *_METRICS)
    case = _adapter(shared=True).validate_json(_NO_TIMES.join(pieces))
    case.model, case.protocol = of_case.model, of_case.protocol
    for process, of_process in zip(case.processes, of_processes, strict=True):
        process.engine, process.versions = of_process.engine, of_process.versions
    return case


def _parsed_carefully(line: bytes) -> CaseRecord:
    """The brief case of a line that only has to be right JSON, but for its token times.

    :raises ValueError: for what is not a case.
    """
    head, *parts = line.split(_TIMES)
    return _adapter(shared=False).validate_json(_NO_TIMES.join([head, *map(_after_times, parts)]))


def _after_times(part: bytes) -> bytes:
    """What comes after a list of token times.

    :raises ValueError: if it is not a list of numbers.
    """
    times, bracket, rest = part.partition(b"]")
    if not bracket or times.translate(None, _NUMBERS):
        msg = "token times that are not a list of numbers"
        raise ValueError(msg)
    return rest


def _without_process(text: bytes, found: list[Any]) -> bytes:
    """*text* without the hardware of the process that begins in it, and what it shares, which is *found*."""
    if _SHARED_BY_PROCESSES[0] in text:
        start, end = _between(text, *_SHARED_BY_PROCESSES)
        found.append(_read_shared(_OF_PROCESSES, text[start:end]))
        text = text[:start] + text[end:]
    return _without(text, *_HARDWARE)


def _without(text: bytes, key: bytes, following: bytes) -> bytes:
    start = text.find(key)
    end = text.find(following, start)
    return text[:start] + text[end:] if 0 <= start < end else text


def _between(text: bytes, key: bytes, following: bytes) -> tuple[int, int]:
    """From the comma before *key* to that before the key that comes after its value.

    :raises ValueError: if they are not there.
    """
    start = text.index(key)
    return start, text.index(following, start)


def _keys(record: type[BaseModel], first: str, last: str, value: str = "") -> tuple[bytes, bytes]:
    """How the object of the field *first* begins, and the key after the field *last*, with its *value*."""
    names = list(record.model_fields)
    return f',"{first}":{{'.encode(), f',"{names[names.index(last) + 1]}":{value}'.encode()


# A protocol has a number of processes too.
_SHARED_BY_CASES = _keys(CaseRecord, *_OF_CASES, "[")
_SHARED_BY_PROCESSES = _keys(ProcessRecord, *_OF_PROCESSES)
_HARDWARE = _keys(ProcessRecord, "hardware", "hardware")
_METRICS = _keys(CaseRecord, "metrics", "metrics")


@lru_cache(maxsize=4096)
def _read_shared(names: tuple[str, ...], written: bytes) -> Any:
    """What stands at the keys *names*; of equal texts the same objects, which need not be compared."""
    return _shared_adapter(names).validate_json(b"{" + written[1:] + b"}")


# --- Its objects --------------------------------------------------------------------------------


class _Place:
    """Where a case stands, for what was not read of it."""

    __slots__ = ("_file", "_length", "_start", "_times")

    def __init__(self, file: _File, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length
        self._times: list[list[float]] | None = None

    def times(self, index: int) -> list[float]:
        """The token times of one round of all that the case has."""
        if self._times is None:
            self._times = [r.token_times for r in self._file.case(self._start, self._length).rounds]
        return self._times[index]


class _File:
    """A file that was read, and can be asked again as long as it is the same."""

    __slots__ = ("_path", "_stamp")

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._stamp = _stamp(file)

    def case(self, start: int, length: int) -> CaseRecord:
        """The whole case of the line that stands there.

        :raises ResultsError: if it is damaged, or is not there any more.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(start)
                line = file.read(length)
                same = _stamp(file) == self._stamp
            if same:
                return CaseRecord.model_validate_json(_bare(line))
        except (OSError, ValueError) as error:
            msg = f"{self._path} is damaged, or cannot be read again: {error}"
            raise ResultsError(msg) from None
        msg = f"{self._path} was changed while it was compared: compare again"
        raise ResultsError(msg)


def _stamp(file: BinaryIO) -> tuple[int, int, int]:
    """What tells a file from one that was put in its place."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


class _BriefRound:
    """What the generated class of rounds has beside its fields."""

    __slots__ = ("index", "place")
    index: int
    place: _Place

    @property
    def token_times(self) -> list[float]:
        """As of :class:`RoundRecord`.

        :raises ResultsError: if they cannot be read any more.
        """
        return self.place.times(self.index)


class _BriefProcess:
    __slots__ = _OF_PROCESSES


class _BriefCase:
    __slots__ = _OF_CASES


@cache
def _adapter(*, shared: bool) -> TypeAdapter[CaseRecord]:
    """What makes a brief case of its JSON; of one without the parts that are *shared*, or of a whole one.

    Slotted dataclasses take half the time of models.
    """
    # A hundred thousand empty lists are as many objects for the garbage collector; an empty tuple is one.
    one_round = _brief(RoundRecord, _ROUND_LEAVES_OUT, _BriefRound, disturbance=tuple[str, ...] | None)
    rounds: Any = list[one_round]  # type: ignore[valid-type]
    types = {"rounds": rounds, "failures": tuple[FailureRecord, ...]}
    if shared:
        process = _brief(ProcessRecord, (*_PROCESS_LEAVES_OUT, *_OF_PROCESSES), _BriefProcess, **types)
        processes: Any = list[process]  # type: ignore[valid-type]
        return TypeAdapter(
            _brief(CaseRecord, (*_CASE_LEAVES_OUT, *_OF_CASES), _BriefCase, processes=processes)
        )
    processes = list[_brief(ProcessRecord, _PROCESS_LEAVES_OUT, **types)]  # type: ignore[misc]
    return TypeAdapter(_brief(CaseRecord, _CASE_LEAVES_OUT, model=_brief(ModelRecord), processes=processes))


@cache
def _shared_adapter(names: tuple[str, ...]) -> TypeAdapter[Any]:
    record = CaseRecord if names == _OF_CASES else ProcessRecord
    leave_out = [name for name in record.model_fields if name not in names]
    types = {"model": _brief(ModelRecord)} if record is CaseRecord else {}
    return TypeAdapter(_brief(record, leave_out, **types))


def _brief(record: type[BaseModel], leave_out: Iterable[str] = (), base: type = object, **types: Any) -> Any:
    """A dataclass with the properties of *record* and its fields, but for some, and *types* for others."""
    fields: list[tuple[str, Any, Any]] = []
    for name, field in record.model_fields.items():
        if name in leave_out:
            continue
        if field.default_factory is not None:
            default = dataclasses.field(default_factory=field.default_factory)  # type: ignore[arg-type]
        elif field.default is PydanticUndefined:
            default = dataclasses.field()
        else:
            default = dataclasses.field(default=field.default)
        fields.append((name, types.get(name, field.annotation), default))
    members = {name: one for name, one in vars(record).items() if isinstance(one, property)}
    if hasattr(record, "value"):
        members["value"] = record.value
    # Of a case, its raw values; of a round and a process it is a field.
    if "values" not in record.model_fields and hasattr(record, "values"):
        members["values"] = record.values
    return dataclasses.make_dataclass(
        f"Brief{record.__name__}", fields, bases=(base,), namespace=members, kw_only=True, slots=True
    )

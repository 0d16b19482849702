"""Which requests does a file hold?

A file is read as what its content says that it is:

- prompts: ``{"prompt": "..."}``, or ``text``, ``question``, ``instruction`` with ``input`` and the like, each
  with ``output_tokens`` or ``max_tokens`` if it likes, and ``timestamp`` in seconds;
- chats: ``{"messages": [{"role": "user", "content": "..."}]}``, where a content may be a list of parts;
- ShareGPT and its kin: ``{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", ...}]}``, also
  ``conversation``, ``items`` or ``turns``, with ``role`` and ``content``; the first text of a person is the
  prompt, and nothing is known of the answer's tokens;
- a trace as Mooncake publishes them: ``{"timestamp": 27482, "input_length": 6955, "output_length": 52,
  "hash_ids": [46, 47, ...]}`` with milliseconds, where each of the ``hash_ids``, which may be left out,
  stands for 512 tokens (https://github.com/kvcache-ai/Mooncake); the same with ``chat_id``, as Bailian
  publishes them, with seconds (https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon);
- CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens, as Azure publishes traces, with dates
  (https://github.com/Azure/AzurePublicDataset), or Timestamp, Request tokens and Response tokens, as
  BurstGPT's, with seconds (https://github.com/HPMLL/BurstGPT).

All but CSV are JSON Lines, one object a line, or a JSON array of such objects. An entry that is not a request
is left out, counted and reported; a file without any is refused.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.paths import from_folder
from pytest_llmbench.workloads.entries import (
    COLUMNS,
    FORMS,
    OddEntryError,
    Reading,
    read_entry,
    read_row,
    shown,
)
from pytest_llmbench.workloads.requests import Item

TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""In seconds."""
_UNIT_WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_SHORTEST, _LONGEST_TRACE, _MOST_A_SECOND = 10.0, 366 * 86400.0, 100.0
"""Seconds and requests a second of a trace beyond which its unit is asked for."""
_SINCE_1970 = (1e9, 4e9)
"""Seconds: times of 2001 to 2096."""
_BLANKS = re.compile(r"[ \t\r\n]*")
_CHUNK = 1 << 20
_LONGEST = 1 << 24
"""Characters of one entry: a longer one is not a request."""
_MOST_ENTRIES, _MOST_TEXT = 1_000_000, 1 << 29
"""Requests, and characters of them, after which a file is not read on."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The requests of one file."""

    path: Path
    items: tuple[Item, ...]
    """At least one. In the file's order; those of a trace by time, which starts at 0."""
    notes: tuple[str, ...]
    """What was left out, and why; for a person."""
    digest: str
    """``sha256:`` and 64 hexadecimal digits, of the file."""
    time_unit: str | None = None
    """In which its times were read: a key of :data:`TIME_UNITS`, or ``date``; None without times."""
    doubt: str | None = None
    """Why its times are probably in another unit, if the unit was not named."""

    @property
    def needs_prompts(self) -> bool:
        """Whether an item has a length only, and its prompt is still to be made."""
        return any(item.prompt is None and item.messages is None for item in self.items)


def read_dataset(path: str | Path, *, root: Path | None = None, time_unit: str | None = None) -> Dataset:
    """The requests in a file of one of the forms that this module names.

    :param root: where a relative *path* is meant from; the working directory if None.
    :param time_unit: of its time stamps, a key of :data:`TIME_UNITS`; by default, the form's own.
    :raises UsageError: naming the file, and the line and what was expected there, or what was left out.
    """
    path = from_folder(path, root)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            digest = "sha256:" + hashlib.file_digest(raw, "sha256").hexdigest()
        if packed:
            msg = f"the data set {path} is compressed: unpack it first, with gunzip"
            raise UsageError(msg)
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            items, notes, reading = _read(file)
    except OSError as error:
        msg = f"the data set {path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from error
    except _MalformedError as error:
        msg = f"{path}:{error.line}: {error}"
        raise UsageError(msg) from None
    if not items:
        msg = f"the data set {path} holds no request{': ' if notes else ''}{'; '.join(notes)}"
        raise UsageError(msg)
    timed = sum(item.at is not None for item in items)
    if timed < len(items):
        if timed:
            notes.append(f"only {timed} of {len(items)} requests have a timestamp, so none is used")
        return Dataset(path, tuple(replace(item, at=None) for item in items), tuple(notes), digest)
    unit = reading.unit if time_unit is None or reading.unit == "date" else time_unit
    doubt = None if time_unit is not None or unit == "date" else _doubt(items, unit)
    return Dataset(path, tuple(_from_zero(items, unit)), tuple(notes), digest, unit, doubt)


def _from_zero(items: list[Item], unit: str) -> list[Item]:
    """By time, in seconds from 0; every item has one, in *unit*."""
    scale, start = TIME_UNITS.get(unit, 1.0), min(item.at or 0.0 for item in items)
    moved = (replace(item, at=((item.at or 0.0) - start) * scale) for item in items)
    return sorted(moved, key=lambda item: item.at or 0.0)


def _doubt(items: list[Item], unit: str) -> str | None:
    """Why the times are probably not in *unit*; None if they may be."""
    times, scale = [item.at or 0.0 for item in items], TIME_UNITS[unit]
    first, span = min(times), (max(times) - min(times)) * scale
    dated = [u for u, s in TIME_UNITS.items() if _SINCE_1970[0] <= first * s < _SINCE_1970[1]]
    if not span:
        return None
    rate = (len(items) - 1) / span
    if dated and unit not in dated:
        why, other = f"they look like {_UNIT_WORDS[dated[0]]} since 1970", dated[0]
    elif span < _SHORTEST or rate > _MOST_A_SECOND:
        why, other = f"its {len(items)} requests came within {span:.3g} s, {rate:.3g} a second", "s"
    elif span > _LONGEST_TRACE:
        why, other = f"it lasted {span / 86400:.3g} days", "ms"
    else:
        return None
    if other == unit:
        other = "ms" if unit == "s" else "us"
    return (
        f"read as {_UNIT_WORDS[unit]}, as its form has them, the time stamps say that {why}. Say what they "
        f"are: --llm-time-unit={other} for {_UNIT_WORDS[other]}, or --llm-time-unit={unit} if that is right"
    )


class _MalformedError(Exception):
    """What is wrong in a line of the file, so that it cannot be read on."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


Read = Callable[[Reading], Item]
Entries = Iterator[tuple[int, Read]]
"""The line in which each entry begins, and what makes a request of it."""


def _read(file: TextIO) -> tuple[list[Item], list[str], Reading]:
    """The items with their times as they stand, and the notes."""
    text = _Text(file)
    start = text.peek()
    if not start:
        return [], [], Reading()
    if start == "[":
        return _collect((line, _json(entry)) for line, entry in _array(text))
    file.seek(0)
    return _collect(_lines(file) if start == "{" else _rows(file))


def _collect(
    entries: Iterable[tuple[int, Read]],
) -> tuple[list[Item], list[str], Reading]:
    items: list[Item] = []
    odd: dict[str, _Odd] = {}
    unused: Counter[str] = Counter()
    reading, size, count, full = Reading(), 0, 0, False
    for line, read in entries:
        if full := count >= _MOST_ENTRIES or size > _MOST_TEXT:
            break
        count += 1
        known = reading.unit
        reading.unused.clear()
        try:
            item = read(reading)
            if items and (item.prompt_tokens is None) != (items[0].prompt_tokens is None):
                raise OddEntryError("another form than the entries before")
            if items and item.at is not None and known != reading.unit:
                raise OddEntryError("a time of another kind than those before")
        except OddEntryError as error:
            reading.unit = known if items else reading.unit
            why = str(error)
            odd.setdefault(why.partition(", but ")[0], _Odd(why, line)).count += 1
            continue
        items.append(item)
        unused.update(reading.unused)
        size += len(item.prompt or "") + sum(len(m["content"]) for m in item.messages or ())
    return items, _notes(odd, unused, count, full), reading


@dataclass(slots=True)
class _Odd:
    """Entries that are left out for one reason."""

    first: str
    """The reason in full, of the first of them."""
    line: int
    """Where that begins."""
    count: int = 0


def _notes(odd: dict[str, _Odd], unused: Counter[str], count: int, full: bool) -> list[str]:
    notes = []
    if odd:
        most = sorted(odd.values(), key=lambda one: -one.count)
        told = [f"{one.first} ({one.count}, the first in line {one.line})" for one in most[:3]]
        others = sum(one.count for one in most[3:])
        told += [f"and {others} for other reasons"] if others else []
        left = sum(one.count for one in most)
        notes.append(f"{left} of {count} entries were left out: {', '.join(told)}")
    notes += [f"not used: {what} ({number})" for what, number in unused.items()]
    if full:
        notes.append(f"only its first {count} entries were read: a load uses no more")
    return notes


# --- JSON ---------------------------------------------------------------------------------------


def _json(entry: object) -> Read:
    return lambda reading: read_entry(entry, reading)


def _lines(file: TextIO) -> Entries:
    """Each line that is not blank; the rest of one that is too long is passed over."""
    line = 0
    while text := file.readline(_LONGEST):
        line += 1
        if whole := text.endswith("\n") or len(text) < _LONGEST:
            if text.strip():
                yield line, _line(text)
            continue
        while not whole and (rest := file.readline(_LONGEST)):
            whole = rest.endswith("\n")
        yield line, _odd(f"longer than {_LONGEST >> 20} million characters")


def _line(text: str) -> Read:
    def read(reading: Reading) -> Item:
        try:
            text.encode()
            entry = json.loads(text)
        except UnicodeEncodeError:
            raise OddEntryError("not UTF-8 text") from None
        except (ValueError, RecursionError):
            raise OddEntryError("not one JSON object per line") from None
        return read_entry(entry, reading)

    return read


def _odd(why: str) -> Read:
    def read(_: Reading) -> Item:
        raise OddEntryError(why)

    return read


class _Text:
    """JSON text that is read from a file as it is needed.

    Arrays have hundreds of megabytes; no more than an entry and a piece is held at a time.
    """

    def __init__(self, file: TextIO) -> None:
        self.line = 1
        self._file, self._text, self._at = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._move(blanks.end() if blanks else self._at)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self, wanted: str) -> None:
        """Go past *wanted*, a character.

        :raises _MalformedError: if something else is next.
        """
        if (found := self.peek()) != wanted:
            msg = f"expected {wanted!r} in the JSON array, got {found!r}"
            raise _MalformedError(self.line, msg if found else "the JSON array is not closed")
        self._at += 1

    def value(self) -> object:
        """The JSON value that is next."""
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                raise _MalformedError(self.line, "an entry is nested too deeply") from None
            except ValueError as error:
                # Most likely it is not read to its end yet.
                if len(self._text) - self._at > _LONGEST or not self._more():
                    if not isinstance(error, json.JSONDecodeError):
                        raise _MalformedError(self.line, "a number in it is too long") from None
                    line = self.line + self._text.count("\n", self._at, error.pos)
                    raise _MalformedError(line, f"expected a JSON array: {error.msg}") from None
            else:
                self._move(end)
                return value

    def _move(self, end: int) -> None:
        self.line += self._text.count("\n", self._at, end)
        self._at = end

    def _more(self) -> bool:
        """Read on; twice as much each time, so that a long entry is not decoded too often."""
        rest = self._text[self._at :]
        more = self._file.read(max(_CHUNK, len(rest)))
        if more:
            self._text, self._at = rest + more, 0
        return bool(more)


def _array(text: _Text) -> Iterator[tuple[int, object]]:
    """Each entry of an array, and the line in which it begins."""
    text.take("[")
    more = text.peek() != "]"
    while more:
        text.peek()
        yield text.line, text.value()
        if more := text.peek() == ",":
            text.take(",")
    text.take("]")
    if found := text.peek():
        msg = f"expected nothing after the JSON array, got {found!r}"
        raise _MalformedError(text.line, msg)


# --- CSV ----------------------------------------------------------------------------------------


def _rows(file: TextIO) -> Entries:
    # A line of any length is one of no text of ours.
    reader = csv.DictReader(iter(lambda: file.readline(_CHUNK), ""))
    try:
        names = reader.fieldnames or ()
        columns = next((known for known in COLUMNS if set(known) <= set(names)), None)
        if columns is None:
            msg = f"expected {FORMS}; got {shown(','.join(names))}"
            raise _MalformedError(1, msg)
        for row in reader:
            yield reader.line_num, _row(row, columns)
    except csv.Error as error:
        msg = f"expected CSV: {error}"
        raise _MalformedError(reader.reader.line_num, msg) from None


def _row(row: dict[str, object], columns: tuple[str, str, str]) -> Read:
    return lambda reading: read_row(row, columns, reading)

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
  publishes them, with seconds, where each stands for 16
  (https://github.com/alibaba-edu/qwen-bailian-usagetraces-anon);
- a trace as WEKA publishes them, one conversation an entry: ``{"id": "a", "block_size": 64, "requests":
  [{"t": 0.0, "in": 25259, "out": 86, "hash_ids": [1, 2, ...]}]}``, or its requests alone, each with its
  ``id``; with seconds since the conversation began, and ``hash_ids`` that mean something within it only,
  unless its ``hash_id_scope`` is ``global`` (https://github.com/callanjfox/kv-cache-tester);
- CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens, as Azure publishes traces, with dates
  (https://github.com/Azure/AzurePublicDataset), or Timestamp, Request tokens and Response tokens, as
  BurstGPT's, with seconds, where a request without a token of a response is one that failed
  (https://github.com/HPMLL/BurstGPT).

All but CSV are JSON Lines, one object a line, a JSON array of such objects, or objects that take several
lines each. An entry that is not a request is left out, counted and reported; a file without any is refused.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.paths import from_folder
from pytest_llmbench.workloads.entries import read_entry
from pytest_llmbench.workloads.json_values import CHUNK, Broken, MalformedError, first_character, json_values
from pytest_llmbench.workloads.recorded import (
    COLUMNS,
    FORMS,
    OddEntryError,
    Reading,
    conversation,
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
_MOST_ENTRIES, _MOST_TEXT = 1_000_000, 1 << 29
"""Requests, and characters of them, after which a file is not read on."""
_BLOCK = 32
"""Characters as which the name of a block counts: what it needs of the memory."""
_PACKED = {
    b"\x1f\x8b": "is compressed: unpack it first, with gunzip",
    b"\x28\xb5": "is compressed: unpack it first, with unzstd",
    b"PK": "is an archive: unpack it first",
    b"PA": "is a Parquet file: write its rows as JSON Lines first",
    b"\xff\xfe": "is UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "is UTF-16 text: save it as UTF-8",
}
"""What a file is that begins so, and what to do. Nothing of ours begins so."""


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
    block_size: int | None = None
    """Tokens for which a name of a block stands; None if no prompt has blocks."""

    @property
    def needs_prompts(self) -> bool:
        """Whether an item has a length only, and its prompt is still to be made."""
        return any(item.prompt is None and item.messages is None for item in self.items)


def read_dataset(
    path: str | Path,
    *,
    root: Path | None = None,
    time_unit: str | None = None,
    block_size: int | None = None,
    conversations: bool = False,
) -> Dataset:
    """The requests in a file of one of the forms that this module names.

    :param root: where a relative *path* is meant from; the working directory if None.
    :param time_unit: of its time stamps, a key of :data:`TIME_UNITS`; by default, the form's own.
    :param block_size: tokens for which each of its ``hash_ids`` stands; by default, the file's word, or else
        the form's own.
    :param conversations: whether its requests have all that was said, and not only what was asked first.
    :raises UsageError: naming the file, and the line and what was expected there, or what was left out; or if
        *block_size* does not agree with the length of any prompt.
    """
    path = from_folder(path, root)
    reading = Reading(block_size=block_size, asked=block_size is not None, conversations=conversations)
    try:
        with path.open("rb") as raw:
            packed = _PACKED.get(raw.read(2))
            raw.seek(0)
            digest = "sha256:" + hashlib.file_digest(raw, "sha256").hexdigest()
        if packed is not None:
            msg = f"the data set {path} {packed}"
            raise UsageError(msg)
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            items, notes = _read(file, reading)
    except OSError as error:
        msg = f"the data set {path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from error
    except MalformedError as error:
        msg = f"{path}:{error.line}: {error}"
        raise UsageError(msg) from None
    if not items:
        msg = f"the data set {path} holds no request{': ' if notes else ''}{'; '.join(notes)}"
        raise UsageError(msg)
    notes += _of_blocks(path, reading)
    found = Dataset(path, tuple(items), tuple(notes), digest)
    if any(item.blocks is not None for item in items):
        found = replace(found, block_size=reading.block_size)
    return _timed(found, reading, time_unit)


def _of_blocks(path: Path, reading: Reading) -> list[str]:
    """What is to be told of the names of blocks.

    :raises UsageError: if they have another size than the one that was asked for.
    """
    fit, size = reading.fit, reading.block_size
    if not fit.misfits:
        idle = reading.asked and not fit.entries
        return (
            [f"block_size={size} changes nothing: no request has hash_ids that name blocks"] if idle else []
        )
    guess = f"{fit.guess or 'no size'} fits them all"
    if reading.asked and fit.misfits == fit.entries:
        msg = (
            f"{path}: no prompt has as many hash_ids as blocks of block_size={size} tokens need; {guess}; "
            "without the setting, the size is the form's own"
        )
        raise UsageError(msg)
    helps = f"--llm-block-size={guess}" if fit.guess else guess
    return [
        f"not used: hash_ids of {fit.misfits} of {fit.entries} prompts, which are not one for each {size} "
        f"tokens: these prompts share nothing ({helps})"
    ]


def _timed(dataset: Dataset, reading: Reading, time_unit: str | None) -> Dataset:
    """*dataset* with its times, now as they stand in its file, in seconds from 0; without if one has none."""
    items, notes = dataset.items, list(dataset.notes)
    timed = sum(item.at is not None for item in items)
    if timed < len(items):
        if timed:
            notes.append(f"only {timed} of {len(items)} requests have a timestamp, so none is used")
        return replace(dataset, items=tuple(replace(item, at=None) for item in items), notes=tuple(notes))
    unit = reading.unit if time_unit is None or reading.unit == "date" else time_unit
    if len(reading.clocks) > 1:
        notes.append(
            f"the times of its {len(reading.clocks)} conversations count from the beginning of each, so that "
            "all begin at once"
        )
    elif late := _late(items):
        notes.append(
            f"{late} of {len(items)} requests stood after later ones: they are in the order of their times"
        )
    return replace(
        dataset,
        items=tuple(_from_zero(items, unit)),
        notes=tuple(notes),
        time_unit=unit,
        doubt=None if time_unit is not None or unit == "date" else _doubt(items, unit),
    )


def _late(items: Sequence[Item]) -> int:
    """How many requests have an earlier time than one before them."""
    latest, late = -math.inf, 0
    for item in items:
        late += (item.at or 0.0) < latest
        latest = max(latest, item.at or 0.0)
    return late


def _from_zero(items: Sequence[Item], unit: str) -> list[Item]:
    """By time, in seconds from 0; every item has one, in *unit*."""
    scale, start = TIME_UNITS.get(unit, 1.0), min(item.at or 0.0 for item in items)
    moved = (replace(item, at=((item.at or 0.0) - start) * scale) for item in items)
    return sorted(moved, key=lambda item: item.at or 0.0)


def _doubt(items: Sequence[Item], unit: str) -> str | None:
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


Read = Callable[[Reading], Item]
Entries = Iterator[tuple[int, Read]]
"""The line in which each entry begins, and what makes a request of it."""


def _read(file: TextIO, reading: Reading) -> tuple[list[Item], list[str]]:
    """The items with their times as they stand, and the notes."""
    start = first_character(file)
    if not start:
        return [], []
    return _collect(_parsed(file) if start in "[{" else _rows(file), reading)


def _collect(entries: Iterable[tuple[int, Read]], reading: Reading) -> tuple[list[Item], list[str]]:
    items: list[Item] = []
    odd: dict[str, _Odd] = {}
    unused: Counter[str] = Counter()
    size, count, full = 0, 0, False
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
        size += 0 if item.conversation is None else item.conversation.characters
        size += 0 if item.blocks is None else _BLOCK * len(item.blocks.names)
    return items, _notes(odd, unused, count, full)


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


def _parsed(file: TextIO) -> Entries:
    for line, value in json_values(file):
        if isinstance(value, Broken):
            yield line, partial(_broken, value)
            continue
        for entry in conversation(value):
            yield line, partial(read_entry, entry)


def _broken(value: Broken, _: Reading) -> Item:
    raise OddEntryError(value.why)


# --- CSV ----------------------------------------------------------------------------------------


def _rows(file: TextIO) -> Entries:
    # A line of any length is one of no text of ours.
    reader = csv.DictReader(iter(lambda: file.readline(CHUNK), ""))
    try:
        names = reader.fieldnames or ()
        columns = next((known for known in COLUMNS if known.names <= set(names)), None)
        if columns is None:
            msg = f"expected {FORMS}; got {shown(','.join(names))}"
            raise MalformedError(1, msg)
        for row in reader:
            yield reader.line_num, partial(read_row, row, columns)
    except csv.Error as error:
        msg = f"expected CSV: {error}"
        raise MalformedError(reader.reader.line_num, msg) from None

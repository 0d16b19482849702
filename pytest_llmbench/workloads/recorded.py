"""What request is one entry of a trace: how long, when, and made of which blocks?

A trace has lengths and no text. What prompts had in common it tells by ``hash_ids``, each of which stands for
so many tokens; how many is a matter of the form, and told by nothing in most files:

====================  ===================  ==================  ======
form                  told by              tokens of a block   times
====================  ===================  ==================  ======
Mooncake's            ``input_length``     512                 ms
Bailian's             ``chat_id`` too      16                  s
WEKA's                ``t``, ``in``        64, or block_size   s
====================  ===================  ==================  ======

Azure's and BurstGPT's have no blocks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_llmbench.times import read_iso
from pytest_llmbench.workloads.requests import Blocks, Item

_DIGITS = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{0,30})?")
_NEVER = 1e19
"""Above every time stamp, in whatever unit."""
LONGEST = 10**8
"""Tokens, more than any model reads or writes."""
FORMS = (
    'JSON Lines or a JSON array of {"prompt": ...}, {"messages": ...}, {"conversations": ...}, '
    '{"timestamp": ..., "input_length": ..., "output_length": ...} or {"t": ..., "in": ..., "out": ...}, or '
    "CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens, or Timestamp, Request tokens and "
    "Response tokens"
)
_FAILED = "a request that failed: it has no token of a response"
_EMPTY = "no token to read, or none to generate"


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a form of CSV has what."""

    at: str
    read: str
    written: str
    unanswered: str = _EMPTY
    """What a row without a token of an answer is."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset((self.at, self.read, self.written))


COLUMNS = (
    Columns("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    Columns("Timestamp", "Request tokens", "Response tokens", unanswered=_FAILED),
)
"""Of Azure's traces and of BurstGPT's."""


@dataclass(frozen=True, slots=True)
class _Keys:
    """Where a form of JSON has what, and what its numbers mean."""

    at: str
    read: str
    written: str
    unit: str
    """Of its times."""
    block_size: int
    """Tokens for which one of its ``hash_ids`` stands, unless the entry says."""
    alone: bool = False
    """Whether each conversation has a clock, and names of blocks, of its own."""


_MOONCAKE = _Keys("timestamp", "input_length", "output_length", "ms", 512)
_BAILIAN = _Keys("timestamp", "input_length", "output_length", "s", 16)
_WEKA = _Keys("t", "in", "out", "s", 64, alone=True)


class OddEntryError(Exception):
    """Why one entry is not a request."""


@dataclass(slots=True)
class Fit:
    """Which sizes of a block agree with the lengths of the prompts that consist of blocks."""

    least: int = 1
    most: int = LONGEST
    entries: int = 0
    """How many named their blocks."""
    misfits: int = 0
    """How many of them not as the size has it that they were read with."""

    def take(self, tokens: int, names: int, size: int) -> bool:
        """Whether a prompt of *tokens* may have *names* blocks of *size*.

        The last of them may be shorter, as in Mooncake's traces, or what is shorter may have no name, as in
        WEKA's: there are ceil(tokens / size) names or floor(tokens / size).
        """
        least = tokens // (names + 1) + 1
        most = (tokens - 1) // (names - 1) if names > 1 else LONGEST
        self.least, self.most = max(self.least, least), min(self.most, most)
        self.entries += 1
        fits = least <= size <= most
        self.misfits += not fits
        return fits

    @property
    def guess(self) -> int | None:
        """A size that agrees with all of them, a power of two if there is one; None if none does."""
        power = 1 << (self.least - 1).bit_length()
        if power <= self.most:
            return power
        return self.least if self.least <= self.most else None


@dataclass(slots=True)
class Reading:
    """What is known of a file besides its requests."""

    unit: str = "s"
    """Of its times, as its form has them: s, or ms; ``date`` where they are dates."""
    block_size: int | None = None
    """Tokens of each of its blocks: as it was asked for, or that of the first entry with blocks."""
    asked: bool = False
    """Whether the block size is the user's word."""
    conversations: bool = False
    """Whether whole conversations are asked for."""
    fit: Fit = field(default_factory=Fit)
    clocks: set[str] = field(default_factory=set)
    """Conversations of which each has a clock of its own."""
    unused: Counter[str] = field(default_factory=Counter)
    """What of the entry that was read last is not used, in words."""
    names: dict[int | str, int | str] = field(default_factory=dict)
    """Each name of a block once: in a trace they come again and again."""


def conversation(entry: object) -> Iterator[object]:
    """The requests of a conversation of WEKA's, its agents' in their places; or *entry* alone."""
    listed = entry.get("requests") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(listed, list) or "id" not in entry or not listed:
        yield entry
        return
    known = {key: entry[key] for key in ("id", "block_size", "hash_id_scope") if key in entry}
    waiting = listed[::-1]
    while waiting:
        one = waiting.pop()
        inner = one.get("requests") if isinstance(one, dict) else None
        if isinstance(inner, list):
            waiting += inner[::-1]
        else:
            yield {**one, **known} if isinstance(one, dict) else one


def is_recorded(entry: Mapping[str, object]) -> bool:
    """Whether an entry is one of a trace."""
    return "input_length" in entry or ("in" in entry and "t" in entry)


def read_recorded(entry: Mapping[str, object], reading: Reading) -> Item:
    """The request of a trace's entry, its time in the unit of the file.

    :raises OddEntryError: if it is none.
    """
    # Of the same keys, Mooncake's traces have milliseconds, and those of Bailian, with chats, seconds.
    chats = "chat_id" in entry or "parent_chat_id" in entry
    keys = _WEKA if "input_length" not in entry else _BAILIAN if chats else _MOONCAKE
    missing = [key for key in (keys.at, keys.written) if entry.get(key) is None]
    if missing:
        msg = f"no {' and no '.join(missing)} in a trace's entry"
        raise OddEntryError(msg)
    reading.unit = keys.unit
    item = _of_lengths(entry[keys.read], entry[keys.written], entry[keys.at], reading)
    own = shown(entry.get("id")) if keys.alone else ""
    if keys.alone:
        reading.clocks.add(own)
    if entry.get("hash_ids") is None:
        return item
    blocks = _blocks(entry, item.prompt_tokens or 0, keys, reading)
    if blocks is None:
        return item
    scope = "" if entry.get("hash_id_scope") == "global" else own
    return Item(
        output_tokens=item.output_tokens,
        prompt_tokens=item.prompt_tokens,
        at=item.at,
        blocks=Blocks(blocks, reading.block_size or keys.block_size, scope),
    )


def _blocks(
    entry: Mapping[str, object], length: int, keys: _Keys, reading: Reading
) -> tuple[int | str, ...] | None:
    """The names of the blocks of a prompt of *length* tokens; None if they cannot be that."""
    names, size = entry["hash_ids"], keys.block_size
    if not isinstance(names, list) or not all(type(name) in (int, str) for name in names):
        reading.unused["hash_ids that are not a list of names: their prompts share nothing"] += 1
        return None
    if (said := entry.get("block_size")) is not None:
        size = tokens(said, "block_size")
        if not size:
            raise OddEntryError("block_size is 0")
    if reading.block_size is None:
        reading.block_size = size
    elif not reading.asked and size != reading.block_size:
        msg = f"hash_ids of other blocks than those before, which have {reading.block_size} tokens"
        raise OddEntryError(msg)
    if not reading.fit.take(length, len(names), reading.block_size):
        return None
    return tuple(reading.names.setdefault(name, name) for name in names) or None


def read_row(row: Mapping[str, object], columns: Columns, reading: Reading) -> Item:
    """The request that a row of CSV is; its time in seconds.

    :raises OddEntryError: if it is none.
    """
    at, read, written = (row.get(name) for name in (columns.at, columns.read, columns.written))
    return _of_lengths(read, written, at, reading, columns.unanswered)


def _of_lengths(
    read: object, written: object, at: object, reading: Reading, unanswered: str = _EMPTY
) -> Item:
    lengths = tokens(read, "tokens to read"), tokens(written, "tokens to generate")
    time = time_of(at, reading)
    if not all(lengths):
        raise OddEntryError(_EMPTY if lengths[1] else unanswered)
    return Item(output_tokens=lengths[1], prompt_tokens=lengths[0], at=time)


def tokens(value: object, name: str) -> int:
    """A whole number from 0 on; CSV has it as text."""
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else value
    if type(number) is not int or not 0 <= number <= LONGEST:
        msg = f"{name} is not a number of tokens, but {shown(value)}"
        raise OddEntryError(msg)
    return number


def time_of(value: object, reading: Reading) -> float:
    """A number in the file's unit, or a date in seconds since 1970, UTC where no zone is given."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _NEVER:
        return float(value)
    try:
        if not isinstance(value, str):
            raise ValueError
        seconds = read_iso(value)
    except ValueError:
        msg = f"timestamp is not a time, but {shown(value)}"
        raise OddEntryError(msg) from None
    reading.unit = "date"
    return seconds


def shown(value: object) -> str:
    """A value for a message, cut."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

"""Which requests does a file hold?

A file is read as what its content says that it is:

- prompts: ``{"prompt": "..."}`` or ``{"messages": [{"role": "user", "content": "..."}]}``, each with
  ``output_tokens`` or ``max_tokens`` if it likes, and ``timestamp`` in seconds;
- ShareGPT: ``{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt", "value": "..."}]}``;
  the first text of a person is the prompt, and nothing is known of the answer's tokens;
- a trace as Mooncake publishes them: ``{"timestamp": 27482, "input_length": 6955, "output_length": 52,
  "hash_ids": [46, 47, ...]}`` with milliseconds, where each of the ``hash_ids``, which may be left out,
  stands for 512 tokens (https://github.com/kvcache-ai/Mooncake);
- a trace as Azure publishes them: CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens
  (https://github.com/Azure/AzurePublicDataset).

The first three are JSON Lines, one object a line, or a JSON array of such objects.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads.requests import BLOCK, Item

if TYPE_CHECKING:
    from pytest_llmbench.backends.base import Message

_FORMS = (
    'JSON Lines or a JSON array of {"prompt": ...}, {"messages": ...}, {"conversations": ...} or '
    '{"timestamp": ..., "input_length": ..., "output_length": ...}, or CSV with the columns TIMESTAMP, '
    "ContextTokens and GeneratedTokens"
)
_PERSON = ("human", "user")
_CSV_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_BLANKS = re.compile(r"[ \t\r\n]*")
_DIGITS = re.compile(r"[0-9]{1,18}")
_CHUNK = 1 << 20
_NEVER = 1e15
"""Above every time stamp, in whatever unit."""


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

    @property
    def needs_prompts(self) -> bool:
        """Whether an item has a length only, and its prompt is still to be made."""
        return any(item.prompt is None and item.messages is None for item in self.items)


def read_dataset(path: str | Path, *, root: Path | None = None) -> Dataset:
    """The requests in a file of one of the forms that this module names.

    :param root: where a relative *path* is meant from; the working directory if None.
    :raises UsageError: naming the file, the line and what was expected there.
    """
    path = Path(path).expanduser()
    path = path if root is None else root / path
    try:
        with path.open("rb") as raw:
            digest = "sha256:" + hashlib.file_digest(raw, "sha256").hexdigest()
        with path.open(encoding="utf-8-sig", newline="") as file:
            items, notes = _read(file)
    except OSError as error:
        msg = f"the data set {path} cannot be read: {error.strerror or error}"
        raise UsageError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"the data set {path} cannot be read: it is not UTF-8 text"
        raise UsageError(msg) from error
    except _MalformedError as error:
        msg = f"{path}:{error.line}: {error}"
        raise UsageError(msg) from None
    if not items:
        msg = f"the data set {path} holds no request{': ' if notes else ''}{'; '.join(notes)}"
        raise UsageError(msg)
    return Dataset(path, tuple(items), tuple(notes), digest)


class _MalformedError(Exception):
    """What is wrong in a line of the file."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _read(file: TextIO) -> tuple[list[Item], list[str]]:
    """The items, and the notes."""
    text = _Text(file)
    start = text.peek()
    if not start:
        return [], []
    if start == "[":
        return _from_entries(_array(text))
    file.seek(0)
    return _from_entries(_lines(file)) if start == "{" else _from_csv(file)


# --- JSON ---------------------------------------------------------------------------------------


def _lines(file: TextIO) -> Iterator[tuple[int, Any]]:
    """The number and the value of each line."""
    for line, text in enumerate(file, 1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except json.JSONDecodeError as error:
                msg = f"expected one JSON object a line: {error.msg}, at column {error.colno}"
                raise _MalformedError(line, msg) from None


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
            raise _MalformedError(self.line, msg if found else "the JSON array has no end")
        self._at += 1

    def value(self) -> Any:
        """The JSON value that is next."""
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Most likely it is not read to its end yet.
                if not self._more():
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


def _array(text: _Text) -> Iterator[tuple[int, Any]]:
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


def _from_entries(entries: Iterable[tuple[int, Any]]) -> tuple[list[Item], list[str]]:
    items: list[Item] = []
    form: _Form | None = None
    left_out = 0
    for line, entry in entries:
        found = _form(entry, line)
        if form not in (None, found):
            msg = f"expected one form in the whole file, got {found.name} after {form.name}"
            raise _MalformedError(line, msg)
        form = found
        item = form.read(entry, line)
        if item is None:
            left_out += 1
        else:
            items.append(item)
    notes = _left_out(left_out, len(items), form.skips) if form else []
    timed = sum(item.at is not None for item in items)
    if 0 < timed < len(items):
        notes.append(f"only {timed} of {len(items)} requests have a timestamp, so none is used")
        return [replace(item, at=None) for item in items], notes
    return (_from_zero(items) if timed else items), notes


@dataclass(frozen=True, slots=True)
class _Form:
    """What the objects of a JSON file are."""

    name: str
    read: Callable[[Mapping[str, Any], int], Item | None]
    """The item of the object in a line; None leaves it out."""
    skips: str = ""
    """Why objects are left out."""


def _form(entry: Any, line: int) -> _Form:
    if isinstance(entry, dict):
        for key, form in _JSON_FORMS.items():
            if key in entry:
                return form
    msg = f"expected {_FORMS}; got {_shown(entry)}"
    raise _MalformedError(line, msg)


def _prompt(entry: Mapping[str, Any], line: int) -> Item:
    if "prompt" in entry and "messages" in entry:
        msg = "expected either prompt or messages, got both"
        raise _MalformedError(line, msg)
    key = "output_tokens" if entry.get("output_tokens") is not None else "max_tokens"
    output = None if entry.get(key) is None else _tokens(entry[key], key, line)
    if output == 0:
        msg = f"expected {key} from 1 on, got 0"
        raise _MalformedError(line, msg)
    at = None if entry.get("timestamp") is None else _seconds(entry["timestamp"], line)
    if "messages" in entry:
        return Item(messages=_messages(entry["messages"], line), output_tokens=output, at=at)
    prompt = entry["prompt"]
    if not isinstance(prompt, str) or not prompt:
        msg = f"expected a text as the prompt, got {_shown(prompt)}"
        raise _MalformedError(line, msg)
    return Item(prompt, output_tokens=output, at=at)


def _messages(value: Any, line: int) -> tuple[Message, ...]:
    messages: list[Message] = []
    for message in value if isinstance(value, list) else ():
        match message:
            case {"role": str(role), "content": str(content)}:
                messages.append({"role": role, "content": content})
            case _:
                msg = f'expected a message {{"role": "...", "content": "..."}}, got {_shown(message)}'
                raise _MalformedError(line, msg)
    if not messages:
        msg = f"expected a list of messages, got {_shown(value)}"
        raise _MalformedError(line, msg)
    return tuple(messages)


def _conversation(entry: Mapping[str, Any], line: int) -> Item | None:
    turns = entry["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        msg = f'expected conversations as a list of {{"from": ..., "value": ...}}, got {_shown(turns)}'
        raise _MalformedError(line, msg)
    prompt = next((turn.get("value") for turn in turns if turn.get("from") in _PERSON), None)
    if len(turns) < 2 or not isinstance(prompt, str) or not prompt.strip():
        return None
    return Item(prompt)


def _recorded(entry: Mapping[str, Any], line: int) -> Item | None:
    missing = [key for key in ("timestamp", "input_length", "output_length") if key not in entry]
    if missing:
        msg = f"expected {' and '.join(missing)} as well in a trace's object, got {_shown(entry)}"
        raise _MalformedError(line, msg)
    at = _seconds(entry["timestamp"], line) / 1000
    lengths = [_tokens(entry[key], key, line) for key in ("input_length", "output_length")]
    if not all(lengths):
        return None
    blocks = entry.get("hash_ids")
    if blocks is not None:
        if not isinstance(blocks, list) or any(type(name) not in (int, str) for name in blocks):
            msg = f"expected hash_ids as a list of numbers or texts, got {_shown(blocks)}"
            raise _MalformedError(line, msg)
        if len(blocks) != (wanted := math.ceil(lengths[0] / BLOCK)):
            msg = (
                f"expected {wanted} hash_ids for an input_length of {lengths[0]}, one for each {BLOCK} "
                f"tokens, got {len(blocks)}"
            )
            raise _MalformedError(line, msg)
        blocks = tuple(blocks)
    return Item(output_tokens=lengths[1], prompt_tokens=lengths[0], at=at, blocks=blocks)


_PROMPTS = _Form("a prompt", _prompt)
_EMPTY_REQUEST = "no token to read, or none to generate"
_JSON_FORMS = {
    "prompt": _PROMPTS,
    "messages": _PROMPTS,
    "conversations": _Form("a ShareGPT conversation", _conversation, "one turn only, or no text of a person"),
    "input_length": _Form("a trace's request", _recorded, _EMPTY_REQUEST),
}


# --- CSV ----------------------------------------------------------------------------------------


def _from_csv(file: TextIO) -> tuple[list[Item], list[str]]:
    items: list[Item] = []
    left_out = 0
    reader = csv.DictReader(file)
    try:
        if missing := [column for column in _CSV_COLUMNS if column not in (reader.fieldnames or ())]:
            msg = f"expected {_FORMS}; got a line without {', '.join(missing)}"
            raise _MalformedError(1, msg)
        for row in reader:
            line = reader.line_num
            at = _instant(row["TIMESTAMP"], line)
            lengths = [_tokens(row[column], column, line) for column in _CSV_COLUMNS[1:]]
            if all(lengths):
                items.append(Item(output_tokens=lengths[1], prompt_tokens=lengths[0], at=at))
            else:
                left_out += 1
    except csv.Error as error:
        msg = f"expected CSV: {error}"
        raise _MalformedError(reader.reader.line_num, msg) from None
    return _from_zero(items), _left_out(left_out, len(items), _EMPTY_REQUEST)


def _instant(text: Any, line: int) -> float:
    """Seconds since 1970, taken as UTC where no zone is given."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        msg = f"expected a TIMESTAMP such as 2023-11-16 18:17:03.9799600, got {_shown(text)}"
        raise _MalformedError(line, msg) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


# --- Both ---------------------------------------------------------------------------------------


def _tokens(value: Any, name: str, line: int) -> int:
    """A whole number from 0 on; CSV has it as text."""
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else value
    if type(number) is not int or number < 0:
        msg = f"expected a number of tokens as {name}, got {_shown(value)}"
        raise _MalformedError(line, msg)
    return number


def _seconds(value: Any, line: int) -> float:
    if type(value) not in (int, float) or not abs(value) < _NEVER:
        msg = f"expected a number as timestamp, got {_shown(value)}"
        raise _MalformedError(line, msg)
    return float(value)


def _from_zero(items: list[Item]) -> list[Item]:
    """By time, which starts at 0; every item has one."""
    start = min((item.at or 0.0 for item in items), default=0.0)
    return sorted((replace(i, at=(i.at or 0.0) - start) for i in items), key=lambda i: i.at or 0.0)


def _left_out(count: int, kept: int, reason: str) -> list[str]:
    return [f"{count} of {count + kept} entries were left out: {reason}"] if count else []


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

"""What request is one entry of a data set, whatever its keys are called?

Entries are JSON objects, or rows of CSV by their columns. What an entry cannot be is an
:class:`OddEntryError`, which leaves the entry out and not the file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_llmbench.times import read_iso
from pytest_llmbench.workloads.requests import BLOCK, Item

if TYPE_CHECKING:
    from pytest_llmbench.workloads.messages import Message

_PERSON = ("human", "user", "prompter")
_CONVERSATIONS = ("conversations", "conversation", "messages", "items", "turns")
_PROMPTS = ("prompt", "text", "question", "instruction", "text_input", "query", "content")
_OUTPUTS = ("output_tokens", "output_length", "max_completion_tokens", "max_tokens", "max_new_tokens")
_DIGITS = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{0,30})?")
_NEVER = 1e19
"""Above every time stamp, in whatever unit."""
FORMS = (
    'JSON Lines or a JSON array of {"prompt": ...}, {"messages": ...}, {"conversations": ...} or '
    '{"timestamp": ..., "input_length": ..., "output_length": ...}, or CSV with the columns TIMESTAMP, '
    "ContextTokens and GeneratedTokens, or Timestamp, Request tokens and Response tokens"
)
COLUMNS = (
    ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    ("Timestamp", "Request tokens", "Response tokens"),
)
"""Of Azure's traces and of BurstGPT's: when, and how many tokens in and out."""


class OddEntryError(Exception):
    """Why one entry is not a request."""


@dataclass(slots=True)
class Reading:
    """What is known of a file besides its requests."""

    unit: str = "s"
    """Of its times, as its form has them: s, or ms; ``date`` where they are dates."""
    unused: Counter[str] = field(default_factory=Counter)
    """What of the entry that was read last is not used, in words."""


def read_entry(entry: object, reading: Reading) -> Item:
    """The request that a JSON object is; its time in the unit of the file.

    :raises OddEntryError: if it is none.
    """
    if isinstance(entry, dict) and isinstance(entry.get("body"), dict):
        entry = entry["body"]  # a batch of OpenAI's
    if not isinstance(entry, dict):
        msg = f"not an object, but {shown(entry)}"
        raise OddEntryError(msg)
    if "input_length" in entry:
        return _recorded(entry, reading)
    item = _asked(entry, reading)
    key = next((key for key in _OUTPUTS if entry.get(key) is not None), None)
    output = None if key is None else tokens(entry[key], key)
    if output == 0:
        msg = f"no token to generate: {key} is 0"
        raise OddEntryError(msg)
    at = None if entry.get("timestamp") is None else time_of(entry["timestamp"], reading)
    return Item(item.prompt, item.messages, output, at=at)


def _asked(entry: Mapping[str, object], reading: Reading) -> Item:
    """What an entry asks, in whichever of the keys it is."""
    key = next((key for key in (*_PROMPTS[:1], *_CONVERSATIONS, *_PROMPTS[1:]) if entry.get(key)), None)
    if key is None:
        there = [key for key in (*_PROMPTS, *_CONVERSATIONS) if key in entry]
        msg = f"nothing in {there[0]}" if there else f"none of the known keys, but {shown(entry)}"
        raise OddEntryError(msg)
    value = entry[key]
    if key in _CONVERSATIONS or _is_dialog(value):
        return _conversation(value, key, reading)
    text = _text(value, reading)
    if key == "instruction" and (more := _text(entry.get("input"), reading)):
        text = f"{text}\n\n{more}"
    if not text.strip():
        msg = f"no text in {key}"
        raise OddEntryError(msg)
    return Item(text)


def _is_dialog(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) and "role" in one for one in value)


def _conversation(turns: object, key: str, reading: Reading) -> Item:
    if isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns):
        if not turns[0].strip():
            msg = f"no text in {key}"
            raise OddEntryError(msg)
        return Item(_encodable(turns[0]))
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        msg = f"{key} is not a list of turns, but {shown(turns)}"
        raise OddEntryError(msg)
    if key in ("messages", *_PROMPTS) and all("role" in turn for turn in turns):
        return Item(messages=_messages(turns, reading))
    said = [(turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) for turn in turns]
    text = next((_text(what, reading) for who, what in said if who in _PERSON), "")
    if len(turns) < 2 or not text.strip():
        msg = "only one turn, or no text from a person"
        raise OddEntryError(msg)
    return Item(text)


def _messages(turns: list[dict[str, object]], reading: Reading) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn in turns:
        role, text = turn["role"], _text(turn.get("content"), reading)
        if not isinstance(role, str):
            msg = f"a message's role is not a text, but {shown(role)}"
            raise OddEntryError(msg)
        if text:
            messages.append({"role": role, "content": text})
        else:
            reading.unused["messages without text"] += 1
    if not messages:
        msg = "no message with text"
        raise OddEntryError(msg)
    return tuple(messages)


def _text(value: object, reading: Reading) -> str:
    """The text of a content: as it is, or that of its parts; empty where there is none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _encodable(value)
    parts = [value] if isinstance(value, dict) else value
    if not isinstance(parts, list):
        msg = f"not a text, but {shown(value)}"
        raise OddEntryError(msg)
    found: list[str] = []
    for part in parts:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str):
            found.append(_encodable(text))
        else:
            reading.unused["parts that are not text, such as pictures"] += 1
    return "\n".join(found)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        msg = "text that is not Unicode"
        raise OddEntryError(msg) from None
    return text


# --- Traces -------------------------------------------------------------------------------------


def _recorded(entry: Mapping[str, object], reading: Reading) -> Item:
    missing = [key for key in ("timestamp", "output_length") if entry.get(key) is None]
    if missing:
        msg = f"no {' and no '.join(missing)} in a trace's entry"
        raise OddEntryError(msg)
    # Of the same keys, Mooncake's traces have milliseconds, and those of Bailian, with chats, seconds.
    chats = "chat_id" in entry or "parent_chat_id" in entry
    reading.unit = "s" if chats else "ms"
    item = _of_lengths(entry["input_length"], entry["output_length"], entry["timestamp"], reading)
    blocks = entry.get("hash_ids")
    if blocks is None:
        return item
    names = blocks if isinstance(blocks, list) else []
    named = all(type(name) in (int, str) for name in names)
    if not named or len(names) != math.ceil((item.prompt_tokens or 0) / BLOCK):
        reading.unused[f"hash_ids that are not one for each {BLOCK} tokens: their prompts share nothing"] += 1
        return item
    return Item(
        output_tokens=item.output_tokens, prompt_tokens=item.prompt_tokens, at=item.at, blocks=tuple(names)
    )


def read_row(row: Mapping[str, object], columns: tuple[str, str, str], reading: Reading) -> Item:
    """The request that a row of CSV is; its time in seconds.

    :raises OddEntryError: if it is none.
    """
    at, read, written = (row.get(column) for column in columns)
    return _of_lengths(read, written, at, reading)


def _of_lengths(read: object, written: object, at: object, reading: Reading) -> Item:
    lengths = tokens(read, "tokens to read"), tokens(written, "tokens to generate")
    time = time_of(at, reading)
    if not all(lengths):
        msg = "no token to read, or none to generate"
        raise OddEntryError(msg)
    return Item(output_tokens=lengths[1], prompt_tokens=lengths[0], at=time)


def tokens(value: object, name: str) -> int:
    """A whole number from 0 on; CSV has it as text."""
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value.strip()) else value
    if type(number) is not int or not 0 <= number < 10**18:
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

"""What request is one entry of a data set, whatever its keys are called?

Entries are JSON objects, or rows of CSV by their columns. What an entry cannot be is an
:class:`OddEntryError`, which leaves the entry out and not the file. What a trace recorded is in
:mod:`.recorded`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_llmbench.workloads.recorded import (
    OddEntryError,
    Reading,
    is_recorded,
    read_recorded,
    shown,
    time_of,
    tokens,
)
from pytest_llmbench.workloads.requests import Item
from pytest_llmbench.workloads.scenarios.said import PERSON, asked_apart, conversation_of

if TYPE_CHECKING:
    from pytest_llmbench.workloads.messages import Message

_CONVERSATIONS = ("conversations", "conversation", "messages", "items", "turns")
_PROMPTS = ("prompt", "text", "question", "instruction", "text_input", "query", "content")
_OUTPUTS = ("output_tokens", "output_length", "max_completion_tokens", "max_tokens", "max_new_tokens")


def read_entry(entry: object, reading: Reading) -> Item:
    """The request that a JSON object is; its time in the unit of the file.

    :raises OddEntryError: if it is none.
    """
    if isinstance(entry, dict) and isinstance(entry.get("body"), dict):
        entry = entry["body"]  # a batch of OpenAI's
    if not isinstance(entry, dict):
        msg = f"not an object, but {shown(entry)}"
        raise OddEntryError(msg)
    if is_recorded(entry):
        return read_recorded(entry, reading)
    item = _asked(entry, reading)
    key = next((key for key in _OUTPUTS if entry.get(key) is not None), None)
    output = None if key is None else tokens(entry[key], key)
    if output == 0:
        msg = f"no token to generate: {key} is 0"
        raise OddEntryError(msg)
    at = None if entry.get("timestamp") is None else time_of(entry["timestamp"], reading)
    return Item(item.prompt, item.messages, output, at=at, conversation=item.conversation)


def _asked(entry: Mapping[str, object], reading: Reading) -> Item:
    """What an entry asks, in whichever of the keys it is."""
    key = next((key for key in (*_PROMPTS[:1], *_CONVERSATIONS, *_PROMPTS[1:]) if entry.get(key)), None)
    if key is None:
        there = [key for key in (*_PROMPTS, *_CONVERSATIONS) if key in entry]
        msg = f"nothing in {there[0]}" if there else f"none of the known keys, but {shown(entry)}"
        raise OddEntryError(msg)
    value = entry[key]
    if key in _CONVERSATIONS or _is_dialog(value):
        read = _whole if reading.conversations else _conversation
        return read(value, key, reading)
    text = _text(value, reading)
    if key == "instruction" and (more := _text(entry.get("input"), reading)):
        text = f"{text}\n\n{more}"
    if not text.strip():
        msg = f"no text in {key}"
        raise OddEntryError(msg)
    return Item(text, conversation=asked_apart([text]) if reading.conversations else None)


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
    asked = (_text(what, reading) for who, what in said if who in PERSON)
    text = next((text for text in asked if _has_text(text, reading)), None)
    if len(turns) < 2 or text is None:
        msg = "only one turn, or no text from a person"
        raise OddEntryError(msg)
    return Item(text)


def _whole(turns: object, key: str, reading: Reading) -> Item:
    """All that was said, by turns."""
    if not isinstance(turns, list) or not turns:
        msg = f"{key} is not a list of turns, but {shown(turns)}"
        raise OddEntryError(msg)
    if all(isinstance(turn, str) for turn in turns):
        conversation = asked_apart([text for turn in turns if _has_text(text := _encodable(turn), reading)])
    elif all(isinstance(turn, dict) for turn in turns):
        said = (
            (turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))) for turn in turns
        )
        conversation = conversation_of([(who, _text(what, reading)) for who, what in said], reading.unused)
    else:
        msg = f"{key} is not a list of turns, but {shown(turns)}"
        raise OddEntryError(msg)
    if conversation is None:
        msg = "no text from a person"
        raise OddEntryError(msg)
    return Item(str(conversation.turns[0].user), conversation=conversation)


def _has_text(text: str, reading: Reading) -> bool:
    """Whether it has; an empty turn is one that never was, and is counted."""
    if not (has := bool(text.strip())):
        reading.unused["turns without text"] += 1
    return has


def _messages(turns: list[dict[str, object]], reading: Reading) -> tuple[Message, ...]:
    messages: list[Message] = []
    for turn in turns:
        role, text = turn["role"], _text(turn.get("content"), reading)
        if not isinstance(role, str):
            msg = f"a message's role is not a text, but {shown(role)}"
            raise OddEntryError(msg)
        if _has_text(text, reading):
            messages.append({"role": role, "content": text})
    answered = len(messages)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        msg = "only answers in messages" if answered else "no message with text"
        raise OddEntryError(msg)
    if answered > len(messages):
        reading.unused["answers at the end of messages"] += 1
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

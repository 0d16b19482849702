"""What can a suite say, and what can a case of it say?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from pytest_llmbench.errors import few, saying_where, suggest
from pytest_llmbench.settings import values as read
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.conversation_rows import conversation_schema, read_conversation
from pytest_llmbench.settings.conversations import find_conversation
from pytest_llmbench.settings.rows import Setting, rows_of, setting
from pytest_llmbench.settings.synonyms import other_names
from pytest_llmbench.settings.yaml_nodes import Node, Place, Table, plain
from pytest_llmbench.workloads.lengths import LONGEST
from pytest_llmbench.workloads.messages import Message
from pytest_llmbench.workloads.scenarios.conversation import Conversation
from pytest_llmbench.workloads.tasks import TASKS, TaskName

if TYPE_CHECKING:
    from pytest_llmbench.settings.rows import Schema

VERSION = 1
"""Of the format."""
NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}"
"""What a case can be called, as a pattern."""


def _messages_schema() -> Schema:
    texts = {key: {"type": "string"} for key in Message.__annotations__}
    one = {"type": "object", "properties": texts, "required": list(texts), "additionalProperties": False}
    return {"type": "array", "items": one, "minItems": 1, "maxItems": 10_000}


@read.reader("a list of {role: ..., content: ...}", _messages_schema)
def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 10_000:
        raise ValueError
    for one in value:
        if not isinstance(one, Mapping) or one.keys() != Message.__annotations__.keys():
            raise ValueError
        if not all(isinstance(part, str) for part in one.values()):
            raise ValueError
    return tuple(Message(role=one["role"], content=one["content"]) for one in value)


@read.reader(
    "the name of a conversation, its FILE or FILE#NAME, or a conversation as a table",
    lambda: {"anyOf": [{"type": "string", "minLength": 1}, conversation_schema(named=False)]},
)
def _conversation(value: object) -> Conversation:
    """What :func:`asked_conversation` has read, which knows where each part of it stands."""
    if not isinstance(value, Conversation):
        raise ValueError
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a case asks: one of these, or a task of a length; under load, made prompts if none."""

    prompt: str | None = setting(
        None,
        read.text,
        "",
        "Text that is asked, in the model's own words for a chat or as it is",
        role="work",
    )
    messages: tuple[Message, ...] | None = setting(
        None, _messages, "", "Messages of a chat, for the model's own template", role="work"
    )
    prompt_tokens: int | None = setting(
        None,
        read.whole(1, LONGEST),
        "",
        "Made text of exactly so many tokens, instead of a prompt",
        role="work",
        only=("model",),
    )
    task: TaskName | None = setting(
        None,
        read.one_of(*TASKS),
        "",
        "Kind of work, with one of the package's own texts, which the seed chooses; with prompt_tokens, made "
        "text stands in its place",
        role="work",
        only=("model",),
    )
    conversation: Conversation | None = setting(
        None,
        _conversation,
        "",
        "A conversation that is held: one that comes with the package (see llmbench conversations), FILE or "
        "FILE#NAME, or a table",
        role="work",
        only=("chat",),
    )

    @property
    def has_length(self) -> bool:
        """Whether it says how long it is, at least."""
        return self.prompt_tokens is not None or self.conversation is not None


ASKED: Mapping[str, Setting] = rows_of(Asked)
"""The rows, by key."""
_TOGETHER = {"task", "prompt_tokens"}


def clashing(key: str, keys: Iterable[str]) -> list[str]:
    """Which of *keys* say what is asked, as *key* does, and cannot stand beside it."""
    return [
        one
        for one in ASKED
        if key in ASKED and one != key and one in set(keys) and not {one, key} <= _TOGETHER
    ]


ROWS: Mapping[str, Setting] = {**ASKED, **SETTINGS}
"""What a case can say of itself, beside :data:`CASE_KEYS`."""
CASE_KEYS: Mapping[str, str] = {
    "name": "What test ids call the case: letters, digits, '_', '-', '.' and '+'.",
    "tags": "Markers of the case, for pytest -m.",
    "sweep": "Points of this case, instead of the suite's sweep; null for none.",
}
SUITE_KEYS: Mapping[str, str] = {
    "version": "Of this format.",
    "extends": "Another suite, from this file's folder. Its models, variables, presets and defaults hold "
    "where this file has none of the same name, and its cases and its sweep where this file has none.",
    "models": "Names for models: a model each, or a table as in a file of aliases.",
    "presets": "Presets by name, over those that there are: see llmbench presets.",
    "variables": "What ${NAME} stands for; then the environment does, then the default of ${NAME:default}.",
    "defaults": "Settings of every case that does not say otherwise.",
    "sweep": "Points of every case that has no sweep of its own.",
    "cases": "What is measured.",
    "matrix": "Hardware and axes for llmbench matrix; pytest itself passes over it.",
}


def asked_conversation(node: Node) -> object:
    """The conversation that a part of a suite means; what can be none as it is.

    Paths are meant from the suite's folder. One that is written in the suite needs no name.

    :raises UsageError: in one line, with the place of what is not valid.
    """
    if isinstance(node, Table):
        return read_conversation(node, "")
    said = plain(node)
    if not isinstance(said, str) or not said:
        return said
    with saying_where(str(node.place)):
        return find_conversation(said, node.place.file.parent)


def refuse_key(key: str, place: Place, who: str, known: list[str]) -> NoReturn:
    """Refuse a key that there is not.

    :raises UsageError: with the nearest of those *known*, or all of them.
    """
    near = suggest(key, known, other_names())
    place.refuse(f"{who} no key {key!r}{near or '; there are ' + few(known, 60)}")

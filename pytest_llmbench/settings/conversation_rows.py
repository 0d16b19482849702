"""What can a file say of a conversation, and how is each part of it read?

One table for each thing that a conversation has: itself, a turn, what a turn changes of the documents, and a
text that is to be made. A row reads its part, and has the JSON Schema of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_llmbench.errors import UsageError, few, suggest
from pytest_llmbench.settings import values as read
from pytest_llmbench.settings.tags import read_tags, tag_schema, tags_schema
from pytest_llmbench.settings.yaml_nodes import Items, Node, Scalar, Table, plain
from pytest_llmbench.workloads.lengths import LONGEST
from pytest_llmbench.workloads.scenarios.conversation import (
    HISTORIES,
    MOST_TURNS,
    PLACEMENTS,
    Conversation,
    Made,
    Text,
    Turn,
)
from pytest_llmbench.workloads.tasks import TASKS

if TYPE_CHECKING:
    from pytest_llmbench.settings.rows import Reader, Schema

NAME = r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}"
"""What a conversation can be called, as a pattern."""
LONGEST_TEXT = 4_000_000
"""Characters: about a million tokens."""
_MOST_DOCUMENTS = 1000
_DOCUMENT = r"\S[^\n\r]{0,99}"
"""What a document can be called, as a pattern: it stands before the document in the prompt."""


class Part(NamedTuple):
    """One key, and what it has."""

    read: Callable[[Node, str], Any]
    """Called with the part and with the key; raises UsageError with the place of what is not valid."""
    schema: Schema
    help: str


def _by(reader: Reader[Any], help: str) -> Part:  # noqa: A002  # argparse's word
    """A part that a reader of settings reads."""

    def value(node: Node, key: str) -> Any:
        try:
            return reader(plain(node))
        except (ValueError, TypeError, OverflowError):
            node.place.refuse(f"{key}: {_shown(node)} is not {reader.takes}")
        except UsageError as error:
            node.place.refuse(f"{key}: {error}")

    return Part(value, reader.schema(), help)


def _shown(node: Node) -> str:
    kinds = {Items: "a list", Table: "a table"}
    return kinds.get(type(node)) or repr(plain(node))


def _said(
    node: Node, parts: Mapping[str, Part], who: str, example: str, needs: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a table says of the *parts* that it may have."""
    if not isinstance(node, Table):
        node.place.refuse(f"{who} is a table, such as {example}, and not {_shown(node)}")
    for key, entry in node:
        if key not in parts:
            near = suggest(key, list(parts)) or f"; there are {few(list(parts), 20)}"
            entry.place.refuse(f"{who} has no key {key!r}{near}")
    for key in needs:
        if key not in node.entries:
            node.place.refuse(f"{who} needs {key}: {example}")
    return {key: parts[key].read(entry.node, key) for key, entry in node}


def _table(parts: Mapping[str, Part], needs: tuple[str, ...] = ()) -> Schema:
    properties = {key: {**part.schema, "description": part.help} for key, part in parts.items()}
    required = {"required": list(needs)} if needs else {}
    return {"type": "object", "properties": properties, "additionalProperties": False, **required}


# --- Texts ------------------------------------------------------------------------------------------


def read_text(node: Node, key: str) -> str:
    """A text that is not empty.

    :raises UsageError: with its place, if it is not one.
    """
    text = plain(node) if isinstance(node, Scalar) else None
    if not isinstance(text, str):
        why = ": put it in quotes" if isinstance(node, Scalar) and node.text else ""
        node.place.refuse(f"{key}: {_shown(node)} is not a text{why}")
    if not text.strip():
        node.place.refuse(f"{key} is empty: write what is said, or leave it out")
    if len(text) > LONGEST_TEXT:
        node.place.refuse(f"{key} has {len(text):,} characters, and a text has at most {LONGEST_TEXT:,}")
    return text


_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}
_MADE: Mapping[str, Part] = {
    "tokens": _by(read.whole(1, LONGEST), "How many tokens the made text has."),
    "before": Part(read_text, _TEXT, "What stands before the made text, such as a question about it."),
}


def _text_or_made(node: Node, key: str) -> Text:
    if not isinstance(node, Table):
        return read_text(node, key)
    return Made(**_said(node, _MADE, f"a made text ({key})", "{tokens: 512}", ("tokens",)))


_EITHER: Schema = {"anyOf": [_TEXT, _table(_MADE, ("tokens",))]}

# --- Turns ------------------------------------------------------------------------------------------


def _names(node: Node, key: str) -> tuple[str, ...]:
    nodes = node.nodes if isinstance(node, Items) else [node]
    names = tuple(read_text(one, key) for one in nodes)
    for place, name in enumerate(names):
        if name in names[:place]:
            nodes[place].place.refuse(f"{key} has the document {name!r} twice")
    return names


_NAMES: Schema = {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "uniqueItems": True}]}
_CHANGE: Mapping[str, Part] = {
    "add": Part(_names, _NAMES, "Documents that are there from this turn on, by name."),
    "remove": Part(
        _names,
        _NAMES,
        "Documents that are not there any more from this turn on. What is removed and added in one turn "
        "comes to stand last.",
    ),
}


def _change(node: Node, key: str) -> dict[str, Any]:
    return _said(node, _CHANGE, f"{key} of a turn", "{add: [report], remove: [letter]}")


TURN: Mapping[str, Part] = {
    "user": Part(_text_or_made, _EITHER, "What the person says: a text, or one that is made."),
    "max_new_tokens": _by(read.whole(1), "Tokens of the answer; by default as the case has it."),
    "think_time": _by(
        read.real(0), "Seconds from the end of the answer before until this is sent; not in the first turn."
    ),
    "documents": Part(_change, _table(_CHANGE), "What comes and what goes."),
    "answer": Part(_text_or_made, _EITHER, "What a recorded history has as the answer."),
}


def _turn(node: Node) -> Turn:
    said = _said(node, TURN, "a turn", "{user: Hello}", ("user",))
    return Turn(**said.pop("documents", {}), **said)


def _turns(node: Node, key: str) -> tuple[Turn, ...]:
    if not isinstance(node, Items) or not node.nodes:
        node.place.refuse(f"{key} is a list of turns, such as - {{user: Hello}}")
    if len(node.nodes) > MOST_TURNS:
        node.place.refuse(
            f"a conversation has at most {MOST_TURNS:,} turns, and this one {len(node.nodes):,}"
        )
    return tuple(map(_turn, node.nodes))


# --- The conversation -------------------------------------------------------------------------------


def _name(node: Node, key: str) -> str:
    name = node.text if isinstance(node, Scalar) else ""
    if not re.fullmatch(NAME, name):
        node.place.refuse(
            f"{key}: {_shown(node)} is not a valid name: use at most 100 letters, digits, '_', '-', '.' and "
            "'+', a letter or a digit first"
        )
    return name


def _documents(node: Node, key: str) -> dict[str, Text]:
    if not isinstance(node, Table):
        node.place.refuse(f"{key} is a table of texts by name, such as {{report: {{tokens: 512}}}}")
    if len(node.entries) > _MOST_DOCUMENTS:
        node.place.refuse(f"{key}: a conversation has at most {_MOST_DOCUMENTS:,} documents")
    for name, entry in node:
        if not re.fullmatch(_DOCUMENT, name):
            entry.place.refuse(f"{name!r} is not a valid name of a document: use at most 100 characters")
    return {name: _text_or_made(entry.node, name) for name, entry in node}


CONVERSATION: Mapping[str, Part] = {
    "name": Part(
        _name,
        {"anyOf": [{"type": "string", "pattern": f"^{NAME}$"}, {"type": "integer", "minimum": 0}]},
        "What results and messages call it.",
    ),
    "description": Part(read_text, _TEXT, "What it is for."),
    "tags": Part(lambda node, _: read_tags(node), tags_schema(tag_schema()), "By which it is chosen."),
    "task": _by(read.one_of(*TASKS), "What kind of work it is."),
    "system": Part(_text_or_made, _EITHER, "The system prompt."),
    "history": _by(
        read.one_of(*HISTORIES),
        "Answers that later turns have before them: live, the model's own, or recorded, those given here.",
    ),
    "placement": _by(
        read.one_of(*PLACEMENTS),
        "Where documents stand: system, inline (in the turn that added them) or last (before the last "
        "question).",
    ),
    "documents": Part(
        _documents,
        {
            "type": "object",
            "propertyNames": {"pattern": f"^{_DOCUMENT}$"},
            "additionalProperties": _EITHER,
            "maxProperties": _MOST_DOCUMENTS,
        },
        "By name: what turns add and remove.",
    ),
    "turns": Part(
        _turns,
        {"type": "array", "items": _table(TURN, ("user",)), "minItems": 1, "maxItems": MOST_TURNS},
        "What is said, turn by turn.",
    ),
}


def read_conversation(node: Node, name: str | None = None) -> Conversation:
    """The conversation that a table is.

    :param name: if it has none of its own; None if it needs one.
    :raises UsageError: in one line, with the place of what is not valid.
    """
    needs = ("turns",) if name is not None else ("name", "turns")
    example = "{name: short, turns: [{user: Hello}]}"
    said = _said(node, CONVERSATION, "a conversation", example, needs)
    return checked(Conversation(**{"name": name, **said}), node)


def checked(conversation: Conversation, node: Node) -> Conversation:
    """The same, if its turns and documents belong together.

    :raises UsageError: with the place of the turn that is at fault.
    """
    if (fault := conversation.fault()) is not None:
        turn, why = fault
        turns = node.entries["turns"].node if isinstance(node, Table) and "turns" in node.entries else node
        at = turns.nodes[turn - 1] if turn and isinstance(turns, Items) else node
        at.place.refuse(why)
    return conversation


def as_written(conversation: Conversation) -> dict[str, Any]:
    """A conversation as a file has it; what is as it is by default is left out."""
    said: dict[str, Any] = {key: _plain(getattr(conversation, key)) for key in CONVERSATION if key != "turns"}
    said["turns"] = [
        {key: _plain(getattr(turn, key)) for key in TURN if key != "documents"}
        | {"documents": _left({key: list(getattr(turn, key)) for key in _CHANGE})}
        for turn in conversation.turns
    ]
    return _left({**said, "turns": [_left(turn) for turn in said["turns"]]})


def _plain(value: object) -> object:
    if isinstance(value, Made):
        return _left({key: getattr(value, key) for key in _MADE})
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _left(said: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if value or value is False}


def conversation_schema(*, named: bool = True) -> Schema:
    """The JSON Schema of one conversation; *named*: whether it needs a name."""
    return _table(CONVERSATION, ("name", "turns") if named else ("turns",))

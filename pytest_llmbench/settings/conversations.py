"""Which conversation does a name or a file mean?

A file of YAML, JSON or JSON Lines has one conversation, or several: as a list, under ``conversations``, or
one a line. Each is written as :mod:`pytest_llmbench.settings.conversation_rows` has it, or was recorded
elsewhere: :mod:`pytest_llmbench.settings.conversation_forms`. Some come with the package, as files of YAML::

    name: greeting
    turns:
      - user: Good morning.
      - user: {tokens: 200, before: "What do you think of this?"}
        max_new_tokens: 32
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmbench.errors import UsageError, few, suggest
from pytest_llmbench.models.paths import from_folder, is_path, there_is
from pytest_llmbench.settings.conversation_forms import form_of, recorded_conversation
from pytest_llmbench.settings.conversation_rows import NAME, conversation_schema, read_conversation
from pytest_llmbench.settings.json_nodes import read_json, read_json_lines
from pytest_llmbench.settings.schema import DIALECT
from pytest_llmbench.settings.yaml_nodes import Items, Node, Place, Scalar, Table, read_yaml, shown_path
from pytest_llmbench.workloads import scenarios
from pytest_llmbench.workloads.scenarios.conversation import Conversation

if TYPE_CHECKING:
    from pytest_llmbench.settings.rows import Schema

SHIPPED = Path(scenarios.__file__).with_name("conversations")
"""The folder of those that come with the package: a file each, of its name."""
MOST_CONVERSATIONS = 10_000
"""Of a file."""
_FORMS: Mapping[str, Callable[[Path], Node | None]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".json": read_json,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}
"""How a file is read, by the end of its name."""


class _Written(NamedTuple):
    """One conversation of a file, which is not read yet."""

    name: str
    node: Node

    def read(self) -> Conversation:
        form = form_of(self.node)
        if form is not None:
            assert isinstance(self.node, Table)
            return recorded_conversation(self.node, form, self.name)
        return read_conversation(self.node, self.name)


def shipped_conversations() -> Mapping[str, Conversation]:
    """Those that come with the package, by name; the shortest first."""
    return _shipped()


@cache
def _shipped() -> dict[str, Conversation]:
    found = [one for path in sorted(SHIPPED.glob("*.yaml")) for one in read_conversations(path)]
    return {one.name: one for one in sorted(found, key=lambda one: (one.about_tokens(), one.name))}


def read_conversations(path: Path) -> tuple[Conversation, ...]:
    """Every conversation of a file.

    :raises UsageError: in one line, with the place of what is not valid.
    """
    return tuple(one.read() for one in _written(path).values())


def find_conversation(named: Conversation | str | Path, folder: Path | None = None) -> Conversation:
    """The conversation that is meant by a name, a file, or ``FILE#NAME``; or the one that is given.

    :param folder: from where a path is meant; by default the working directory.
    :raises UsageError: in one line, if there is no such one, or it is not valid.
    """
    if isinstance(named, Conversation):
        if (fault := named.fault()) is not None:
            msg = f"the conversation {named.name}: {fault[1]}"
            raise UsageError(msg)
        return named
    if isinstance(named, Path):
        return _of_file(from_folder(named, folder), "")
    if named in _names():
        return _shipped()[named]
    file, _, name = named.partition("#")
    whole = from_folder(named, folder)
    if there_is(whole) and whole.is_file():
        return _of_file(whole, "")
    if "/" in named or "#" in named or is_path(named) or Path(file).suffix.lower() in _FORMS:
        return _of_file(from_folder(file, folder), name)
    known = sorted(_names())
    msg = (
        f"there is no conversation {named!r}{suggest(named, known) or '.'} There are {', '.join(known)}; "
        "one of your own is named FILE.yaml or FILE.yaml#NAME"
    )
    raise UsageError(msg)


def conversations_schema() -> Schema:
    """The JSON Schema of a file of conversations that are written, and not recorded."""
    one: Schema = {"$ref": "#/$defs/conversation"}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_CONVERSATIONS}
    listed = {
        "type": "object",
        "properties": {"conversations": several},
        "required": ["conversations"],
        "additionalProperties": False,
    }
    return {
        "$schema": DIALECT,
        "anyOf": [one, several, listed],
        "$defs": {"conversation": conversation_schema()},
    }


@cache
def _names() -> frozenset[str]:
    return frozenset(path.stem for path in SHIPPED.glob("*.yaml"))


def _of_file(path: Path, name: str) -> Conversation:
    written = _written(path)
    if not name and len(written) == 1:
        name = next(iter(written))
    if not name:
        msg = f"{shown_path(path)} has {len(written)} conversations: name one, {path.name}#NAME, of "
        raise UsageError(msg + few(list(written)))
    if name not in written:
        near = suggest(name, list(written)) or f"; there are {few(list(written))}"
        msg = f"{shown_path(path)} has no conversation {name!r}{near}"
        raise UsageError(msg)
    return written[name].read()


def _written(path: Path) -> dict[str, _Written]:
    """The conversations of a file by name."""
    read = _FORMS.get(path.suffix.lower())
    if read is None:
        ends = ", ".join(f"NAME{end}" for end in _FORMS)
        msg = f"{shown_path(path)}: a file of conversations is called {ends}"
        raise UsageError(msg)
    nodes = list(_listed(read(path), path))
    if len(nodes) > MOST_CONVERSATIONS:
        nodes[MOST_CONVERSATIONS].place.refuse(f"a file has at most {MOST_CONVERSATIONS:,} conversations")
    found: dict[str, _Written] = {}
    for number, node in enumerate(nodes, 1):
        name, place = _named(node, path, number, len(nodes))
        if name in found:
            first = found[name].node.place.line
            place.refuse(f"the name {name!r} was given to the conversation in line {first} already")
        found[name] = _Written(name, node)
    return found


def _listed(root: Node | None, path: Path) -> Iterator[Node]:
    """The parts of a file that are a conversation each."""
    if isinstance(root, Table) and "conversations" in root.entries and form_of(root) is None:
        for key, entry in root:
            if key != "conversations":
                entry.place.refuse(f"beside conversations there is nothing else, and here is {key!r}")
        root = root.entries["conversations"].node
        if not isinstance(root, Items):
            root.place.refuse("conversations is a list: - {name: short, turns: [{user: Hello}]}")
    nodes = root.nodes if isinstance(root, Items) else [] if root is None else [root]
    if not nodes:
        Place(path, 1, 1).refuse("the file has no conversation: write 'name: short' and 'turns:'")
    yield from nodes


def _named(node: Node, path: Path, number: int, count: int) -> tuple[str, Place]:
    """What a conversation is called, and where that stands.

    One that was recorded has its ``id``, or else the file's name and its number there.
    """
    if not isinstance(node, Table):
        node.place.refuse("a conversation is a table: {name: short, turns: [{user: Hello}]}")
    recorded = form_of(node) is not None
    key = "id" if recorded and "name" not in node.entries else "name"
    if key in node.entries:
        place, said = node.entries[key]
        if isinstance(said, Scalar) and re.fullmatch(NAME, said.text):
            return said.text, place
    if not recorded and "name" in node.entries:
        read_conversation(node)  # which says what is wrong with the name
    if not recorded and count > 1:
        node.place.refuse("each conversation of a file needs a name: write 'name: short'")
    stem = re.sub(r"[^A-Za-z0-9_.+-]+", "-", path.stem).strip("-._+")[:80] or "conversation"
    return (stem if count == 1 else f"{stem}-{number}"), node.place

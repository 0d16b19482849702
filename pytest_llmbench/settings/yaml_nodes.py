"""What does a YAML file say, and where does each part of it stand?

A file is somebody's text: it has a size, a depth and a number of parts that it may have, and it makes nothing
but texts, numbers, truth values, lists and tables. Anchors, aliases and tags are refused, so that a small
file cannot mean a large one. Plain scalars are read as YAML 1.2's core schema has them: ``no`` is a text,
and ``0123`` is the number 123. https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from pytest_llmbench.errors import UsageError, one_line

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 4 * 2**20
"""Of a file: 10,000 cases that are written one by one are a quarter of it."""
MOST_PARTS = 400_000
"""Scalars, lists and tables of a file."""
DEEPEST = 20
"""Lists and tables in each other."""
_LONGEST_MESSAGE = 600

_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_WHOLE = re.compile(r"[-+]?[0-9]{1,30}")
_REAL = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,3})?")


class Place(NamedTuple):
    """Where something stands; lines and columns are counted from 1."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{shown_path(self.file)}:{self.line}:{self.column}"

    def refuse(self, what: str) -> NoReturn:
        """Refuse what stands here.

        :raises UsageError: in one line.
        """
        raise UsageError(one_line(f"{self}: {what}", _LONGEST_MESSAGE))


class Scalar(NamedTuple):
    """A text, a number, a truth value or null."""

    text: str
    plain: bool
    """Whether it has no quotes, so that it may be something else than a text."""
    place: Place

    @property
    def value(self) -> object:
        """What it says, typed."""
        text = self.text
        if not self.plain:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        return float(text) if _REAL.fullmatch(text) else text


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: list[Node]
    place: Place


class Entry(NamedTuple):
    """One key of a table: where it stands, and what it has."""

    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping of texts, in the order of the file."""

    entries: dict[str, Entry]
    place: Place

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        return iter(self.entries.items())


Node = Scalar | Items | Table


def plain(node: Node) -> Any:
    """What a part says, as Python's values: None, bool, int, float, str, list and dict."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(one) for one in node.nodes]
    return {key: plain(entry.node) for key, entry in node}


def shown_path(path: Path) -> str:
    """A path as messages show it: from the working directory where it is below it."""
    return _shown_from(path, os.getcwd())  # noqa: PTH109  # a text, which is quick to look up


@cache
def _shown_from(path: Path, here: str) -> str:
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def read_yaml(path: Path) -> Node | None:
    """What a file says; None if it is empty.

    :raises UsageError: with line and column, if it cannot be read or is not valid.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = text_of(path, MOST_BYTES)
    try:
        return _build(path, yaml.parse(text, Loader=loader))
    except yaml.YAMLError as error:
        _explain(path, text, error)


def text_of(path: Path, most: int) -> str:
    """The text of a file.

    :param most: bytes that it may have.
    :raises UsageError: if it is not a file that can be read, is too large, or is not UTF-8.
    """
    name = shown_path(path)
    try:
        if path.exists() and not path.is_file():
            msg = f"{name}: this is not a file"
            raise UsageError(msg)
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        msg = f"{name}: the file cannot be read: {error.strerror or error}"
        raise UsageError(msg) from None
    if len(content) > most:
        msg = (
            f"{name}: the file is larger than {most // 2**20} MiB: split it; in a suite, a sweep makes cases"
        )
        raise UsageError(msg)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        Place(path, line, column).refuse("the file is not UTF-8: save it in that encoding")


def _explain(path: Path, text: str, error: yaml.YAMLError) -> NoReturn:
    """Say in one line what is not valid YAML.

    :raises UsageError: always.
    """
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        position = int(getattr(error, "position", 0) or 0)
        line = text.count("\n", 0, position) + 1
        Place(path, line, 1).refuse(f"this is not valid YAML: {getattr(error, 'reason', None) or error}")
    place = Place(path, mark.line + 1, mark.column + 1)
    lines = text.splitlines()
    here = lines[mark.line] if mark.line < len(lines) else ""
    if "\t" in here[: mark.column + 1] and not here[: mark.column + 1].strip():
        place.refuse("a tab cannot indent in YAML: use spaces")
    place.refuse(f"this is not valid YAML: {getattr(error, 'problem', None) or error}")


class Tree:
    """Puts the parts of a file together; without recursion, and no more of them than a file may have."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self._parts = 0
        self._open: list[Items | Table] = []
        self._keys: list[Scalar | None] = []
        """Of each open part, the key whose value comes next."""

    @property
    def innermost(self) -> Items | Table | None:
        """The list or table whose parts come now."""
        return self._open[-1] if self._open else None

    def add(self, node: Node) -> None:
        """The next part: in a table a key and its value by turns. A list or a table stays open.

        :raises UsageError: for what a file may not have.
        """
        self._parts += 1
        if self._parts > MOST_PARTS:
            node.place.refuse(
                f"the file has more than {MOST_PARTS:,} parts: split it; in a suite, a sweep makes cases"
            )
        if not isinstance(node, Scalar) and len(self._open) >= DEEPEST:
            node.place.refuse(f"lists and tables are more than {DEEPEST} deep here")
        self._put(node)
        if not isinstance(node, Scalar):
            self._open.append(node)
            self._keys.append(None)

    def end(self) -> None:
        """The innermost list or table is over."""
        self._open.pop()
        self._keys.pop()

    def _put(self, node: Node) -> None:
        if not self._open:
            self.root = None if isinstance(node, Scalar) and node.value is None else node
            return
        into = self._open[-1]
        if isinstance(into, Items):
            into.nodes.append(node)
            return
        key = self._keys[-1]
        if key is not None:
            into.entries[key.text] = Entry(key.place, node)
            self._keys[-1] = None
            return
        if not isinstance(node, Scalar):
            node.place.refuse("a key is a text")
        if node.text in into.entries:
            first = into.entries[node.text].place.line
            node.place.refuse(f"the key {node.text!r} was given in line {first} already")
        self._keys[-1] = node


def _build(path: Path, events: Iterator[Any]) -> Node | None:
    """The root of what a parser's *events* say.

    :raises UsageError: for what a file may not have.
    """
    import yaml

    tree, documents = Tree(), 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                _place(path, event).refuse("a second document begins here: a file has one")
        elif isinstance(event, yaml.CollectionEndEvent):
            tree.end()
        elif isinstance(event, yaml.NodeEvent):
            tree.add(_node(event, _place(path, event)))
    return tree.root


def _node(event: Any, place: Place) -> Node:
    import yaml

    if event.anchor is not None:
        sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
        place.refuse(
            f"anchors and aliases of YAML ({sign}{event.anchor}) are not read: write it out, or use "
            "defaults, variables or extends"
        )
    if event.tag is not None:
        place.refuse(f"tags of YAML ({event.tag}) are not read: leave it out")
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(event.value, bool(event.implicit[0]), place)
    return Table({}, place) if isinstance(event, yaml.MappingStartEvent) else Items([], place)


def _place(path: Path, event: Any) -> Place:
    mark = event.start_mark
    return Place(path, mark.line + 1, mark.column + 1)

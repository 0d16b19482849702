"""What does a file of JSON or JSON Lines say, and where does each part of it stand?

It becomes the same parts as a file of YAML (:mod:`pytest_llmbench.settings.yaml_nodes`), with the same bounds
but for its size. https://www.rfc-editor.org/rfc/rfc8259, https://jsonlines.org
"""

from __future__ import annotations

import re
from bisect import bisect_left
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import NoReturn

from pytest_llmbench.settings.yaml_nodes import Items, Node, Place, Scalar, Table, Tree, text_of

MOST_BYTES = 64 * 2**20
"""Of a file: texts that were collected from conversations are longer than what a person writes."""

_BLANKS = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
_DECODER = JSONDecoder()
_SHOWN = 20
"""Characters of what is not valid that a message repeats."""


def read_json(path: Path) -> Node | None:
    """What a file says; None if it is empty, or ``null``.

    :raises UsageError: with line and column, if it cannot be read or is not valid.
    """
    file = _File(path, text_of(path, MOST_BYTES))
    if file.at_end():
        return None
    tree = Tree()
    file.value(tree)
    if not file.at_end():
        file.refuse("something follows the end of the JSON: a file has one value; JSON Lines are in .jsonl")
    return tree.root


def read_json_lines(path: Path) -> Items:
    """The values of a file that has one a line; empty lines are passed over.

    :raises UsageError: with line and column, if it cannot be read or is not valid.
    """
    file = _File(path, text_of(path, MOST_BYTES))
    found = Items([], Place(path, 1, 1))
    tree = Tree()
    tree.add(found)
    while not file.at_end():
        file.value(tree)
    return found


class _File:
    """A text, and how far it was read."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text
        self._at = 0
        self._ends = [found.start() for found in re.finditer("\n", text)]

    def at_end(self) -> bool:
        """Whether nothing follows but blanks, which are passed over."""
        found = _BLANKS.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._at == len(self._text)

    def refuse(self, what: str, at: int | None = None) -> NoReturn:
        """Refuse what stands here, or *at* another position.

        :raises UsageError: always.
        """
        self._place(self._at if at is None else at).refuse(what)

    def value(self, tree: Tree) -> None:
        """Read one value into *tree*, with all that is in it.

        :raises UsageError: if it is not valid.
        """
        outside = tree.innermost
        first = self._part(tree)
        while (inside := tree.innermost) is not outside:
            end = "]" if isinstance(inside, Items) else "}"
            if self._skipped(end):
                tree.end()
                first = False
                continue
            if not first and not self._skipped(","):
                self._invalid(f"',' or {end!r}")
            if end == "}":
                self._key(tree)
            first = self._part(tree)

    def _part(self, tree: Tree) -> bool:
        """A scalar, or the beginning of a list or a table: then True."""
        place = self._here()
        for sign, node in (("[", Items([], place)), ("{", Table({}, place))):
            if self._skipped(sign):
                tree.add(node)
                return True
        if self._text[self._at : self._at + 1] == '"':
            tree.add(Scalar(self._string(), False, place))
            return False
        found = _WORD.match(self._text, self._at)
        if found is None:
            self._invalid("a value")
        self._at = found.end()
        tree.add(Scalar(found[0], True, place))
        return False

    def _key(self, tree: Tree) -> None:
        place = self._here()
        if self._text[self._at : self._at + 1] != '"':
            self._invalid("a key in double quotes")
        tree.add(Scalar(self._string(), False, place))
        if not self._skipped(":"):
            self._invalid("':'")

    def _string(self) -> str:
        start = self._at
        try:
            value, self._at = _DECODER.raw_decode(self._text, start)
        except JSONDecodeError as error:
            self.refuse(f"this is not valid JSON: {error.msg}", error.pos)
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.refuse("this text is not Unicode: it has half of a character", start)
        return text

    def _skipped(self, sign: str) -> bool:
        """Whether *sign* comes next; if so, it is passed over."""
        self.at_end()
        if not self._text.startswith(sign, self._at):
            return False
        self._at += 1
        return True

    def _invalid(self, expected: str) -> NoReturn:
        if self.at_end():
            self.refuse(f"this is not valid JSON: it ends where {expected} is expected")
        shown = self._text[self._at : self._at + _SHOWN].split("\n")[0]
        self.refuse(f"this is not valid JSON: {expected} is expected here, and not {shown!r}")

    def _here(self) -> Place:
        """Where the next part stands."""
        self.at_end()
        return self._place(self._at)

    def _place(self, at: int) -> Place:
        line = bisect_left(self._ends, at)
        start = self._ends[line - 1] + 1 if line else 0
        return Place(self._path, line + 1, at - start + 1)

"""What do ``${NAME}`` and ``${NAME:default}`` in a suite stand for?

A variable of the file, or else one of the environment, or else its default. ``$${`` is written for ``${``.
There is nothing else: no conditions, no arithmetic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pytest_llmbench.errors import suggest
from pytest_llmbench.settings.yaml_nodes import MOST_BYTES, Entry, Items, Node, Place, Scalar, Table

_DEEPEST = 20
"""Variables that name each other."""
_FOUND = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
NAME = "[A-Za-z_][A-Za-z0-9_]*"
"""What a variable can be called, as a pattern."""


class Variables:
    """The variables of a suite, over those of the environment."""

    def __init__(self, written: Table | None, environment: Mapping[str, str]) -> None:
        """*written*: what the file says of them.

        :raises UsageError: for a name or a value that cannot be one.
        """
        self._written: dict[str, Scalar] = {}
        self._environment = environment
        self._known: dict[str, str] = {}
        self._asking: list[str] = []
        self._left = MOST_BYTES
        for name, (place, node) in written or ():
            if not re.fullmatch(NAME, name):
                place.refuse(f"{name!r} is not a valid name of a variable: use letters, digits and _")
            if not isinstance(node, Scalar):
                node.place.refuse(f"the variable {name} is a text or a number, not a list or a table")
            self._written[name] = node

    def fill(self, node: Node) -> Node:
        """The same with every variable replaced; a text without quotes may then be a number.

        :raises UsageError: for a variable that is not set, or that needs itself.
        """
        if isinstance(node, Scalar):
            if "${" not in node.text:
                return node
            return Scalar(self._filled(node.text, node.place), node.plain, node.place)
        if isinstance(node, Items):
            return Items([self.fill(one) for one in node.nodes], node.place)
        return Table({key: Entry(place, self.fill(one)) for key, (place, one) in node}, node.place)

    def _filled(self, text: str, place: Place) -> str:
        def value(found: re.Match[str]) -> str:
            if found[1] is None:
                return "${"
            if not found[2]:
                place.refuse("'${' has no '}' after it; for the two characters themselves write '$${'")
            name, colon, default = found[1].partition(":")
            if not re.fullmatch(NAME, name):
                place.refuse(f"'${{{found[1]}}}' is not a variable: write ${{NAME}} or ${{NAME:default}}")
            return self._value(name, default if colon else None, place)

        filled = _FOUND.sub(value, text)
        self._left -= len(filled)
        if self._left < 0:
            place.refuse(f"variables make more than {MOST_BYTES // 2**20} MiB of text in this file")
        return filled

    def _value(self, name: str, default: str | None, place: Place) -> str:
        if name in self._known:
            return self._known[name]
        if name in self._written:
            if name in self._asking or len(self._asking) >= _DEEPEST:
                way = " -> ".join([*self._asking, name])
                self._written[name].place.refuse(f"the variable {name} needs itself: {way}")
            self._asking.append(name)
            written = self._written[name]
            self._known[name] = self._filled(written.text, written.place)
            self._asking.pop()
            return self._known[name]
        found = self._environment.get(name, default)
        if found is None:
            place.refuse(
                f"the variable {name} is not set{suggest(name, list(self._written))}: set it under variables "
                f"or in the environment, or give a default: ${{{name}:...}}"
            )
        return found

"""Which points does a sweep have?

``grid`` is every combination, ``zip`` the first values together, then the second ones, and ``list`` says each
point itself. A range such as ``1024-131072*2`` or ``8-32+8`` is a list that is written short. What needs a
restart of the engine varies slowest, however the parameters are ordered.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pytest_llmbench.errors import suggest
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.yaml_nodes import Items, Node, Place, Scalar, Table, plain

TYPES = ("grid", "zip", "list")
KEYS = ("type", "parameters", "exclude")
MOST_POINTS = 100_000
"""Of a suite."""
_MOST_EXCLUDED = 1000
_RANGE = re.compile(r"([0-9]{1,12})-([0-9]{1,12})(?:([*+])([0-9]{1,12}))?")
_LONGEST_LABEL = 60
_NOT_OF_A_LABEL = re.compile(r"[^\w.+%/-]+")
_NAMED_BY_CASES = {key for key, row in SETTINGS.items() if row.role == "cases"} - {"base_url"}
"""What the id of a case says of itself. Servers that run are all called ``server``."""
_RESTARTS = {"models", "backends", "quantizations", "base_url", "serve", "backend_options", "isolation"}

Read = Callable[[str, Node], Any]
"""Reads the value of a path; raises UsageError for one that cannot be."""


class Value(NamedTuple):
    """One value of a parameter."""

    path: str
    read: Any
    """As its setting has it."""
    plain: Any
    """As it is written, for the results."""
    word: str
    """What ids say of it."""


@dataclass(frozen=True, slots=True)
class Combination:
    """The values of one point, in the order in which they are written."""

    values: Sequence[Value]

    @property
    def label(self) -> str:
        """``prompt_tokens:512-temperature:0.5``; what the case's own id says is left out."""
        return "-".join(value.word for value in self.values if value.word)

    @property
    def plain(self) -> dict[str, Any]:
        """The values by path, for the results."""
        return {value.path: value.plain for value in self.values}


NO_SWEEP = (Combination(()),)
"""One point, without a value."""


def read_sweep(node: Node, read: Read) -> tuple[Combination, ...]:
    """The points of a sweep.

    :raises UsageError: for what a sweep cannot say, and if it has no point.
    """
    if not isinstance(node, Table):
        node.place.refuse("a sweep is a table with the keys type, parameters and exclude")
    for key, entry in node:
        if key not in KEYS:
            entry.place.refuse(
                f"a sweep has no key {key!r}{suggest(key, KEYS)}; its keys are {', '.join(KEYS)}"
            )
    kind = _kind(node)
    if "parameters" not in node.entries:
        node.place.refuse("the sweep has no parameters: write 'parameters: {prompt_tokens: [32, 128]}'")
    written = node.entries["parameters"].node
    points = _listed(written, read) if kind == "list" else _combined(kind, written, read)
    if "exclude" in node.entries:
        points = _excluded(points, node.entries["exclude"].node, read)
    if not points:
        node.place.refuse("the sweep gives no case: everything is excluded")
    return tuple(points)


def _kind(node: Table) -> str:
    if "type" not in node.entries:
        return "grid"
    entry = node.entries["type"]
    kind = plain(entry.node)
    if kind not in TYPES:
        near = suggest(str(kind), TYPES)
        entry.node.place.refuse(f"type: {kind!r} is not one of {', '.join(TYPES)}{near}")
    return str(kind)


def _combined(kind: str, node: Node, read: Read) -> list[Combination]:
    if not isinstance(node, Table) or not node.entries:
        node.place.refuse(f"the parameters of a sweep of type {kind} are a table: prompt_tokens: [32, 128]")
    parameters = {path: _values(path, entry.node, read) for path, entry in node}
    _shorten(list(parameters.values()))
    if kind == "zip":
        counts = {path: len(values) for path, values in parameters.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{path} has {count}" for path, count in counts.items())
            node.place.refuse(f"a sweep of type zip needs as many values of each parameter: {told}")
        return _apart([Combination(values) for values in zip(*parameters.values(), strict=True)], node.place)
    for path, entry in node:
        _apart([Combination([value]) for value in parameters[path]], entry.node.place)
    count = math.prod(map(len, parameters.values()))
    if count > MOST_POINTS:
        node.place.refuse(f"the sweep has {count:,} points; a suite has at most {MOST_POINTS:,}")
    # Sorting is stable: within each kind, the first that is written varies slowest.
    slowest = sorted(parameters, key=lambda path: path.partition(".")[0] not in _RESTARTS)
    order = [slowest.index(path) for path in parameters]
    return [
        Combination([values[index] for index in order])
        for values in itertools.product(*(parameters[path] for path in slowest))
    ]


def _listed(node: Node, read: Read) -> list[Combination]:
    if not isinstance(node, Items):
        node.place.refuse("the parameters of a sweep of type list are a list of tables: - prompt_tokens: 32")
    if len(node.nodes) > MOST_POINTS:
        node.place.refuse(f"the sweep has {len(node.nodes):,} points; a suite has at most {MOST_POINTS:,}")
    points = []
    for number, one in enumerate(node.nodes, 1):
        if not isinstance(one, Table) or not one.entries:
            one.place.refuse("each point of a sweep of type list is a table: - prompt_tokens: 32")
        points.append([_value(path, entry.node, number, read) for path, entry in one])
    _shorten(points)
    return _apart([Combination(values) for values in points], node.place)


def _values(path: str, node: Node, read: Read) -> list[Value]:
    """The values of one parameter: a list, or a range."""
    nodes = node.nodes if isinstance(node, Items) else [node]
    spread = [one for written in nodes for one in _spread(written)]
    if not isinstance(node, Items) and len(spread) < 2:
        node.place.refuse(f"{path} needs a list of values, or a range such as 32-1024*2")
    if not spread:
        node.place.refuse(f"the sweep gives no case: {path} has no values")
    return [_value(path, one, number, read) for number, one in enumerate(spread, 1)]


def _spread(node: Node) -> Iterator[Node]:
    """The numbers of a range; anything else as it is."""
    found = _RANGE.fullmatch(node.text) if isinstance(node, Scalar) and node.plain else None
    if found is None:
        yield node
        return
    first, last, sign, by = int(found[1]), int(found[2]), found[3] or "+", int(found[4] or 1)
    if last < first or by < 1 or (sign == "*" and (by < 2 or first < 1)):
        node.place.refuse(
            f"the range {found[0]} does not end: write FIRST-LAST, FIRST-LAST+STEP or FIRST-LAST*FACTOR"
        )
    if sign == "+" and (last - first) // by >= MOST_POINTS:
        node.place.refuse(f"the range {found[0]} has more than {MOST_POINTS:,} numbers")
    while first <= last:
        yield Scalar(str(first), True, node.place)
        first = first * by if sign == "*" else first + by


def _value(path: str, node: Node, number: int, read: Read) -> Value:
    """One value; *number* is its place in the list, which names what is too long to be named."""
    key, _, _ = path.partition(".")
    typed = read(path, node)
    written = plain(node)
    if key in _NAMED_BY_CASES:
        return Value(path, typed, written, "")
    text = _NOT_OF_A_LABEL.sub("_", str(written)).strip("_")
    long = not isinstance(node, Scalar) or not text or len(text) > _LONGEST_LABEL
    return Value(path, typed, written, f"{path}:{number if long else text}")


def _shorten(groups: Sequence[list[Value]]) -> None:
    """Let ids name a parameter by the last part of its path, where no other has the same."""
    paths = dict.fromkeys(value.path for group in groups for value in group)
    lasts = [path.rpartition(".")[2] for path in paths]
    short = {path: last for path, last in zip(paths, lasts, strict=True) if lasts.count(last) == 1}
    for group in groups:
        group[:] = [
            value._replace(word=short[value.path] + value.word[len(value.path) :])
            if value.word and value.path in short
            else value
            for value in group
        ]


def _excluded(points: list[Combination], node: Node, read: Read) -> list[Combination]:
    """The points that no entry of ``exclude`` matches."""
    if not isinstance(node, Items):
        node.place.refuse("exclude is a list of tables: - {prompt_tokens: 1024, quantizations: f16}")
    if len(node.nodes) > _MOST_EXCLUDED:
        node.place.refuse(f"exclude has more than {_MOST_EXCLUDED:,} entries: list the points that you want")
    known: dict[str, list[Any]] = {}
    for point in points:
        for value in point.values:
            known.setdefault(value.path, []).append(value.read)
    for one in node.nodes:
        if not isinstance(one, Table) or not one.entries:
            one.place.refuse("each entry of exclude is a table: - {prompt_tokens: 1024, quantizations: f16}")
        out: dict[str, list[Any]] = {}
        for path, entry in one:
            if path not in known:
                near = suggest(path, list(known))
                entry.place.refuse(f"exclude: {path!r} is not swept{near}; there are {', '.join(known)}")
            nodes = entry.node.nodes if isinstance(entry.node, Items) else [entry.node]
            out[path] = [read(path, value) for value in nodes]
            for value, written in zip(out[path], nodes, strict=True):
                if value not in known[path]:
                    written.place.refuse(f"exclude: {path} is never {plain(written)!r} in this sweep")
        points = [point for point in points if not _matches(point, out)]
    return points


def _matches(point: Combination, out: Mapping[str, list[Any]]) -> bool:
    has = {value.path: value.read for value in point.values}
    return all(path in has and has[path] in values for path, values in out.items())


def _apart(points: list[Combination], place: Place) -> list[Combination]:
    """The same *points*; two that say the same are refused."""
    seen = set()
    for point in points:
        said = repr(sorted(point.plain.items(), key=lambda one: one[0]))
        if said in seen:
            told = ", ".join(f"{path}: {value!r}" for path, value in point.plain.items())
            place.refuse(f"the sweep has {told} twice")
        seen.add(said)
    return points

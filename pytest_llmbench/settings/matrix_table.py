"""What does a suite say of its matrix: on which hardware, over which axes, and what is left out?

::

    matrix:
      hardware: {L4: [1, 2], H100: {count: [1, 8], market: spot}}
      models: [tiny, synthetic/llama-82m]
      backends: [llamacpp]
      servers: [vllm]
      quantizations: [f16, q8_0]
      include: [{hardware: H100, models: org/large}]
      exclude: [{backends: llamacpp, hardware: H100}]

Pytest itself passes over it; ``llmbench matrix`` reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pytest_llmbench.errors import UsageError, few, suggest
from pytest_llmbench.models.spec import AS_IS
from pytest_llmbench.results.cell import Hardware, hardware_label
from pytest_llmbench.results.records import Market
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.suite_rows import NAME
from pytest_llmbench.settings.yaml_nodes import Items, Node, Place, Table, plain

AXES: Mapping[str, str] = {
    "hardware": "devices by label, with how many of them: {L4: [1, 2], H100: 8}",
    "models": "as the setting models",
    "backends": "as the setting backends",
    "servers": "engines that are started as servers, as the setting serve",
    "quantizations": f"as the setting quantizations; {AS_IS} is the model's own",
    "cases": "names of the suite's cases",
    "load": "labels of load levels, such as c8 or r2.5",
}
"""What cells differ in, beside the points of a sweep."""
SETTING_OF: Mapping[str, str] = {
    "models": "models",
    "backends": "backends",
    "servers": "serve",
    "quantizations": "quantizations",
}
"""The setting that an axis has the values of."""
_OF_CASES = ("cases", "load")
"""Axes of which the cases have the values."""
MATRIX_KEYS: Mapping[str, str] = {
    "name": "What the matrix is called; by default as its file.",
    **{key: f"Axis: {text}." for key, text in AXES.items() if key not in _OF_CASES},
    "include": "More cells: a table of axes each; an axis that it leaves out has all its values.",
    "exclude": "Cells that are left out: those with all of an entry's values.",
    "fits": "Whether cells are left out whose model cannot fit the hardware's memory.",
    "batch": "Cells of a batch, for clusters that run batches.",
    "order": "cheap: what costs less first, by the hour; written: as the axes are written.",
}
_MARKETS = get_args(Market)
_ORDERS = ("cheap", "written")
_MOST_VALUES, _MOST_ENTRIES, _MOST_DEVICES = 10_000, 1000, 1024

Entry = Mapping[str, tuple[str, ...]]
"""Values by axis."""


@dataclass(frozen=True, slots=True)
class MatrixTable:
    """What the table says."""

    place: Place
    name: str
    hardware: tuple[Hardware, ...]
    axes: Entry
    """Of those in :data:`SETTING_OF`; none where the cases say it."""
    include: tuple[Entry, ...] = ()
    exclude: tuple[Entry, ...] = ()
    fits: bool = True
    batch: int = 100
    order: Literal["cheap", "written"] = "cheap"
    places: Mapping[str, Place] = field(default_factory=dict, repr=False)
    """Where each key stands."""


def names_of(hardware: Hardware) -> tuple[str, str]:
    """What entries call devices: any number of them, and this number."""
    return hardware.name, hardware_label(hardware.name, hardware.count)


def read_matrix_table(node: Node, file_name: str) -> MatrixTable:
    """The table ``matrix`` of a suite.

    :param file_name: of the suite, without its endings: the matrix's name where it says none.
    :raises UsageError: in one line, with the place.
    """
    table = _table(node, "matrix is a table: {hardware: {cpu: 1}, models: [tiny], backends: [llamacpp]}")
    for key, entry in table:
        if key not in MATRIX_KEYS:
            entry.place.refuse(
                f"matrix has no key {key!r}{suggest(key, list(MATRIX_KEYS))}; there are "
                f"{few(list(MATRIX_KEYS), 20)}"
            )
    said = {key: entry.node for key, entry in table}
    name = str(plain(said["name"])) if "name" in said else file_name
    if not re.fullmatch(NAME, name):
        said.get("name", table).place.refuse(f"name: {name!r} is not a valid name of a matrix")
    if "hardware" not in said:
        table.place.refuse("matrix says no hardware: write 'hardware: {cpu: 1}', or labels of your nodes")
    axes = {axis: _values(axis, said[axis]) for axis in SETTING_OF if axis in said}
    return MatrixTable(
        place=table.place,
        name=name,
        hardware=_hardware(said["hardware"]),
        axes=axes,
        include=_entries("include", said.get("include")),
        exclude=_entries("exclude", said.get("exclude")),
        fits=_one("fits", said.get("fits"), (True, False), True),
        batch=_whole("batch", said.get("batch"), 100),
        order=_one("order", said.get("order"), _ORDERS, "cheap"),
        places={key: entry.place for key, entry in table},
    )


def matrix_schema() -> dict[str, Any]:
    """The JSON Schema of the table."""
    texts = {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 1}
    one = {"anyOf": [{"type": ["string", "number"]}, texts]}
    count = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": ["array", "string"]}]}
    entries = {
        "type": "array",
        "items": {
            "type": "object",
            "properties": dict.fromkeys(AXES, one),
            "additionalProperties": False,
            "minProperties": 1,
        },
    }
    devices = {
        "type": "object",
        "properties": {"count": count, "market": {"enum": list(_MARKETS)}},
        "additionalProperties": False,
    }
    parts: dict[str, Any] = {
        "name": {"type": "string", "pattern": f"^{NAME}$"},
        "hardware": {"type": "object", "additionalProperties": {"anyOf": [*count["anyOf"], devices]}},
        **dict.fromkeys(SETTING_OF, one),
        "include": entries,
        "exclude": entries,
        "fits": {"type": "boolean"},
        "batch": {"type": "integer", "minimum": 1},
        "order": {"enum": list(_ORDERS)},
    }
    return {
        "type": "object",
        "properties": {key: {**parts[key], "description": text} for key, text in MATRIX_KEYS.items()},
        "required": ["hardware"],
        "additionalProperties": False,
    }


def _hardware(node: Node) -> tuple[Hardware, ...]:
    table = _table(node, "hardware is a table of labels: {L4: [1, 2], H100: {count: 8, market: spot}}")
    found: list[Hardware] = []
    for label, entry in table:
        if not re.fullmatch(NAME, label):
            entry.place.refuse(
                f"{label!r} is not a valid label of hardware: use letters, digits, '-' and '.'"
            )
        counts, market = entry.node, None
        if isinstance(counts, Table):
            for key, inner in counts:
                if key not in ("count", "market"):
                    inner.place.refuse(f"{label} has no key {key!r}; there are count and market")
            market = _one("market", _node(counts, "market"), _MARKETS, None)
            inner_counts = _node(counts, "count")
            found += [Hardware(label, n, market) for n in (_counts(inner_counts) if inner_counts else [1])]
        else:
            found += [Hardware(label, n) for n in _counts(counts)]
    if not found:
        node.place.refuse("hardware has no label: write {cpu: 1}")
    return tuple(found)


def _node(table: Table, key: str) -> Node | None:
    return table.entries[key].node if key in table.entries else None


def _counts(node: Node) -> list[int]:
    nodes = node.nodes if isinstance(node, Items) else [node]
    found = []
    for one in nodes:
        said = plain(one)
        if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= _MOST_DEVICES:
            one.place.refuse(f"{said!r} is not a number of devices, from 1 to {_MOST_DEVICES}")
        if said in found:
            one.place.refuse(f"the number {said} stands there twice")
        found.append(said)
    if not found:
        node.place.refuse("the list of numbers of devices is empty")
    return found


def _entries(key: str, node: Node | None) -> tuple[Entry, ...]:
    if node is None:
        return ()
    example = "{models: tiny, hardware: L4}"
    if not isinstance(node, Items) or len(node.nodes) > _MOST_ENTRIES:
        node.place.refuse(f"{key} is a list of at most {_MOST_ENTRIES} tables: - {example}")
    found = []
    for one in node.nodes:
        table = _table(one, f"each entry of {key} is a table: - {example}")
        if not table.entries:
            one.place.refuse(f"an entry of {key} is empty: write {example}")
        for axis, entry in table:
            if axis not in AXES:
                entry.place.refuse(
                    f"{key}: {axis!r} is not an axis{suggest(axis, list(AXES))}; there are {', '.join(AXES)}"
                )
        found.append({axis: _values(axis, entry.node) for axis, entry in table})
    return tuple(found)


def _values(axis: str, node: Node) -> tuple[str, ...]:
    """The values of an axis, as texts."""
    nodes = node.nodes if isinstance(node, Items) else [node]
    if not 1 <= len(nodes) <= _MOST_VALUES:
        node.place.refuse(f"{axis} has {len(nodes)} values; it can have 1 to {_MOST_VALUES:,}")
    found: dict[str, None] = {}
    for one in nodes:
        said = plain(one)
        if isinstance(said, bool) or not isinstance(said, str | int | float) or said == "":
            one.place.refuse(f"{axis}: {said!r} is not a name")
        if str(said) in found:
            one.place.refuse(f"{axis}: {said!r} stands there twice")
        found[str(said)] = None
    if axis in SETTING_OF:
        try:
            SETTINGS[SETTING_OF[axis]].read(",".join(found), f"{node.place}: {axis}")
        except UsageError as error:
            raise UsageError(str(error)) from None
    return tuple(found)


def _table(node: Node, what: str) -> Table:
    if not isinstance(node, Table):
        node.place.refuse(what)
    return node


def _one(key: str, node: Node | None, values: Iterable[object], default: object) -> Any:
    if node is None:
        return default
    said = plain(node)
    if said not in (known := tuple(values)) or (isinstance(said, int) and not isinstance(said, bool)):
        told = ", ".join(str(one).lower() if isinstance(one, bool) else str(one) for one in known)
        node.place.refuse(f"{key}: {said!r} is not one of {told}")
    return said


def _whole(key: str, node: Node | None, default: int) -> int:
    if node is None:
        return default
    said = plain(node)
    if isinstance(said, bool) or not isinstance(said, int) or not 1 <= said <= _MOST_VALUES:
        node.place.refuse(f"{key}: {said!r} is not a whole number from 1 to {_MOST_VALUES:,}")
    return said

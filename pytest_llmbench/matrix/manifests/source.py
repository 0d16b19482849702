"""What does a matrix's file ask of a cluster: which hardware, how many batches, and which other files?

Pods have the file and nothing beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.catalog.hardware import read_devices
from pytest_llmbench.errors import UsageError, few
from pytest_llmbench.matrix.plan import matrix_of, plan_of
from pytest_llmbench.models.paths import from_folder, there_is
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.settings.presets import shipped
from pytest_llmbench.settings.suite import Suite, read_suite
from pytest_llmbench.settings.yaml_nodes import Items, Node, Scalar, Table


@dataclass(frozen=True, slots=True)
class Source:
    """What a file says."""

    name: str
    """The matrix's."""
    text: str
    batches: Mapping[Hardware, int]
    """Of the cells of each kind of hardware."""
    beside: tuple[Path, ...]
    """Files and folders that it names, which the pods do not have."""


def read_source(path: Path, batches: int | None = None) -> Source:
    """What a file says.

    :param batches: of each kind of hardware, for who knows; else they are counted, as a run counts them.
    :raises UsageError: in one line, for what is not valid, and for a file that extends another one.
    """
    suite = read_suite(path, Registry(), shipped())
    table = matrix_of(suite)
    others = {str(entry.place.file) for entry in suite.written.values()} - {str(suite.path)}
    if others:
        msg = f"{path} extends {few(sorted(others))}, and pods have one file: write all into it"
        raise UsageError(msg)
    if batches is None:
        plan = plan_of(path, read_devices(), look_up=False)
        cells = Counter(cell.hardware for cell in plan.cells)
        counted = {hardware: -(-count // plan.batch) for hardware, count in cells.items()}
    else:
        kinds = (Hardware(one.name, one.count, one.market) for one in table.hardware)
        counted = dict.fromkeys(kinds, batches)
    return Source(table.name, path.read_text(encoding="utf-8"), counted, tuple(_beside(suite)))


def _beside(suite: Suite) -> Iterator[Path]:
    """What is there, by a path from the suite's folder or from the root."""
    texts = dict.fromkeys(text for entry in suite.written.values() for text in _texts(entry.node))
    for text in texts:
        found = from_folder(text.partition("#")[0], suite.path.parent)
        if ("/" in text or "." in text) and there_is(found):
            yield found


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield node.text
    elif isinstance(node, Items):
        for one in node.nodes:
            yield from _texts(one)
    elif isinstance(node, Table):
        for _, entry in node:
            yield from _texts(entry.node)

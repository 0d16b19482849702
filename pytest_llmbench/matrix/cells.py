"""What is a cell of a matrix, and when are two the same?

A cell is one case of a suite at one point, for one model, engine, quantization, load level and kind of
hardware. Its id is a hash of what it asks. What measured it - product, driver, versions - is the node's part,
and both together are the key of a result: no index of a device, no path, no name of a host, no time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.cell import Hardware

_DIGITS = 16
"""Of a hash in hexadecimal that are kept."""
PROTOCOL = 1
"""Of how a cell is measured: another number, another cell."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of a matrix."""

    id: str
    """16 hexadecimal digits; see :func:`cell_id`."""
    name: str
    """Of the case."""
    hardware: Hardware
    engine: str
    """A backend, or the engine of a server."""
    served: bool
    """Whether *engine* is one that is started as a server."""
    model: str
    """As the matrix names it."""
    quantization: str | None
    load: str | None
    """The load level's label: ``c8``, ``r2.5``; None where one thing is asked at a time."""
    point: Mapping[str, object] = field(default_factory=dict)
    """Values of the case's sweep, by path, as they are written."""
    suite: Mapping[str, object] = field(default_factory=dict, repr=False)
    """A suite with this one case, for JSON: what pytest is given on whichever node."""

    @property
    def label(self) -> str:
        """What a person calls it: ``short llamacpp-tiny-q8_0 @ L4``."""
        parts = [self.engine, self.model, self.quantization, self.load]
        parts += [f"{path.rpartition('.')[2]}:{value}" for path, value in self.point.items()]
        return f"{self.name} {'-'.join(part for part in parts if part)} @ {self.hardware.label}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A combination that is not a cell, and why."""

    label: str
    reason: str
    """In one line."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a matrix file comes to."""

    name: str
    """The matrix's; the store keeps what is done under it."""
    path: Path
    """Of the file."""
    digest: str
    """Of the ids of all cells, in order."""
    cells: Sequence[Cell]
    """In the order in which they are measured."""
    dropped: Sequence[Dropped] = ()
    batch: int = 100
    """Cells of one batch."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Of cells whose model is not available, by id: why, in one line. They fail without being tried."""
    excluded: int = 0
    """Combinations that the file leaves out."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By axis, how many cells each value has."""


def digest_of(value: object) -> str:
    """A hash of canonical JSON, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGITS]


def cell_id(case: Json, model: Json, hardware: Hardware) -> str:
    """The id of a cell: of the case with all its settings, the model as it was looked up, and the devices."""
    market_free = [hardware.name, hardware.count]
    return digest_of({"protocol": PROTOCOL, "case": case, "model": model, "hardware": market_free})


def key_of(cell: str, facts: str) -> str:
    """The key of a result: of the cell's id, and the digest of what the node measures with."""
    return digest_of([cell, facts])

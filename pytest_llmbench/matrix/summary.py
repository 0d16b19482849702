"""What of a matrix's plan does the store keep, so that how far it is can be seen without its file?

``STORE/matrix/NAME/plan.json``, which a run writes: the cells in their order, without their suites.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pytest_llmbench.errors import ResultsError, UsageError, few, one_line, suggest
from pytest_llmbench.matrix.cells import Cell, Plan
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.files import atomic_write, read_bounded
from pytest_llmbench.results.records import LABEL, Market
from pytest_llmbench.results.store import Store

FOLDER = "matrix"
"""Of the store: what is kept of matrices."""
PLAN = "plan.json"
_NAME = re.compile(LABEL.strip("^$"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellSummary:
    """A cell as a list shows it; see :class:`.cells.Cell`."""

    id: str
    label: str
    name: str
    """Of the case."""
    model: str
    engine: str
    served: bool
    quantization: str | None
    load: str | None
    point: Mapping[str, object] = field(default_factory=dict)
    hardware: str
    """The label of the hardware."""
    count: int
    """Devices."""
    market: Market | None

    @classmethod
    def of(cls, cell: Cell) -> CellSummary:
        """What is kept of a cell."""
        hardware = cell.hardware
        return cls(
            id=cell.id,
            label=cell.label,
            name=cell.name,
            model=cell.model,
            engine=cell.engine,
            served=cell.served,
            quantization=cell.quantization,
            load=cell.load,
            point=dict(cell.point),
            hardware=hardware.name,
            count=hardware.count,
            market=hardware.market,
        )

    @property
    def devices(self) -> Hardware:
        """The devices that it is measured on."""
        return Hardware(self.hardware, self.count, self.market)


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan without the suites of its cells."""

    name: str
    digest: str
    cells: Sequence[CellSummary]


def matrix_folder(store: Store, name: str) -> Path:
    """Where the store keeps what is known of a matrix.

    :raises UsageError: for what is not a matrix's name, and could be the path of another folder.
    """
    if _NAME.fullmatch(name) is None:
        msg = f"{one_line(name, 60)!r} is not a valid name of a matrix; use letters, digits and _ . + -"
        raise UsageError(msg)
    return store.path / FOLDER / name


def matrices(store: Store) -> list[str]:
    """The names of the matrices that were run into a store, sorted.

    :raises ResultsError: if its folder cannot be listed.
    """
    try:
        found = [path.parent.name for path in (store.path / FOLDER).glob(f"*/{PLAN}")]
    except OSError as error:
        msg = f"{store.path / FOLDER} cannot be listed: {error.strerror or error}"
        raise ResultsError(msg) from None
    return sorted(name for name in found if _NAME.fullmatch(name))


def write_plan(store: Store, plan: Plan) -> Path:
    """Keep what a plan is; returns the path.

    :raises ResultsError: if it cannot be written.
    """
    path = matrix_folder(store, plan.name) / PLAN
    # A line a cell, so that a person and a diff can read it.
    cells = ",\n".join(
        json.dumps(asdict(CellSummary.of(cell)), separators=(",", ":"), default=str) for cell in plan.cells
    )
    head = f'{{"name":{json.dumps(plan.name)},"digest":{json.dumps(plan.digest)},"cells":[\n'
    atomic_write(path, f"{head}{cells}\n]}}\n".encode())
    return path


def read_kept_plan(store: Store, name: str) -> KeptPlan:
    """The plan of the matrix's last run.

    :raises UsageError: if no matrix of that name was run into the store.
    :raises ResultsError: if what is kept is damaged.
    """
    path = matrix_folder(store, name) / PLAN
    if not path.is_file():
        known = matrices(store)
        there = f"it has {few(known)}" if known else "it has none"
        msg = f"no matrix {name!r} was run into {store.path}: {there}{suggest(name, known)}"
        raise UsageError(msg)
    try:
        return _adapter().validate_json(read_bounded(path, "the plan"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        msg = f"{path} is damaged: {where}: {first['msg']}; run the matrix again, which writes it anew"
        raise ResultsError(msg) from None


@cache
def _adapter() -> TypeAdapter[KeptPlan]:
    return TypeAdapter(KeptPlan)

"""What does a matrix file come to: which cells, in which order, and which models are not available?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.catalog.hardware import Devices
from pytest_llmbench.errors import ModelError, UsageError, one_line
from pytest_llmbench.matrix.cells import Cell, Plan, digest_of
from pytest_llmbench.matrix.expand import Expansion, Identity
from pytest_llmbench.matrix.prices import Hourly, hourly
from pytest_llmbench.models.forms import find_form
from pytest_llmbench.models.hub import commit_of
from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.room import Room
from pytest_llmbench.models.synthetic.shapes import is_synthetic
from pytest_llmbench.processes.garbage import gc_paused
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.servers.starts import Starts
from pytest_llmbench.settings.matrix_table import MatrixTable, read_matrix_table
from pytest_llmbench.settings.presets import Presets, shipped
from pytest_llmbench.settings.suite import Suite, read_suite

if TYPE_CHECKING:
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.models.spec import Form, ModelSpec

_ENDINGS = re.compile(r"(\.llm)?\.ya?ml$", re.IGNORECASE)
_LONGEST_REASON = 300


def read_plan(
    path: Path,
    *,
    presets: Presets | None = None,
    registry: Registry | None = None,
    starts: Starts | None = None,
    environment: Mapping[str, str] | None = None,
    price: Hourly = lambda hardware: None,
    room_of: Callable[[str, int], Room | None] = lambda label, count: None,
    look_up: bool = True,
) -> Plan:
    """The cells of a matrix file, in the order in which they are measured.

    :param presets: which there are beside the file's own; by default those that come with the package, which
        every node has.
    :param look_up: whether a hub is asked which commit a model is, and whether it is there. Without, a cell's
        id may be another than that of a run.
    :raises UsageError: in one line, with the place, for what is not valid, and if there is no cell.
    """
    registry = Registry() if registry is None else registry
    with gc_paused():
        suite = read_suite(path, registry, presets or shipped(), environment)
        table = matrix_of(suite)
        models = _Models(look_up)
        found = Expansion(suite, table, registry, starts or Starts(), models.identify, room_of).expand()
        cells = _ordered(found.cells, price if table.order == "cheap" else None)
    return Plan(
        name=table.name,
        path=suite.path,
        digest=digest_of([cell.id for cell in cells]),
        cells=cells,
        dropped=tuple(found.dropped),
        batch=table.batch,
        refused=found.refused,
        excluded=found.excluded,
        counts={axis: dict(counts) for axis, counts in found.counts.items()},
    )


def plan_of(path: Path, devices: Devices, *, look_up: bool = True) -> Plan:
    """The same with what is known of hardware: what does not fit is left out, and the cheapest comes first.

    :raises UsageError: as :func:`read_plan`.
    """

    def room_of(label: str, count: int) -> Room | None:
        memory = devices.memory(label, count)
        return None if memory is None else Room(0, memory)

    return read_plan(path, price=hourly(devices), room_of=room_of, look_up=look_up)


def matrix_of(suite: Suite) -> MatrixTable:
    """What a suite says of its matrix.

    :raises UsageError: in one line, with the place, if it has none, or one that is not valid.
    """
    if "matrix" not in suite.written:
        msg = f"{suite.path}: there is no matrix in it: add 'matrix: {{hardware: {{cpu: 1}}, ...}}'"
        raise UsageError(msg)
    return read_matrix_table(suite.written["matrix"].node, _ENDINGS.sub("", suite.path.name))


def name_of(path: Path) -> str:
    """The name of a file's matrix.

    :raises UsageError: in one line, with the place, for what is not valid.
    """
    return matrix_of(read_suite(path, Registry(), shipped())).name


class _Models:
    """Looks each model up once."""

    def __init__(self, look_up: bool) -> None:
        self._look_up = look_up
        self._known: dict[tuple[ModelSpec, Form], Identity] = {}

    def identify(self, spec: ModelSpec, target: Target) -> Identity:
        """Which weights a model is for a target."""
        form = target.form
        assert form is not None
        # Of a synthetic model and one of a hub, the quantization is the cell's own.
        spec = spec.of_form(form)
        key = (spec if spec.is_path else replace(spec, alias=None), form)
        if key not in self._known:
            self._known[key] = self._identified(spec, form)
        return self._known[key]

    def _identified(self, spec: ModelSpec, form: Form) -> Identity:
        if is_synthetic(spec.name):
            return Identity({"synthetic": spec.name})
        about = {"model": Path(spec.name).name if spec.is_path else spec.name, "revision": spec.revision}
        try:
            if spec.is_path:
                return Identity({"digest": resolve(spec, form, quiet=True).digest})
            if self._look_up:
                return Identity({**about, "revision": commit_of(spec, find_form(form)) or spec.revision})
        except ModelError as error:
            return Identity(about, one_line(str(error), _LONGEST_REASON))
        return Identity(about)


def _ordered(cells: list[Cell], price: Hourly | None) -> list[Cell]:
    """Cells of one kind of hardware, engine, model and quantization together; the cheapest hardware first."""
    places: list[dict[object, int]] = [{}, {}, {}, {}]

    def place(cell: Cell) -> list[int]:
        values = (cell.hardware, (cell.served, cell.engine), cell.model, cell.quantization)
        return [known.setdefault(value, len(known)) for known, value in zip(places, values, strict=True)]

    costs: dict[Hardware, float] = {}
    for cell in cells:
        if cell.hardware not in costs:
            found = None if price is None else price(cell.hardware)
            costs[cell.hardware] = float("inf") if found is None else found
    return sorted(cells, key=lambda cell: (costs[cell.hardware], place(cell)))

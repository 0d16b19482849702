"""Which cells of a plan are asked for: by the values of axes, by hardware, by batch?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from pytest_llmbench.errors import UsageError, few, one_line, suggest
from pytest_llmbench.matrix.cells import Cell, Plan
from pytest_llmbench.matrix.executor import Node
from pytest_llmbench.metrics.units import count
from pytest_llmbench.results.cell import Hardware

AXES: Mapping[str, Callable[[Cell], Collection[str | None]]] = {
    # Of any number of devices, as it is called, and of this number alone.
    "hardware": lambda cell: (cell.hardware.name, cell.hardware.label, cell.hardware.exact),
    "model": lambda cell: (cell.model,),
    "engine": lambda cell: (cell.engine,),
    "quantization": lambda cell: (cell.quantization,),
    "case": lambda cell: (cell.name,),
    "load": lambda cell: (cell.load,),
}
"""What ``--only AXIS=VALUE`` can name, and what a cell has there."""


def read_only(given: Sequence[str]) -> dict[str, list[str]]:
    """What ``--only AXIS=VALUE,...`` says, by axis.

    :raises UsageError: for another form, or an axis that there is not.
    """
    found: dict[str, list[str]] = {}
    for text in given:
        axis, equals, values = text.partition("=")
        if not equals or not values:
            msg = f"--only {one_line(text, 60)!r}: write AXIS=VALUE, for example hardware=L4"
            raise UsageError(msg)
        if axis not in AXES:
            known = list(AXES)
            near = suggest(axis, known)
            msg = f"--only: there is no axis {one_line(axis, 60)!r}{near}; there are {few(known)}"
            raise UsageError(msg)
        found.setdefault(axis, []).extend(value.strip() for value in values.split(","))
    return found


def chosen(plan: Plan, only: Mapping[str, Sequence[str]]) -> list[Cell]:
    """The cells that have one of the values of each axis.

    :raises UsageError: for a value that no cell has.
    """
    cells = list(plan.cells)
    for axis, values in only.items():
        had = sorted({one for cell in plan.cells for one in AXES[axis](cell) if one is not None})
        for value in values:
            if value not in had:
                near = suggest(value, had)
                msg = f"--only {axis}={one_line(value, 60)}: no cell has that{near}; there are {few(had)}"
                raise UsageError(msg)
        cells = [cell for cell in cells if not set(values).isdisjoint(AXES[axis](cell))]
    if not cells:
        msg = f"no cell of matrix {plan.name} has all that --only asks for"
        raise UsageError(msg)
    return cells


def batch_of(cells: Sequence[Cell], size: int, number: int) -> list[Cell]:
    """The batch *number*, from 0.

    :raises UsageError: if there is none.
    """
    batches = -(-len(cells) // size)
    if not 0 <= number < batches:
        there = "there is one, 0" if batches == 1 else f"there are {batches}, 0 to {batches - 1}"
        msg = f"--batch {number}: {there}, of {size} of {count(len(cells), 'cell')}"
        raise UsageError(msg)
    return list(cells[number * size : (number + 1) * size])


def kinds_of(cells: Sequence[Cell]) -> list[Hardware]:
    """The hardware of cells, each kind once, in their order."""
    return list(dict.fromkeys(cell.hardware for cell in cells))


def check_hardware(cells: Sequence[Cell], nodes: Sequence[Node]) -> None:
    """Refuse, before anything is started, what would wait without an end.

    :raises UsageError: for hardware that no node has, saying what there is.
    """
    kinds = kinds_of(cells)
    missing = [kind for kind in kinds if not any(has(node, kind) for node in nodes)]
    if not missing:
        return
    there = sorted({f"{label} ({number})" for node in nodes for label, number in node.hardware.items()})
    could = [kind.name for kind in kinds if kind not in missing]
    hint = (
        f"--only hardware={','.join(dict.fromkeys(could))} measures what can be"
        if could
        else "--hardware LABEL says what this machine is"
    )
    waiting = sum(cell.hardware in missing for cell in cells)
    msg = (
        f"no node has {few([kind.label for kind in missing])}, for {count(waiting, 'cell')}; there is "
        f"{few(there) or 'no node'}. {hint}"
    )
    raise UsageError(msg)


def has(node: Node, kind: Hardware) -> bool:
    """Whether a node has the devices."""
    return node.hardware.get(kind.name, 0) >= kind.count

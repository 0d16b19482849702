"""How long will a matrix take, and what will it cost, as far as earlier results tell?

A cell takes what it took before, else the median of the cells most like it: of the same case and model on the
same engine and hardware, then without the model, then without the hardware, then of the same engine. What
nothing tells is counted apart, and is not 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmbench.matrix.cells import Cell
from pytest_llmbench.matrix.prices import Hourly
from pytest_llmbench.matrix.state import CellState
from pytest_llmbench.matrix.summary import CellSummary
from pytest_llmbench.results.cell import Hardware


@dataclass(frozen=True, slots=True)
class Estimate:
    """What cells on one kind of hardware will take."""

    hardware: Hardware
    cells: int
    seconds: float
    """Of the cells of which that is known, one after the other."""
    unknown: int
    """Cells of which nothing tells how long they take."""
    usd: float | None
    """Of the known ones, at the price of the hardware; None where it has none."""


def estimates(cells: Sequence[Cell], before: Iterable[CellState], hourly: Hourly) -> list[Estimate]:
    """What *cells* will take on each kind of hardware, in the order in which it comes first.

    :param before: cells of which some were measured.
    :param hourly: US dollars an hour of the devices.
    """
    known = _Known(before)
    found: dict[Hardware, list[float | None]] = {}
    for cell in cells:
        found.setdefault(cell.hardware, []).append(known.seconds(CellSummary.of(cell)))
    made = []
    for hardware, each in found.items():
        told = [seconds for seconds in each if seconds is not None]
        price, total = hourly(hardware), sum(told)
        usd = None if price is None or not told else price * total / 3600
        made.append(Estimate(hardware, len(each), total, len(each) - len(told), usd))
    return made


class _Known:
    """The seconds of cells that were measured, by what they have in common with others."""

    def __init__(self, before: Iterable[CellState]) -> None:
        groups: dict[Hashable, list[float]] = {}
        for cell in before:
            if cell.state == "done" and cell.seconds > 0:
                each = cell.seconds / max(1, cell.attempts)
                for key in self._keys(cell):
                    groups.setdefault(key, []).append(each)
        self._medians: Mapping[Hashable, float] = {
            key: statistics.median(seconds) for key, seconds in groups.items()
        }

    def seconds(self, cell: CellSummary) -> float | None:
        """What a cell will take."""
        return next((self._medians[key] for key in self._keys(cell) if key in self._medians), None)

    @staticmethod
    def _keys(cell: CellSummary) -> tuple[Hashable, ...]:
        """What it has in common with others, the most first."""
        engine, on = (cell.engine, cell.served), (cell.hardware, cell.count)
        return (
            cell.id,
            (cell.name, engine, cell.model, on),
            (cell.name, engine, on),
            (cell.name, engine),
            engine,
        )

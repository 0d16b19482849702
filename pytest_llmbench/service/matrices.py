"""How far are the matrices of the store, without reading a journal for each question?

What is made of a matrix's plan, journal and documents is kept until one of these changes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from typing import TYPE_CHECKING

from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix.state import CellState, Stamp, State, read_state, stamp_of
from pytest_llmbench.matrix.summary import matrices

if TYPE_CHECKING:
    from pytest_llmbench.results.store import Store

_KEPT = 8
"""States of matrices that were asked for last: one of 9,000 cells takes some megabytes."""


class Matrices:
    """The matrices of one store. Threads may share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._states: OrderedDict[str, tuple[Stamp, State]] = OrderedDict()

    def names(self) -> list[str]:
        """The names of all, sorted.

        :raises ResultsError: if the store cannot be listed.
        """
        return matrices(self._store)

    def newest(self, most: int) -> list[str]:
        """The names of those in which something happened last, the newest first."""
        found = {name: stamp_of(self._store, name).changed for name in self.names()}
        return sorted(found, key=lambda name: (found[name], name), reverse=True)[:most]

    def state(self, name: str) -> State:
        """How far one is.

        :raises UsageError: if no matrix of that name was run into the store.
        :raises ResultsError: if it cannot be read.
        """
        stamp = stamp_of(self._store, name)
        with self._lock:
            kept = self._states.get(name)
            if kept is None or kept[0] != stamp:
                # What changes while it is read has another stamp the next time.
                kept = self._states[name] = (stamp, read_state(self._store, name))
            self._states.move_to_end(name)
            while len(self._states) > _KEPT:
                self._states.popitem(last=False)
            return kept[1]


def cells_after(
    found: State, limit: int, states: Collection[str] = (), after: str | None = None
) -> tuple[list[CellState], str | None]:
    """At most *limit* cells in *states*, or in any, behind the cell with the id *after*; and the next page's.

    :raises UsageError: if there is no such cell.
    """
    start = 0
    if after is not None:
        start = next((place + 1 for place, cell in enumerate(found.cells) if cell.id == after), -1)
        if start < 0:
            msg = f"the matrix {found.name} has no cell {after[:16]!r}; begin again with its first page"
            raise UsageError(msg)
    chosen: list[CellState] = []
    for cell in found.cells[start:]:
        if not states or cell.state in states:
            if len(chosen) == limit:
                return chosen, chosen[-1].id
            chosen.append(cell)
    return chosen, None

"""Where do cells run? The protocol of whatever has nodes: this machine, or a Ray cluster.

An executor places nothing by itself beyond what its engine does: it is handed tasks, each for devices of one
kind that no other task has meanwhile, and says how each ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pytest_llmbench.matrix.cells import Cell
from pytest_llmbench.results.records import Market

End = Literal["measured", "lost", "transient", "engine", "usage"]
"""How a task ended: with a result; its node died or was preempted; by something that another attempt may not
meet; by the engine, every time; by what was asked, every time."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one node has."""

    id: str
    hardware: Mapping[str, int]
    """Devices by label."""
    facts: Mapping[str, str]
    """What it measures with, by name: product, driver, versions of engines, Python and this package."""
    digest: str
    """Of *facts*: :func:`pytest_llmbench.matrix.cells.digest_of`."""
    market: Market | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at a cell."""

    cell: Cell
    matrix: str
    """The matrix's name."""
    session_id: str
    """Of the session that will have measured it."""
    attempt: int = 1
    options: Sequence[str] = ()
    """More words for pytest."""
    timeout: float | None = None
    """Seconds until it is ended, as the engine's fault."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    task: Task
    end: End
    reason: str | None = None
    """In one line; None for a result that nothing was wrong with."""
    seconds: float = 0.0
    node: str | None = None
    key: str | None = None
    """Of the result; see :func:`pytest_llmbench.matrix.cells.key_of`."""
    document: bytes | None = field(default=None, repr=False)
    """The results document; where it does not count, because an engine did something else than it was asked,
    it is there too."""
    log: str | None = field(default=None, repr=False)
    """The end of what was printed, without secrets; None for a result."""


class Executor(Protocol):
    """Runs tasks; used from one thread."""

    def nodes(self) -> Sequence[Node]:
        """Those that are there now.

        :raises LLMBenchError: if they cannot be asked.
        """

    def free(self, hardware: str, count: int) -> bool:
        """Whether a task for so many devices would be started, and not only wait."""

    def submit(self, task: Task) -> None:
        """Start a task, or have it wait for its devices."""

    def wait(self, seconds: float) -> Sequence[Outcome]:
        """Those that have ended by now; waits at most so long for the first."""

    def stop(self, grace: float) -> Sequence[Outcome]:
        """Have all tasks end after their round; what is left after *grace* seconds is killed, and lost."""

    def close(self) -> None:
        """End everything that it has started."""

"""Which measured cases may be ranked against each other, and what is equal in them?

Only what did the same work on the same hardware: one test with the same parameters beside the model, the same
load, depth, turn and number of tokens, on machines with one fingerprint. What differs is the model, its
quantization and the backend; of each of these the newest measurement stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmbench.metrics.row import Better
from pytest_llmbench.models.spec import ModelSpec


class Work(NamedTuple):
    """What a case did, whichever model did it. Equal ones compare, on equal hardware."""

    test: str
    """``file.py::test``."""
    measurement: str
    parameters: str
    """What the test's id says beside the backend and the model."""
    turn: int | None
    way: str | None
    concurrency: int | None
    conversations: int | None
    request_rate: float | None
    depth: int | None
    output_tokens: int | None


class Measured(NamedTuple):
    """One case with the metrics that a board shows."""

    session: str
    position: int
    nodeid: str
    started: str
    machine: str
    work: Work
    model: str
    """As a person calls it."""
    quantization: str | None
    backend: str
    values: Mapping[str, float]
    """Medians by metric, in the metric's unit."""

    @property
    def contender(self) -> tuple[str, str | None, str]:
        """What differs on a board."""
        return (self.model, self.quantization, self.backend)


@dataclass(frozen=True, slots=True)
class Board:
    """Cases that may be ranked."""

    work: Work
    machine: str
    rows: tuple[Measured, ...]

    @property
    def equal(self) -> str:
        """What is the same in all rows, for a person."""
        work = self.work
        said = [f"the test {work.test.rpartition('::')[2]}"]
        said += [f"parameters {work.parameters}"] if work.parameters else []
        said += [f"turn {work.turn} ({work.way})"] if work.turn is not None else []
        named = (
            (work.concurrency, "requests at once"),
            (work.conversations, "conversations at once"),
            (work.request_rate, "requests a second"),
            (work.depth, "tokens before the prompt"),
            (work.output_tokens, "tokens of output"),
        )
        said += [f"{value:g} {what}" for value, what in named if value]
        return ", ".join([*said, f"the machine {self.machine}"])

    def ranked(self, metric: str, better: Better) -> list[tuple[int, Measured]]:
        """The rows that have *metric*, the best first, with their ranks; equal values share one."""
        rows = [row for row in self.rows if metric in row.values]
        rows.sort(key=lambda row: row.values[metric], reverse=better == "higher")
        ranks: list[int] = []
        for place, row in enumerate(rows):
            same = place and rows[place - 1].values[metric] == row.values[metric]
            ranks.append(ranks[-1] if same else place + 1)
        return list(zip(ranks, rows, strict=True))


def boards(measured: Iterable[Measured]) -> list[Board]:
    """*measured* by what compares, of each contender the newest; boards with the most rows first."""
    found: dict[tuple[Work, str], dict[tuple[str, str | None, str], Measured]] = defaultdict(dict)
    for one in measured:
        rows = found[one.work, one.machine]
        before = rows.get(one.contender)
        if before is None or (before.started, before.session) <= (one.started, one.session):
            rows[one.contender] = one
    made = [Board(work, machine, tuple(rows.values())) for (work, machine), rows in found.items()]
    return sorted(made, key=lambda board: (-len(board.rows), board.work.test, str(board.work)))


def parameters(
    nodeid: str, model: str, alias: str | None, quantization: str | None, others: Sequence[str]
) -> str:
    """What the id of a test says in brackets beside the model and *others*: backend, server."""
    left = nodeid.partition("::")[2].partition("[")[2].removesuffix("]")
    bare = ModelSpec(model, alias=alias)
    full = ModelSpec(model, quantization, alias=alias)
    for word in (full.label, bare.label, *others):
        left = f"-{left}-".replace(f"-{word}-", "-", 1).strip("-") if word else left
    return left

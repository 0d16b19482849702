"""Which model, quantization and backend is the best at a test, on one machine?"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.service.pages.asked import Answer, Asked, page
from pytest_llmbench.service.pages.boards import Board, boards
from pytest_llmbench.service.pages.ranking import choose, measured

BESIDE = ("ttft", "tpot", "decode_throughput", "prefill_throughput", "peak_rss")
"""Metrics that a table of cases has, beside the one by which it is ranked."""
MOST_BOARDS = 10


@dataclass(frozen=True, slots=True)
class Row:
    """One contender."""

    rank: int
    where: str
    model: str
    quantization: str | None
    backend: str
    cells: tuple[str, ...]
    started: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A board, as the page shows it."""

    name: str
    equal: str
    rows: list[Row]


def show(asked: Asked) -> Answer:
    """The boards of a test on a machine, by ``test``, ``machine`` and ``metric`` of the query."""
    choice = choose(asked)
    metric = asked.one("metric") or "decode_throughput"
    problem = None if metric in METRICS else f"there is no metric {metric!r}; choose one of the list"
    names = (metric, *(name for name in BESIDE if name != metric))
    made = [] if problem else boards(measured(asked.service, choice, names))
    shown = [_shown(board, metric, names) for board in made]
    return page(
        asked,
        "leaderboard.html",
        status=422 if problem else 200,
        **choice.shown,
        metric=metric,
        metrics=metric_choices(),
        heads=[METRICS[name].head or name for name in names] if not problem else [],
        boards=[one for one in shown if one.rows][:MOST_BOARDS],
        problem=problem or choice.problem,
    )


def metric_choices() -> list[tuple[str, str]]:
    """Every metric, as it stands in a list to choose from."""
    return [
        (name, f"{row.head or name}" if row.head in (None, "", name) else f"{row.head} ({name})")
        for name, row in METRICS.items()
    ]


def _shown(board: Board, metric: str, names: tuple[str, ...]) -> Shown:
    rows = [
        Row(
            rank,
            f"/ui/cases/{one.session}/{one.position}",
            one.model,
            one.quantization,
            one.backend,
            tuple(units.quantity(one.values.get(name), METRICS[name].unit) for name in names),
            one.started,
        )
        for rank, one in board.ranked(metric, METRICS[metric].better)
    ]
    work = board.work
    name = " ".join(part for part in (work.test.rpartition("::")[2], work.parameters) if part)
    return Shown(name, board.equal, rows)

"""Which model, quantization and backend is not beaten in two metrics at once?"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.front import front
from pytest_llmbench.report.charts.model import Axis, Chart, Column, Series
from pytest_llmbench.service.pages.asked import Answer, Asked, page
from pytest_llmbench.service.pages.boards import Board, Measured, boards
from pytest_llmbench.service.pages.leaderboard import metric_choices
from pytest_llmbench.service.pages.ranking import choose, measured

MOST_BOARDS = 6
DEFAULT = ("ttft", "decode_throughput")


@dataclass(frozen=True, slots=True)
class Shown:
    """A board, as the page shows it."""

    equal: str
    chart: Chart


def show(asked: Asked) -> Answer:
    """The boards of a test on a machine, by ``test``, ``machine`` and the metrics ``x`` and ``y``."""
    choice = choose(asked)
    x, y = (asked.one(name) or default for name, default in zip("xy", DEFAULT, strict=True))
    unknown = next((name for name in (x, y) if name not in METRICS), None)
    problem = None
    if unknown is not None:
        problem = f"there is no metric {unknown!r}; choose one of the list"
    elif x == y:
        problem = "choose two different metrics"
    made = [] if problem else boards(measured(asked.service, choice, (x, y)))
    both = [board for board in made if any({x, y} <= row.values.keys() for row in board.rows)]
    return page(
        asked,
        "pareto.html",
        status=422 if problem else 200,
        **choice.shown,
        x=x,
        y=y,
        metrics=metric_choices(),
        boards=[
            Shown(board.equal, chart_of(board, x, y, place)) for place, board in enumerate(both[:MOST_BOARDS])
        ],
        problem=problem or choice.problem,
    )


def chart_of(board: Board, x: str, y: str, place: int = 0) -> Chart:
    """The chart of a board with two metrics of it, and which rows are not beaten."""
    rows = [row for row in board.rows if x in row.values and y in row.values]
    points = [(row.values[x], row.values[y]) for row in rows]
    best = front(points, (METRICS[x].better, METRICS[y].better))
    by_backend: dict[str, list[Measured]] = {}
    for row in rows:
        by_backend.setdefault(row.backend, []).append(row)
    series = [
        Series(
            name=backend,
            points=tuple((row.values[x], row.values[y]) for row in found),
            shape="scatter",
            labels=tuple(map(_name, found)),
        )
        for backend, found in by_backend.items()
    ]
    line = Series(
        name="not beaten",
        points=tuple(points[index] for index in best),
        labels=tuple(_name(rows[index]) for index in best),
        role="pareto",
    )
    heads = (METRICS[x].head or x, METRICS[y].head or y)
    work = board.work
    return Chart(
        id=f"pareto-{place}",
        title=" ".join(part for part in (work.test.rpartition("::")[2], work.parameters) if part),
        question=f"Which is not beaten in {heads[0]} and {heads[1]} at once?",
        x=Axis(label=f"{heads[0]}, {METRICS[x].better} is better", unit=METRICS[x].unit),
        y=Axis(label=f"{heads[1]}, {METRICS[y].better} is better", unit=METRICS[y].unit),
        series=(*series, line),
        columns=(
            Column(head="model"),
            Column(head="backend"),
            Column(head=heads[0], unit=METRICS[x].unit),
            Column(head=heads[1], unit=METRICS[y].unit),
            Column(head="not beaten"),
        ),
        rows=tuple(
            (_name(row), row.backend, *points[index], "yes" if index in best else "")
            for index, row in enumerate(rows)
        ),
    )


def _name(row: Measured) -> str:
    return row.model if row.quantization is None else f"{row.model} {row.quantization}"

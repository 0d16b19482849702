"""Which model, quantization and backend is not beaten in two metrics at once?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pytest_llmbench.metrics.row import Better
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import bounded, kind_of, together
from pytest_llmbench.report.charts.front import front
from pytest_llmbench.report.charts.model import MOST_SERIES, Axis, Chart, Column, Series
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


@dataclass(frozen=True, slots=True)
class Measure:
    """One of the two things that a picture has: what it is called, its unit, and what is better."""

    head: str
    unit: str
    better: Better


class Point(NamedTuple):
    """One contender, with both values."""

    name: str
    group: str
    """Points of one group have one color."""
    x: float
    y: float


def chart_of(board: Board, x: str, y: str, place: int = 0) -> Chart:
    """The chart of a board with two metrics of it, and which rows are not beaten."""
    points = [
        Point(_name(row), row.backend, row.values[x], row.values[y])
        for row in board.rows
        if x in row.values and y in row.values
    ]
    work = board.work
    title = " ".join(part for part in (work.test.rpartition("::")[2], work.parameters) if part)
    return front_chart(points, _measure(x), _measure(y), chart_id=f"pareto-{place}", title=title)


def front_chart(
    points: Sequence[Point], x: Measure, y: Measure, *, chart_id: str, title: str, note: str | None = None
) -> Chart:
    """*points* by two things, and which of them are not beaten in both at once; there is one at least."""
    best = front([(point.x, point.y) for point in points], (x.better, y.better))
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    shown, more = bounded(list(groups.items()), groups, MOST_SERIES - 1)
    series = [
        Series(
            name=group,
            points=tuple((point.x, point.y) for point in found),
            shape="scatter",
            labels=tuple(point.name for point in found),
        )
        for group, found in shown
    ]
    line = Series(
        name="not beaten",
        points=tuple((points[index].x, points[index].y) for index in best),
        labels=tuple(points[index].name for index in best),
        role="pareto",
    )
    return Chart(
        id=chart_id,
        title=title,
        question=f"Which is not beaten in {x.head} and {y.head} at once?",
        x=Axis(
            label=f"{x.head}, {x.better} is better", unit=x.unit, kind=kind_of(point.x for point in points)
        ),
        y=Axis(
            label=f"{y.head}, {y.better} is better", unit=y.unit, kind=kind_of(point.y for point in points)
        ),
        series=(*series, line),
        columns=(
            Column(head="model"),
            Column(head="backend"),
            Column(head=x.head, unit=x.unit),
            Column(head=y.head, unit=y.unit),
            Column(head="not beaten"),
        ),
        rows=tuple(
            (point.name, point.group, point.x, point.y, "yes" if index in best else "")
            for index, point in enumerate(points)
        ),
        note=together(note, more),
    )


def _measure(metric: str) -> Measure:
    row = METRICS[metric]
    return Measure(row.head or metric, row.unit, row.better)


def _name(row: Measured) -> str:
    return row.model if row.quantization is None else f"{row.model} {row.quantization}"

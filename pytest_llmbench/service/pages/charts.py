"""Which charts does a page show?"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.model import Axis, Chart, Column, Line, Series
from pytest_llmbench.report.charts.registry import charts_of
from pytest_llmbench.report.judgment import signed
from pytest_llmbench.results.records import label_of
from pytest_llmbench.service.pages.look import moment
from pytest_llmbench.times import read_iso

if TYPE_CHECKING:
    from pytest_llmbench.gate.trend import Trend
    from pytest_llmbench.results.records import ResultsDocument


def charts_for(document: ResultsDocument) -> list[Chart]:
    """The charts of a document that have a picture; the others are not of what it measured."""
    return [chart for chart in charts_of([document]) if chart.missing is None]


def trend_charts(found: list[Trend]) -> list[Chart]:
    """A chart for each line of a case on a machine."""
    number = count(1)
    return [_trend(one, next(number)) for one in found]


def _trend(trend: Trend, number: int) -> Chart:
    metric = METRICS[trend.metric]
    head = metric.head or metric.name
    points: list[tuple[float | None, ...]] = []
    labels: list[str] = []
    lines: list[Line] = []
    rows = []
    for point in trend.points:
        past = point.past
        at = read_iso(past.started)
        said = []
        if point.broken is not None:
            # No line goes over what cannot be compared.
            points.append((at, None))
            labels.append("")
            lines.append(Line(value=at, label=point.broken, axis="x", role="break"))
            said.append(f"break: {point.broken}")
        if point.change is not None:
            worse = "worse" if point.worse(trend.metric) else "better"
            lines.append(Line(value=at, label=signed(point.change), axis="x", role="change"))
            said.append(f"{signed(point.change)}, {worse}")
        points.append((at, point.value))
        labels.append(", ".join(part for part in (past.commit, past.engine) if part))
        rows.append(
            (moment(past.started), past.commit or "-", past.engine or "-", point.value, "; ".join(said))
        )
    machine = trend.machine or "unknown"
    empty = not rows
    return Chart(
        id=f"trend-{number}",
        title=label_of(*trend.key),
        question=f"How did {head} go on the machine {machine}, where {metric.better} is better?",
        x=Axis(label="session", kind="time"),
        y=Axis(label=head, unit=metric.unit),
        series=() if empty else (Series(name=head, points=tuple(points), labels=tuple(labels)),),
        lines=() if empty else tuple(lines),
        columns=(
            Column(head="session"),
            Column(head="commit"),
            Column(head="engine"),
            Column(head=head, unit=metric.unit),
            Column(head="what changed"),
        ),
        rows=tuple(rows),
        missing="every session was left out" if empty else None,
    )

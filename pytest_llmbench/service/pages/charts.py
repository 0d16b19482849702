"""Which charts does a page show?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.model import Chart, Column
from pytest_llmbench.report.charts.registry import charts_of
from pytest_llmbench.report.charts.trend import of_trends, trends
from pytest_llmbench.report.judgment import signed
from pytest_llmbench.results.records import label_of
from pytest_llmbench.service.pages.look import moment

if TYPE_CHECKING:
    from pytest_llmbench.gate.trend import Trend, TrendPoint
    from pytest_llmbench.results.records import ResultsDocument


def charts_for(document: ResultsDocument) -> list[Chart]:
    """The charts of a document that have a picture; the others are not of what it measured."""
    return [chart for chart in charts_of([document]) if chart.missing is None]


def trend_charts(found: Iterable[Trend]) -> list[Chart]:
    """A chart for each line of a case on a machine."""
    made = [(line, chart) for line in found if line.points for chart in trends(of_trends([line]))]
    return [
        replace(
            chart,
            id=f"trend-{number}",
            title=label_of(*line.key),
            question=f"{chart.question.removesuffix('?')} on the machine {line.machine or 'unknown'}?",
            columns=(
                Column(head="session"),
                Column(head="commit"),
                Column(head="engine"),
                Column(head=METRICS[line.metric].head or line.metric, unit=METRICS[line.metric].unit),
                Column(head="what changed"),
            ),
            rows=tuple(_row(point, line.metric) for point in line.points),
        )
        for number, (line, chart) in enumerate(made, start=1)
    ]


def _row(point: TrendPoint, metric: str) -> tuple[str | float, ...]:
    """A session of a line, for the table behind it."""
    past = point.past
    said = [f"break: {point.broken}"] if point.broken else []
    if point.change is not None:
        said.append(f"{signed(point.change)}, {'worse' if point.worse(metric) else 'better'}")
    return (moment(past.started), past.commit or "-", past.engine or "-", point.value, "; ".join(said))

"""How did a metric develop over sessions, and where did its level change?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import axis_of, bounded, head_of, slug, together
from pytest_llmbench.report.charts.model import MOST_POINTS, Axis, Chart, Column, Line, Series
from pytest_llmbench.report.judgment import signed
from pytest_llmbench.results.records import label_of
from pytest_llmbench.times import read_iso

if TYPE_CHECKING:
    from pytest_llmbench.gate.trend import Trend

MOST_CASES = 6
MOST_MARKED = 24
"""Breaks and changes with a line of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendPoint:
    """One session's value of a metric."""

    time: float
    """Seconds since 1970: of its commit where that is known, else when it was measured."""
    value: float
    """In the metric's unit."""
    session: str
    commit: str | None = None
    break_before: str | None = None
    """Why it does not compare with the point before, such as another engine; None if it does."""
    change: float | None = None
    """Where the level changes with it: the new level over the old one, less 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendSeries:
    """One metric of one case over sessions, the oldest first."""

    label: str
    metric: str
    points: tuple[TrendPoint, ...]


def of_trends(found: Iterable[Trend]) -> list[TrendSeries]:
    """Lines of :func:`pytest_llmbench.gate.trend.trends`; where there are several, with their machines."""
    lines = [line for line in found if line.points]
    machines: dict[tuple[str, str], set[str | None]] = {}
    for line in lines:
        machines.setdefault(line.key, set()).add(line.machine)
    return [
        TrendSeries(
            label=label_of(*line.key)
            + (f", machine {line.machine or 'unknown'}" if len(machines[line.key]) > 1 else ""),
            metric=line.metric,
            points=tuple(
                TrendPoint(
                    time=read_iso(point.past.commit_time or point.past.started),
                    value=point.value,
                    session=point.past.session,
                    commit=point.past.commit,
                    break_before=point.broken,
                    change=point.change,
                )
                for point in line.points
            ),
        )
        for line in lines
    ]


def trends(found: Sequence[TrendSeries]) -> list[Chart]:
    """The values over time and their levels: a chart for each metric. No line leads over a break."""
    by_metric: dict[str, list[TrendSeries]] = {}
    for one in found:
        if one.points:
            by_metric.setdefault(one.metric, []).append(one)
    return [_chart(metric, those) for metric, those in by_metric.items()] or [
        Chart(
            id="trend",
            title="Trend",
            question="How did the metric develop over sessions?",
            x=Axis(label="session", kind="time"),
            y=Axis(label="value"),
            missing="no session has a value of it; sessions are kept in a store, see --llm-store",
        )
    ]


def levels(points: Sequence[TrendPoint]) -> Iterator[tuple[Sequence[TrendPoint], float]]:
    """The points between two breaks or changes, and their median: the level."""
    starts = [n for n, one in enumerate(points) if n == 0 or one.break_before or one.change is not None]
    for start, end in zip(starts, [*starts[1:], len(points)], strict=True):
        part = points[start:end]
        yield part, median(one.value for one in part)


def _chart(metric: str, found: Sequence[TrendSeries]) -> Chart:
    shown, note = bounded(found, (one.label for one in found), MOST_CASES)
    notes = [note]
    series: list[Series] = []
    marked: list[Line] = []
    rows = []
    unit = METRICS[metric].unit
    for place, one in enumerate(shown):
        points = one.points[-MOST_POINTS:]
        if len(points) < len(one.points):
            notes.append(f"Of {len(one.points)} sessions of {one.label} the last {len(points)} are drawn.")
        series.append(
            Series(
                name=one.label,
                shape="scatter",
                points=tuple((point.time, point.value) for point in points),
                labels=tuple(map(_said, points)),
                color=place,
            )
        )
        level: list[tuple[float, float | None]] = []
        for part, value in levels(points):
            level += [(part[0].time, value), (part[-1].time, value), (part[-1].time, None)]
            rows.append((one.label, part[0].session, part[-1].session, len(part), value, _why(part[0])))
        series.append(Series(name=f"{one.label}, level", shape="line", points=tuple(level), color=place))
        marked += [
            Line(
                value=point.time,
                label=_mark(point),
                axis="x",
                role="break" if point.break_before else "change",
            )
            for point in points
            if point.break_before or point.change is not None
        ]
    if len(marked) > MOST_MARKED:
        notes.append(f"Of {len(marked)} breaks and changes the last {MOST_MARKED} have a line.")
    return Chart(
        id=slug("trend", metric),
        title=f"{head_of(metric)} over sessions",
        question=f"How did {head_of(metric)} develop, and where did its level change?",
        x=Axis(label="session", kind="time"),
        y=axis_of(metric),
        series=tuple(series),
        lines=tuple(sorted(marked, key=lambda one: one.value)[-MOST_MARKED:]),
        columns=(
            Column(head="case"),
            Column(head="from session"),
            Column(head="to session"),
            Column(head="sessions"),
            Column(head="level", unit=unit),
            Column(head="why"),
        ),
        rows=tuple(rows),
        note=together("Levels: the median between two changes.", *notes),
    )


def _said(point: TrendPoint) -> str:
    return ", ".join(
        filter(None, (point.session, point.commit and f"commit {point.commit}", point.break_before))
    )


def _mark(point: TrendPoint) -> str:
    return point.break_before or signed(point.change)


def _why(point: TrendPoint) -> str | None:
    if point.break_before:
        return point.break_before
    return None if point.change is None else f"changed by {signed(point.change)}"

"""What is a chart, as data, whoever draws it?

The page's JavaScript and matplotlib draw the same :class:`Chart`. Its numbers are those of the document, in
SI units; an axis says its unit, and in its JSON how it is best scaled for a person. A chart without data says
why in ``missing``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pytest_llmbench.metrics import units
from pytest_llmbench.processes.wire import Json

AxisKind = Literal["value", "log", "category", "time"]
"""``time``: seconds since 1970, UTC. ``category``: values are indices into the categories."""
Shape = Literal["line", "scatter", "bar", "step", "interval", "heat"]
"""``step``: holds its value until the next point. ``interval``: (x, middle, low, high), of which an end that
is not known is None. ``heat``: (index of x, index of y, value). All others: (x, y)."""
Style = Literal["solid", "dashed", "dotted"]
Role = Literal["disturbed", "pareto", "knee", "threshold", "break", "change", "own"]
"""What a band, a line or a series means, which has a look of its own; ``own``: nothing but its label."""

MOST_SERIES = 12
"""Of one chart: more cannot be told apart; a note says which are left out."""
MOST_POINTS = 1000
"""Of one series: a wider screen has no more pixels than about two for each."""
DIGITS = 8
"""Significant ones of a number in JSON: what is measured has no more. Whole numbers have all of theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: what it measures, and in which unit its values are."""

    label: str
    unit: str | None = None
    """As of the metric table; None: numbers without a unit, such as a count."""
    kind: AxisKind = "value"
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one name. A point whose value is None is not drawn, and no line goes over it."""

    name: str
    points: tuple[tuple[float | None, ...], ...]
    shape: Shape = "line"
    labels: tuple[str, ...] = ()
    """One a point: what a tooltip says beside the values. Empty: nothing."""
    color: int | None = None
    """Which color of the palette; None: that of its place among the series."""
    style: Style = "solid"
    role: Role = "own"

    @property
    def drawn(self) -> int:
        """How many of its points have a mark."""
        at = {"heat": 2}.get(self.shape, 1)
        return sum(point[at] is not None for point in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A span of an axis that is shaded, over the whole height or width of the chart."""

    start: float
    end: float
    label: str
    axis: Literal["x", "y"] = "x"
    role: Role = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A value of an axis that a line marks, over the whole height or width of the chart."""

    value: float
    label: str
    axis: Literal["x", "y"] = "y"
    role: Role = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table behind a chart."""

    head: str
    unit: str | None = None


Cell = str | float | int | None
"""Of a table: a text, a number in its column's unit, or what is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One picture, the table behind it, and the question that it answers."""

    id: str
    """Letters, digits and dashes; unique in a report."""
    title: str
    question: str
    """One sentence."""
    x: Axis
    y: Axis
    z: Axis | None = None
    """What the colors of a heat map measure; None without one."""
    across: bool = False
    """Whether x runs downwards and y to the right, as categories with long names need it."""
    series: tuple[Series, ...] = ()
    bands: tuple[Band, ...] = ()
    lines: tuple[Line, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    note: str | None = None
    """What is left out, and what a reader has to know."""
    missing: str | None = None
    """Why there is no picture; None if there is one."""

    def __post_init__(self) -> None:
        """Refuse what would be an empty picture in silence."""
        drawn = sum(series.drawn for series in self.series)
        if (drawn == 0) != (self.missing is not None):
            msg = f"the chart {self.id} has {drawn} points to draw and missing={self.missing!r}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Scale:
    """What a value in a metric's unit is multiplied by to be read, and the unit that it then has."""

    factor: float
    unit: str | None = field(default=None)


def scale_of(chart: Chart, which: Literal["x", "y", "z"]) -> Scale:
    """How an axis of *chart* is scaled for a person, by what is drawn on it: 0.004 s as 4 ms."""
    axis = {"x": chart.x, "y": chart.y, "z": chart.z}[which]
    if axis is None or axis.kind in ("category", "time"):
        return Scale(1.0)
    return Scale(*units.scale(axis.unit, _values(chart, which)))


def as_json(chart: Chart) -> Json:
    """*chart* for JavaScript: each key is a field; an axis has a ``scale`` of ``factor`` and ``unit``."""
    return {
        "id": chart.id,
        "title": chart.title,
        "question": chart.question,
        "x": _axis_json(chart, "x"),
        "y": _axis_json(chart, "y"),
        "z": _axis_json(chart, "z"),
        "across": chart.across,
        "series": [
            {
                "name": one.name,
                "points": [_point_json(chart, point) for point in one.points],
                "shape": one.shape,
                "labels": list(one.labels),
                "color": place if one.color is None else one.color,
                "style": one.style,
                "role": one.role,
            }
            for place, one in enumerate(chart.series)
        ],
        "bands": [
            {"start": short(b.start), "end": short(b.end), "label": b.label, "axis": b.axis, "role": b.role}
            for b in chart.bands
        ],
        "lines": [
            {"value": short(one.value), "label": one.label, "axis": one.axis, "role": one.role}
            for one in chart.lines
        ],
        "columns": [{"head": column.head, "unit": column.unit} for column in chart.columns],
        "rows": [[cell if isinstance(cell, str) else short(cell) for cell in row] for row in chart.rows],
        "note": chart.note,
        "missing": chart.missing,
    }


def short(value: float | None) -> float | None:
    """*value* with :data:`DIGITS` significant digits; None for what JSON has no number for."""
    if value is None or not math.isfinite(value):
        return None
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 2**53):
        return int(value)
    return float(f"{value:.{DIGITS}g}")


def _point_json(chart: Chart, point: tuple[float | None, ...]) -> list[float | None]:
    """A point of time keeps its milliseconds."""
    if chart.x.kind == "time" and point[0] is not None:
        return [round(point[0], 3), *map(short, point[1:])]
    return [short(value) for value in point]


def _axis_json(chart: Chart, which: Literal["x", "y", "z"]) -> Json | None:
    axis = {"x": chart.x, "y": chart.y, "z": chart.z}[which]
    if axis is None:
        return None
    scale = scale_of(chart, which)
    return {
        "label": axis.label,
        "unit": axis.unit,
        "kind": axis.kind,
        "categories": list(axis.categories),
        "scale": {"factor": scale.factor, "unit": scale.unit},
    }


def _values(chart: Chart, which: Literal["x", "y", "z"]) -> Iterator[float]:
    lines: Iterable[float | None] = (line.value for line in chart.lines if line.axis == which)
    yield from _known(lines)
    for series in chart.series:
        for point in series.points:
            yield from _known(_part(series.shape, point, which))


def _part(
    shape: Shape, point: Sequence[float | None], which: Literal["x", "y", "z"]
) -> Sequence[float | None]:
    if which == "x":
        return point[:1]
    if shape == "heat":
        return point[1:2] if which == "y" else point[2:]
    return point[1:] if which == "y" else ()


def _known(values: Iterable[float | None]) -> Iterator[float]:
    return (value for value in values if value is not None and math.isfinite(value))

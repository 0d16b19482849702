"""How does one metric compare over many cases: bars side by side, or a map of two settings?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import (
    LOADS,
    MOST_COLUMNS,
    MOST_ROWS,
    Entry,
    axis_of,
    bounded,
    entries,
    head_of,
    median_of,
    names_of,
    parts,
    slug,
    together,
    work,
)
from pytest_llmbench.report.charts.load import sweeps_of
from pytest_llmbench.report.charts.model import Axis, Chart, Column, Series
from pytest_llmbench.report.load import LoadKind
from pytest_llmbench.report.rows import FILE_SIZE

if TYPE_CHECKING:
    from pytest_llmbench.metrics.row import Metric
    from pytest_llmbench.results.records import ResultsDocument

MOST_GROUPS = 8
"""Series of bars: more are too thin."""


def quantizations(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """Cases that differ in their quantization alone, side by side: a chart for each metric.

    Of the metrics that stand in the table of cases: speed, memory, energy, and those of quality, where they
    were measured; and of the size of the model's files.
    """
    groups = _alike(documents)
    categories = _by_size([entry for _, members in groups for entry in members.values()])
    shown, note = bounded(groups, (name for name, _ in groups), MOST_GROUPS)
    charts = []
    for row in METRICS.values():
        if any(one.table == "cases" for one in row.shown):
            series = _bars(shown, categories, row.name)
            if series:
                charts.append(_bar_chart(row.name, axis_of(row.name), row, series, categories, note))
    sizes = tuple(
        Series(
            name=name,
            shape="bar",
            points=tuple(
                (float(place), float(bytes_))
                for place, category in enumerate(categories)
                if category in members and (bytes_ := members[category].case.model.size) is not None
            ),
        )
        for name, members in shown
    )
    if any(one.points for one in sizes):
        y = Axis(label="file size", unit="bytes")
        charts.append(_bar_chart(FILE_SIZE, y, None, tuple(s for s in sizes if s.points), categories, note))
    return charts or [
        Chart(
            id="quantization",
            title="Quantizations side by side",
            question="What does a quantization gain, and what does it cost?",
            x=Axis(label="quantization", kind="category"),
            y=axis_of("tpot"),
            missing="no two cases differ in their quantization alone; measure several, as by "
            "--llm-quantization=f16,q8_0,q4_0",
        )
    ]


def _alike(documents: Sequence[ResultsDocument]) -> list[tuple[str, dict[str, Entry]]]:
    """Cases that differ in nothing but their quantization: a name, and the entry of each quantization."""
    found: dict[tuple[object, ...], dict[str, Entry]] = {}
    for entry in entries(documents):
        quantization = entry.case.model.quantization
        if quantization is not None and not entry.base_side and entry.case.metrics:
            told = parts(entry)
            del told["quantization"]
            found.setdefault((tuple(told.items()), work(entry)), {}).setdefault(quantization, entry)
    several = [members for members in found.values() if len(members) > 1]
    firsts = [parts(next(iter(members.values()))) for members in several]
    names = names_of([{k: v for k, v in one.items() if k != "quantization"} for one in firsts])
    return list(zip(names, several, strict=True))


def _by_size(found: Sequence[Entry]) -> tuple[str, ...]:
    """The quantizations of *found*, from the largest files to the smallest; those without a size last."""
    sizes: dict[str, int] = {}
    for entry in found:
        model = entry.case.model
        sizes.setdefault(model.quantization or "", model.size or 0)
    return tuple(sorted(sizes, key=lambda name: -sizes[name]))


def _bars(
    groups: Sequence[tuple[str, dict[str, Entry]]], categories: Sequence[str], metric: str
) -> tuple[Series, ...]:
    made = []
    for name, members in groups:
        points = [
            (float(place), value)
            for place, category in enumerate(categories)
            if category in members and (value := median_of(members[category].case, metric)) is not None
        ]
        if points:
            made.append(Series(name=name, points=tuple(points), shape="bar"))
    # Memory of a GPU is 0 without one.
    return tuple(made) if any(value for one in made for _, value in one.points) else ()


def _bar_chart(
    name: str,
    y: Axis,
    row: Metric | None,
    series: tuple[Series, ...],
    categories: tuple[str, ...],
    note: str | None,
) -> Chart:
    better = "Lower" if row is None or row.better == "lower" else "Higher"
    label = head_of(name) if row is not None else y.label
    return Chart(
        id=slug("quantization", name),
        title=f"{label} by quantization",
        question=f"What does a quantization change in {label}?",
        x=Axis(label="quantization", kind="category", categories=categories),
        y=y,
        series=series,
        columns=(Column(head="case"), *(Column(head=category, unit=y.unit) for category in categories)),
        rows=tuple(
            (one.name, *(values.get(float(place)) for place in range(len(categories))))
            for one in series
            for values in [{point[0]: point[1] for point in one.points}]
        ),
        note=together(f"{better} is better." + (" Medians." if row is not None else ""), note),
    )


def heat_map(
    documents: Sequence[ResultsDocument], metric: str = "system_throughput", kind: LoadKind = "concurrency"
) -> list[Chart]:
    """*metric* of each model and server at each load, as a map of colors; of many cases the whole at once."""
    named = [
        (sweep.name, members)
        for sweep in sweeps_of(documents)
        if sweep.kind == kind and (members := dict(sweep.medians(metric)))
    ]
    loads = sorted({load for _, members in named for load in members})
    shown, note = bounded(named, (name for name, _ in named), MOST_ROWS)
    columns, more = bounded(loads, (f"{load:.10g} at once" for load in loads), MOST_COLUMNS)
    points, labels = [], []
    for down, (name, members) in enumerate(shown):
        for right, at in enumerate(columns):
            if at in members:
                points.append((float(right), float(down), members[at]))
                labels.append(f"{name}, {at:.10g} at once")
    enough = len(shown) > 1 and len(columns) > 1
    z = axis_of(metric)
    return [
        Chart(
            id=slug("map", metric),
            title=f"{head_of(metric)[0].upper()}{head_of(metric)[1:]} of each configuration at each load",
            question=f"Which configuration has most {head_of(metric)}, and at which load?"
            if METRICS[metric].better == "higher"
            else f"Which configuration has least {head_of(metric)}, and at which load?",
            x=Axis(
                label=LOADS[kind].label,
                kind="category",
                categories=tuple(f"{load:.10g}" for load in columns),
            ),
            y=Axis(label="configuration", kind="category", categories=tuple(name for name, _ in shown)),
            z=z,
            series=(Series(name=head_of(metric), points=tuple(points), shape="heat", labels=tuple(labels)),)
            if enough
            else (),
            columns=(
                Column(head="configuration"),
                *(Column(head=f"{load:.10g}", unit=z.unit) for load in columns),
            ),
            rows=tuple(
                (
                    name,
                    *(members.get(load) for load in columns),
                )
                for name, members in shown
            ),
            note=together(note, more),
            missing=None
            if enough
            else "a map takes two configurations at least, each at two loads; "
            f"there are {len(shown)} with {len(columns)} loads",
        )
    ]

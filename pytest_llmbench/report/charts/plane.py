"""How does one metric vary over two things at once, such as models and hardware?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmbench.errors import few
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import count
from pytest_llmbench.report.charts.cases import (
    MOST_COLUMNS,
    MOST_ROWS,
    axis_of,
    bounded,
    entries,
    head_of,
    names_of,
    parts,
    slug,
    together,
    work,
)
from pytest_llmbench.report.charts.model import Axis, Chart, Column, Series
from pytest_llmbench.results.cell import hardware_label, hardware_of

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument

MOST_MAPS = 6
"""Of one report."""
_CONFIGURATION = ("hardware", "model", "quantization", "backend", "server")
"""Parts that a map of documents may have as its axes: what does a work, and not which work."""
_METRICS = ("ttft", "decode_throughput", "system_throughput")
"""What a report maps: how long a user waits, and how fast it is."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One case, as a map places it."""

    parts: Mapping[str, str]
    """What it is by kind, such as its model; a kind without a value is left out, or empty."""
    values: Mapping[str, float]
    """Medians by metric."""
    label: str
    """What a tooltip calls it."""


def plane(spots: Iterable[Spot], across: str, down: str, metric: str, *, chart_id: str, title: str) -> Chart:
    """*metric* of *spots* as a map of colors: kind *across* to the right, kind *down* downwards.

    Where several stand in one place it shows the best of them, and its note says in what they differ.
    """
    better = METRICS[metric].better
    found: dict[tuple[str, str], list[Spot]] = {}
    for spot in spots:
        if metric in spot.values:
            found.setdefault((spot.parts.get(across, ""), spot.parts.get(down, "")), []).append(spot)
    columns, more = bounded(_sorted(right for right, _ in found), _sorted(r for r, _ in found), MOST_COLUMNS)
    rows, note = bounded(_sorted(below for _, below in found), _sorted(b for _, b in found), MOST_ROWS)
    best = {
        place: (min if better == "lower" else max)(members, key=lambda one: one.values[metric])
        for place, members in found.items()
    }
    points, labels = [], []
    for y, below in enumerate(rows):
        for x, right in enumerate(columns):
            if (one := best.get((right, below))) is not None:
                points.append((float(x), float(y), one.values[metric]))
                labels.append(one.label)
    enough = len(rows) > 1 and len(columns) > 1
    z, head = axis_of(metric), head_of(metric)
    return Chart(
        id=chart_id,
        title=title,
        question=f"Where is the {'lowest' if better == 'lower' else 'highest'} {head}?",
        x=Axis(label=said(across), kind="category", categories=tuple(map(_shown, columns))),
        y=Axis(label=said(down), kind="category", categories=tuple(map(_shown, rows))),
        z=z,
        series=(Series(name=head, points=tuple(points), shape="heat", labels=tuple(labels)),)
        if enough
        else (),
        columns=(Column(head=said(down)), *(Column(head=_shown(one), unit=z.unit) for one in columns)),
        rows=tuple(
            (_shown(b), *(best[r, b].values[metric] if (r, b) in best else None for r in columns))
            for b in rows
        ),
        note=together(
            f"{'Lower' if better == 'lower' else 'Higher'} is better. Medians.",
            _several(found.values(), (across, down)),
            note,
            more,
        ),
        missing=None
        if enough
        else f"a map takes two of each axis at least; {count(len(found), 'place')} of it "
        f"{'has' if len(found) == 1 else 'have'} a {head}",
    )


def _several(places: Iterable[Sequence[Spot]], axes: tuple[str, str]) -> str | None:
    """What differs among the cases of one place, where there are several."""
    differ: set[str] = set()
    most = 1
    for members in places:
        most = max(most, len(members))
        if len(members) > 1:
            kinds = {kind for one in members for kind in one.parts} - {*axes}
            differ |= {k for k in kinds if len({one.parts.get(k, "") for one in members}) > 1}
    if most == 1:
        return None
    what = f", which differ in {few([said(kind) for kind in sorted(differ)], 4)}," if differ else ""
    return f"Of up to {most} cases in one place{what} the best."


def said(kind: str) -> str:
    """What an axis of that kind is called."""
    return kind.removesuffix("=").replace("_", " ")


def _shown(value: str) -> str:
    return value or "none"


def _sorted(values: Iterable[str]) -> list[str]:
    """Each once, numbers within them by their size."""
    return sorted(set(values), key=natural)


def titled(metric: str, across: str, down: str) -> str:
    """``TTFT by model and hardware``."""
    head = head_of(metric)
    return f"{head[0].upper()}{head[1:]} by {said(down)} and {said(across)}"


def natural(text: str) -> tuple[tuple[float, str], ...]:
    """A key by which ``c8`` comes before ``c16``."""
    return tuple(
        (float(word), "") if word.isdigit() else (float("inf"), word)
        for word in re.findall(r"[0-9]+|[^0-9]+", text)
    )


def maps(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """Maps of what did equal work: over the two things in which its cases differ most.

    Those are of model, quantization, backend, server and hardware. Cases that failed are left out.
    """
    groups: dict[tuple[object, ...], list[Spot]] = {}
    asked: dict[tuple[object, ...], dict[str, str]] = {}
    for entry in entries(documents):
        case = entry.case
        if entry.base_side or case.outcome != "passed" or not case.metrics:
            continue
        told = parts(entry)
        name, number = hardware_of(entry.document)
        told["hardware"] = "" if name is None else hardware_label(name, number)
        told.pop("session", None)
        kept = {kind: told.pop(kind) for kind in _CONFIGURATION}
        key = (*told.items(), work(entry))
        asked.setdefault(key, told)
        values = {name: row.median for name, row in case.metrics.items() if name in _METRICS}
        groups.setdefault(key, []).append(Spot(kept, values, entry.label))
    wide = [
        (key, axes) for key, those in groups.items() if (axes := axes_of(those, _CONFIGURATION)) is not None
    ]
    names = names_of([asked[key] for key, _ in wide]) if len(wide) > 1 else [""] * len(wide)
    charts = [
        plane(
            groups[key],
            *axes,
            metric,
            chart_id=slug("plane", str(place), metric),
            title=titled(metric, *axes) + (f", {name}" if name else ""),
        )
        for place, ((key, axes), name) in enumerate(zip(wide, names, strict=True))
        for metric in _METRICS
        if any(metric in spot.values for spot in groups[key])
    ]
    charts = [chart for chart in charts if chart.missing is None]
    shown, note = bounded(charts, (chart.title for chart in charts), MOST_MAPS)
    if shown:
        return [*shown[:-1], replace(shown[-1], note=together(shown[-1].note, note and f"Of maps: {note}"))]
    return [
        Chart(
            id="plane",
            title="Maps of configurations",
            question="Which model does best, and on what?",
            x=Axis(label="hardware", kind="category"),
            y=Axis(label="model", kind="category"),
            z=axis_of("ttft"),
            missing="no two cases did equal work and differ in two of model, quantization, backend and "
            "hardware; measure a matrix, or several models in several quantizations",
        )
    ]


def axes_of(spots: Sequence[Spot], kinds: Sequence[str]) -> tuple[str, str] | None:
    """Which of *kinds* to map across and down: the two with the most values, longer ones downwards.

    None where fewer than two of them have several values.
    """
    values = {kind: {spot.parts.get(kind, "") for spot in spots} for kind in kinds}
    several = sorted((kind for kind in kinds if len(values[kind]) > 1), key=lambda k: -len(values[k]))[:2]
    if len(several) < 2:
        return None
    across, down = sorted(several, key=lambda kind: max(map(len, values[kind])))
    return across, down

"""What did the machine do while it was measured, and which rounds did that disturb?

A document keeps each round with its reason codes, and of each process the mean and the largest value of what
the sampler read; the samples themselves it does not keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmbench.report.charts.cases import Entry, bounded, entries, slug, together
from pytest_llmbench.report.charts.model import MOST_SERIES, Axis, Band, Chart, Column, Series
from pytest_llmbench.report.rows import is_load
from pytest_llmbench.times import read_iso

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ProcessRecord, ResultsDocument, RoundRecord

MOST_ROUNDS = 300
"""Points of one kind of rounds."""
MOST_BANDS = 100
"""Spans that are shaded; more are joined with the nearest."""
MOST_SPANS = 120
"""Processes of one line, which has three points for each."""
MOST_DOCUMENTS = 3
METRIC = "e2e_latency"
"""By which rounds are shown: each has one."""
_TIME = Axis(label="since the session began", unit="s")


@dataclass(frozen=True, slots=True)
class _Field:
    """One chart of what the sampler reads, and the unit in which it does."""

    name: str
    title: str
    unit: str
    pattern: re.Pattern[str]


_FIELDS = tuple(
    _Field(name, title, unit, re.compile(pattern))
    for name, title, unit, pattern in (
        ("cpu", "CPU in use", "cores", "foreign_cpu|own_cpu"),
        ("pressure", "Time in which something waited", "share", "(cpu|memory|io)_pressure|steal"),
        ("memory", "Memory", "bytes", r"rss|gpu\d+_memory"),
        ("utilization", "Utilization", "%", r"cpu_percent|gpu\d+_utilization"),
        ("power", "Power", "W", r"(gpu|package)\d+_power"),
        ("temperature", "Temperature", "°C", r"temperature|gpu\d+_temperature"),
        ("clock", "Clock", "Hz", r"frequency|gpu\d+_clock_sm"),
    )
)
"""Names and units as :mod:`pytest_llmbench.hardware.probes` and :func:`.series.rows` have them."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """One round, in seconds since its session began."""

    start: float
    end: float
    label: str
    value: float
    """Over the median of its case."""
    codes: tuple[str, ...] | None


def machine(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """The rounds of each session over time, disturbed ones shaded, and below it what the machine did."""
    shown, note = bounded(documents, (one.session.id for one in documents), MOST_DOCUMENTS)
    charts: list[Chart] = []
    for place, document in enumerate(shown):
        more = f"-{place + 1}" if place else ""
        which = f", {document.session.id}" if len(shown) > 1 else ""
        own = [entry for entry in entries([document]) if not entry.base_side]
        moments = _moments(document, own)
        bands = _bands(moments)
        charts.append(_rounds(moments, bands, more, which, note))
        charts += [
            chart
            for field in _FIELDS
            if (chart := _field_chart(document, own, field, bands, more, which)) is not None
        ]
    return charts or [_rounds([], (), "", "", None)]


# --- Rounds ------------------------------------------------------------------------------------


def _moments(document: ResultsDocument, own: Iterable[Entry]) -> list[_Moment]:
    """The rounds with a time, in the order of their starts; requests under load, which overlap, left out."""
    begun = _seconds(document.session.started)
    found = []
    for entry in own:
        values = [value for one in entry.case.rounds if (value := one.value(METRIC))]
        middle = median(values) if values else None
        if begun is None or not middle or is_load(entry.case):
            continue
        for one in entry.case.rounds:
            started, value = _seconds(one.started), one.value(METRIC)
            if started is not None and value is not None:
                codes = None if one.disturbance is None else tuple(one.disturbance)
                start = started - begun
                found.append(_Moment(start, start + one.done, entry.label, value / middle, codes))
    return sorted(found, key=lambda one: one.start)


def _rounds(
    moments: Sequence[_Moment], bands: tuple[Band, ...], more: str, which: str, note: str | None
) -> Chart:
    kinds = (
        ("undisturbed", 0, [one for one in moments if one.codes == ()]),
        ("disturbed", 1, [one for one in moments if one.codes]),
        ("not watched", 5, [one for one in moments if one.codes is None]),
    )
    series = []
    notes = []
    for name, color, those in kinds:
        drawn = thinned(those, MOST_ROUNDS)
        if len(drawn) < len(those):
            notes.append(f"Of {len(those)} {name} rounds {len(drawn)} are drawn, evenly chosen.")
        if drawn:
            series.append(
                Series(
                    name=name,
                    shape="scatter",
                    points=tuple((one.start, one.value) for one in drawn),
                    labels=tuple(together(one.label, ", ".join(one.codes or ())) or "" for one in drawn),
                    color=color,
                )
            )
    return Chart(
        id=f"rounds-over-time{more}",
        title=f"Rounds over time{which}",
        question="When did rounds take longer than others of their case, and was the machine disturbed then?",
        x=_TIME,
        y=Axis(label="E2E latency over its case's median", unit="times"),
        series=tuple(series),
        bands=bands if series else (),
        columns=(Column(head="rounds"), Column(head="count"), Column(head="median", unit="times")),
        rows=tuple(
            (name, len(those), median(one.value for one in those) if those else None)
            for name, _, those in kinds
        )
        if series
        else (),
        note=together(*notes, note),
        missing=None if series else "no round outside of load levels has the time at which it began",
    )


def _bands(moments: Sequence[_Moment]) -> tuple[Band, ...]:
    """The spans of disturbed rounds that follow each other."""
    spans: list[tuple[float, float, set[str]]] = []
    after_disturbed = False
    for one in moments:
        if one.codes and after_disturbed:
            start, end, codes = spans[-1]
            spans[-1] = (start, max(end, one.end), codes | set(one.codes))
        elif one.codes:
            spans.append((one.start, one.end, set(one.codes)))
        after_disturbed = bool(one.codes)
    while len(spans) > MOST_BANDS:
        gaps = [(spans[n + 1][0] - spans[n][1], n) for n in range(len(spans) - 1)]
        joined = {n for _, n in sorted(gaps)[: len(spans) - MOST_BANDS]}
        made: list[tuple[float, float, set[str]]] = []
        for n, span in enumerate(spans):
            if made and n - 1 in joined:
                made[-1] = (made[-1][0], span[1], made[-1][2] | span[2])
            else:
                made.append(span)
        spans = made
    return tuple(
        Band(start=start, end=end, label=", ".join(sorted(codes)), role="disturbed")
        for start, end, codes in spans
    )


# --- What the sampler read ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Span:
    """One process in which something was read, in seconds since its session began."""

    start: float
    end: float
    mean: float
    most: float
    label: str


def _field_chart(
    document: ResultsDocument,
    own: Sequence[Entry],
    field: _Field,
    bands: tuple[Band, ...],
    more: str,
    which: str,
) -> Chart | None:
    found: dict[str, list[_Span]] = {}
    for entry in own:
        for process in entry.case.processes:
            for name, span in _spans(document, entry, process, field):
                found.setdefault(name, []).append(span)
    if not any(span.most for spans in found.values() for span in spans):
        return None
    names = sorted(found)
    shown, note = bounded(names, names, MOST_SERIES)
    notes = [note]
    series: list[Series] = []
    for name in shown:
        spans = sorted(found[name], key=lambda one: one.start)
        step = -(-len(spans) // MOST_SPANS)
        if step > 1:
            notes.append(f"Of each {step} processes that followed each other the highest mean is drawn.")
            spans = [max(spans[n : n + step], key=lambda one: one.mean) for n in range(0, len(spans), step)]
        points: list[tuple[float, float | None]] = []
        labels: list[str] = []
        for span in spans:
            points += [(span.start, span.mean), (span.end, span.mean), (span.end, None)]
            labels += [span.label, span.label, ""]
        # Which case ran is said once: what runs at one time is the same for all lines.
        told = () if series else tuple(labels)
        series.append(Series(name=_said(name), points=tuple(points), labels=told))
    return Chart(
        id=slug("machine", field.name) + more,
        title=f"{field.title}{which}",
        question="What did the machine do meanwhile?",
        x=_TIME,
        y=Axis(label=field.title, unit=field.unit),
        series=tuple(series),
        bands=bands,
        columns=(
            Column(head="field"),
            Column(head="processes"),
            Column(head="median of the means", unit=field.unit),
            Column(head="most", unit=field.unit),
        ),
        rows=tuple(
            (
                _said(name),
                len(found[name]),
                median(one.mean for one in found[name]),
                max(one.most for one in found[name]),
            )
            for name in shown
        ),
        note=together("The mean of each process; single samples are not kept.", *dict.fromkeys(notes)),
    )


def _spans(
    document: ResultsDocument, entry: Entry, process: ProcessRecord, field: _Field
) -> Iterator[tuple[str, _Span]]:
    begun, start = _seconds(document.session.started), _first(process.rounds)
    if process.hardware is None or begun is None or start is None:
        return
    end = start + process.hardware.duration
    for name, read in process.hardware.values.items():
        if field.pattern.fullmatch(name) and "mean" in read:
            yield (
                name,
                _Span(start - begun, end - begun, read["mean"], read.get("max", read["mean"]), entry.label),
            )


def _first(rounds: Iterable[RoundRecord]) -> float | None:
    known = [at for one in rounds if (at := _seconds(one.started)) is not None]
    return min(known, default=None)


def _said(name: str) -> str:
    return {"foreign_cpu": "others", "own_cpu": "measured and measuring", "rss": "RSS"}.get(
        name, name.replace("_", " ")
    )


def _seconds(date: str | None) -> float | None:
    """Since 1970; None of what is not a date."""
    try:
        return None if date is None else read_iso(date)
    except ValueError:
        return None


def thinned(found: Sequence[_Moment], most: int) -> Sequence[_Moment]:
    """*most* of *found*, evenly chosen, the first and the last among them."""
    if len(found) <= most:
        return found
    return [found[round(n * (len(found) - 1) / (most - 1))] for n in range(most)]

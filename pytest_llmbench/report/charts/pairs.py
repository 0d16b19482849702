"""What did each pair of an A/B session show, and what do they say together?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.measure.run import keeps_cpu_time, marks
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.values import process_values
from pytest_llmbench.report.charts.cases import bounded, entries, head_of, slug, together
from pytest_llmbench.report.charts.changes import Judged, confidence_of, interval_of
from pytest_llmbench.report.charts.model import Axis, Band, Chart, Column, Line, Series
from pytest_llmbench.report.judgment import judged_name, verdict_of
from pytest_llmbench.report.verdicts import BY_GRAVITY

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, ProcessRecord, ResultsDocument, RoundRecord

PAIRED = "signed-rank"
"""How pairs are judged: the ``method`` of a judgment."""
MOST_CHARTS = 8
MOST_PAIRS = 512
"""Of one chart; the gate takes no more."""


@dataclass(frozen=True, slots=True)
class StoredPair:
    """What one pair of processes showed of one metric, as the document keeps it."""

    base: float | None
    """In the metric's unit: the median of the rounds or gaps, or the process's own value."""
    now: float | None
    change: float | None
    """now / base - 1, of rounds that of their median pair; None where a side has no value above 0."""
    disturbed: tuple[str, ...]
    """Reason codes of rounds on either side."""


def pairs(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """Each pair's change, for each judged metric of each case: the gravest verdicts first."""
    found = []
    labels = {id(entry.case): entry.label for entry in entries(documents)}
    for document in documents:
        sides = {case.key: case for case in document.cases}
        for case in document.cases:
            base = sides.get((case.nodeid, case.measurement + BASE_SUFFIX))
            judged = [] if base is None else [one for one in case.judgments if one.method == PAIRED]
            found += [(Judged(labels[id(case)], one), base, case) for one in judged if base is not None]
    found.sort(key=lambda one: BY_GRAVITY.index(one[0].judgment.verdict))
    made = [chart for one in found if (chart := _chart(*one)) is not None]
    shown, note = bounded(made, (chart.title for chart in made), MOST_CHARTS)
    charts = [replace(chart, id=f"{chart.id}-{place}") for place, chart in enumerate(shown, 1)]
    if charts and note:
        charts[-1] = replace(charts[-1], note=together(charts[-1].note, note))
    return charts or [
        Chart(
            id="pairs",
            title="Pairs of an A/B session",
            question="How much slower or faster was each pair, and what do they say together?",
            x=Axis(label="pair"),
            y=Axis(label="change", unit="share"),
            missing="no A/B session was measured; --llm-ab measures one"
            if not found
            else "no pair has a value above 0 on both sides",
        )
    ]


def stored_pairs(base: CaseRecord, now: CaseRecord, metric: str, *, disturbed: bool) -> list[StoredPair]:
    """The pairs of two cases, each process of one side and that of the other, in order.

    :param disturbed: whether rounds that other load disturbed count too, as they do where the gate used them.
    """
    return [
        _pair(b, n, metric, disturbed=disturbed) for b, n in zip(base.processes, now.processes, strict=False)
    ]


def _pair(base: ProcessRecord, now: ProcessRecord, metric: str, *, disturbed: bool) -> StoredPair:
    """As :class:`pytest_llmbench.measure.pairs.Pair` takes the sides' rounds together."""
    both = list(zip(base.rounds, now.rounds, strict=False))
    codes = [(*_marks(base, b, metric), *_marks(now, n, metric)) for b, n in both]
    kept = [one for one, why in zip(both, codes, strict=True) if disturbed or not why]
    sides = []
    for process, place in ((base, 0), (now, 1)):
        values = process_values(metric, process, [one[place] for one in kept])
        sides.append(median(values) if values else None)
    before, after = sides
    change = _ratio(before, after)
    if METRICS[metric].scope == "round":
        ratios = [r for b, n in kept if (r := _ratio(b.value(metric), n.value(metric))) is not None]
        change = math.exp(median(map(math.log1p, ratios))) - 1 if ratios else None
    return StoredPair(before, after, change, tuple(dict.fromkeys(code for why in codes for code in why)))


def _marks(process: ProcessRecord, one: RoundRecord, metric: str) -> Sequence[str]:
    return marks(one.disturbance, process.watch_lost, cpu_time=keeps_cpu_time(metric, process.engine))


def _ratio(base: float | None, now: float | None) -> float | None:
    return None if base is None or now is None or min(base, now) <= 0 else now / base - 1


def _chart(one: Judged, base: CaseRecord, now: CaseRecord) -> Chart | None:
    """The pairs behind a judgment; None where no pair has a change."""
    judgment, metric = one.judgment, one.judgment.metric
    used = judgment.noise is not None
    found = stored_pairs(base, now, metric, disturbed=used)[:MOST_PAIRS]
    series = []
    for name, color, those in (
        ("pair", 0, [n for n, pair in enumerate(found) if not pair.disturbed]),
        ("pair, disturbed", 5, [n for n, pair in enumerate(found) if pair.disturbed]),
    ):
        points = tuple((float(n + 1), found[n].change) for n in those)
        if any(change is not None for _, change in points):
            labels = tuple(", ".join(found[n].disturbed) for n in those)
            series.append(Series(name=name, points=points, shape="scatter", labels=labels, color=color))
    if not series:
        return None
    change, low, high = interval_of(judgment)
    lines = [Line(value=0.0, label="no change")]
    if change is not None:
        lines.append(Line(value=change, label="change", role="change"))
    if judgment.threshold is not None:
        lines.append(Line(value=METRICS[metric].sign * judgment.threshold, label="allowed", role="threshold"))
    interval = f"{confidence_of([one])} interval".strip()
    unit = METRICS[metric].unit
    missing = sum(pair.change is None for pair in found)
    return Chart(
        id=slug("pairs", metric),
        title=f"{_head(one)} in pairs, {one.label}: {verdict_of(judgment)}",
        question="How much slower or faster was each pair, and what do they say together?",
        x=Axis(label="pair"),
        y=Axis(label=f"change of {head_of(metric)}", unit="share"),
        series=tuple(series),
        bands=()
        if low is None or high is None or not math.isfinite(low) or not math.isfinite(high)
        else (Band(start=low, end=high, label=interval, axis="y", role="change"),),
        lines=tuple(lines),
        columns=(
            Column(head="pair"),
            Column(head="base", unit=unit),
            Column(head="now", unit=unit),
            Column(head="change", unit="share"),
            Column(head="disturbed by"),
        ),
        rows=tuple(
            (n, pair.base, pair.now, pair.change, ", ".join(pair.disturbed) or None)
            for n, pair in enumerate(found, 1)
        ),
        note=together(
            f"{judgment.n} pairs were judged"
            + (", disturbed ones too." if used else "; rounds that other load disturbed are left out."),
            f"Of {missing} no round is left." if missing else None,
            judgment.reason and f"{judgment.reason}.",
        ),
    )


def _head(one: Judged) -> str:
    name = judged_name(one.judgment)
    return head_of(name) if name in METRICS else name

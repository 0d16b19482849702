"""What became slower or faster than the baseline, by how much, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import bounded, entries, head_of, labels_of, slug, together
from pytest_llmbench.report.charts.model import Axis, Chart, Column, Line, Series
from pytest_llmbench.report.judgment import judged_name, natural, verdict_of
from pytest_llmbench.report.verdicts import BY_GRAVITY
from pytest_llmbench.results.verdict import Judgment

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import Comparison
    from pytest_llmbench.results.records import ResultsDocument

MOST_ROWS = 40
"""Cases of one chart."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One metric of one case that was compared."""

    label: str
    """Of the case."""
    judgment: Judgment


def judged_in(documents: Sequence[ResultsDocument]) -> list[Judged]:
    """What the gate made of the cases of *documents* while they were measured."""
    return [Judged(entry.label, one) for entry in entries(documents) for one in entry.case.judgments]


def judged_by(comparison: Comparison) -> list[Judged]:
    """What a comparison of two documents says."""
    labels = labels_of([one.case for one in comparison.cases])
    return [
        Judged(label, judgment)
        for label, one in zip(labels, comparison.cases, strict=True)
        for judgment in one.judgments
    ]


def changes(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """The change of each case from its baseline or its base side: a chart for each metric."""
    return charts_of_changes(judged_in(documents))


def charts_of_changes(found: Iterable[Judged]) -> list[Chart]:
    """A chart of the changes for each metric that was judged by one, the gravest verdict first."""
    by_metric: dict[str, list[Judged]] = {}
    for one in found:
        if one.judgment.change is not None and math.isfinite(one.judgment.change):
            by_metric.setdefault(one.judgment.metric, []).append(one)
    return [_chart(metric, those) for metric, those in by_metric.items()] or [
        Chart(
            id="changes",
            title="Changes from the baseline",
            question="What became slower or faster, and beyond doubt?",
            x=Axis(label="case", kind="category"),
            y=Axis(label="change", unit="share"),
            across=True,
            missing="nothing was compared; see --llm-compare and --llm-ab",
        )
    ]


def _chart(metric: str, found: list[Judged]) -> Chart:
    order = sorted(found, key=lambda one: (BY_GRAVITY.index(one.judgment.verdict), -_worse(one.judgment)))
    shown, note = bounded(order, (one.label for one in order), MOST_ROWS)
    names = [f"{one.label}{_more(one.judgment)}" for one in shown]
    series = []
    for place, verdict in enumerate(BY_GRAVITY):
        those = [(row, one.judgment) for row, one in enumerate(shown) if one.judgment.verdict is verdict]
        if those:
            series.append(
                Series(
                    name=str(verdict),
                    shape="interval",
                    points=tuple((float(row), *interval_of(one)) for row, one in those),
                    labels=tuple(together(verdict_of(one), one.reason) or "" for _, one in those),
                    color=place,
                )
            )
    allowed = {one.judgment.threshold for one in shown}
    sign = METRICS[metric].sign
    same = next(iter(allowed)) if len(allowed) == 1 else None
    lines = [Line(value=0.0, label="no change")]
    if same is not None:
        lines.append(Line(value=sign * same, label="allowed", role="threshold"))
    else:
        points = [
            (float(row), sign * one.judgment.threshold)
            for row, one in enumerate(shown)
            if one.judgment.threshold is not None
        ]
        if points:
            series.append(Series(name="allowed", shape="scatter", points=tuple(points), role="threshold"))
    sure = confidence_of(shown)
    bars = f"Bars: {sure} intervals." if sure else "It repeats itself, and has no intervals."
    head = head_of(metric)
    unit = METRICS[metric].unit
    worse = "to the right" if sign > 0 else "to the left"
    return Chart(
        id=slug("change", metric),
        title=f"Change of {head}",
        question=f"How much did {head} change from the baseline in each case, and how sure is that?",
        x=Axis(label="case", kind="category", categories=tuple(names)),
        y=Axis(label=f"change of {head}", unit="share"),
        across=True,
        series=tuple(series),
        lines=tuple(lines),
        columns=(
            Column(head="case"),
            Column(head="base", unit=unit),
            Column(head="now", unit=unit),
            Column(head="change", unit="share"),
            Column(head="low", unit="share"),
            Column(head="high", unit="share"),
            Column(head="allowed", unit="share"),
            Column(head="verdict"),
            Column(head="n"),
        ),
        rows=tuple(
            (
                name,
                one.judgment.base,
                one.judgment.now,
                *interval_of(one.judgment),
                one.judgment.threshold,
                verdict_of(one.judgment),
                one.judgment.n,
            )
            for name, one in zip(names, shown, strict=True)
        ),
        note=together(f"Worse is {worse}.", bars, note),
    )


def _more(judgment: Judgment) -> str:
    """What a judgment is of beside its metric: a percentile."""
    name = judged_name(judgment)
    return "" if name in (judgment.metric, METRICS[judgment.metric].head) else f", {name}"


def _worse(judgment: Judgment) -> float:
    return judgment.change or 0.0


def interval_of(judgment: Judgment) -> tuple[float | None, float | None, float | None]:
    """The change and the ends of its interval, with the sign that the numbers have."""
    low, high = (natural(judgment, end) for end in (judgment.low, judgment.high))
    ends = (high, low) if judgment.better == "higher" else (low, high)
    return (natural(judgment, judgment.change), *ends)


def confidence_of(shown: Sequence[Judged]) -> str:
    """Of the intervals: ``95%``, ``95% and 99%``; empty without any."""
    known = sorted({one.judgment.confidence for one in shown if one.judgment.confidence is not None})
    return " and ".join(f"{value:.0%}" for value in known)

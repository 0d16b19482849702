"""How does speed change with what the model has already read, or has to read?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import (
    Entry,
    axis_of,
    bounded,
    entries,
    head_of,
    kind_of,
    median_of,
    names_of,
    parts,
    slug,
    together,
    work,
)
from pytest_llmbench.report.charts.model import Axis, Chart, Column, Series
from pytest_llmbench.report.load import load_of

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, ResultsDocument

FEWEST = 2
"""Lengths that make a curve."""


@dataclass(frozen=True, slots=True)
class _Length:
    """What a curve runs over."""

    name: str
    axis: Axis
    setting: str
    of: Callable[[CaseRecord], float | None]
    metrics: tuple[str, ...]
    question: str
    missing: str


def _depth(case: CaseRecord) -> float | None:
    return None if case.protocol.depth is None else float(case.protocol.depth)


def _prompt(case: CaseRecord) -> float | None:
    if case.protocol.depth:
        return None
    known = [one.prompt_tokens for one in case.rounds if one.prompt_tokens is not None]
    return float(median(known)) if known else None


_DEPTH = _Length(
    "depth",
    Axis(label="depth", unit="tokens"),
    "depth",
    _depth,
    ("ttft", "tpot", "decode_throughput", "uncached_prefill_throughput"),
    "How does {} change with the tokens that lie in the cache before the prompt?",
    "no two cases differ in their depth alone; a suite measures some with depth: 1024-8192*2",
)
_PROMPT = _Length(
    "prompt",
    Axis(label="prompt length", unit="tokens"),
    "prompt_tokens",
    _prompt,
    ("ttft", "prefill_throughput"),
    "How does {} change with the length of the prompt?",
    "no two cases differ in the length of their prompt alone; a suite measures some with "
    "prompt_tokens: 32-2048*4",
)


def depths(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """Latencies and throughputs against the depth: a chart for each metric."""
    return _curves(documents, _DEPTH)


def prompt_lengths(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """TTFT and prefill throughput against the length of the prompt."""
    return _curves(documents, _PROMPT)


def _curves(documents: Sequence[ResultsDocument], length: _Length) -> list[Chart]:
    curves = _alike(documents, length)
    charts = [
        _chart(with_values, length, metric)
        for metric in length.metrics
        if (with_values := [one for one in curves if sum(metric in c.metrics for _, c in one[1]) >= FEWEST])
    ]
    first = length.metrics[0]
    return charts or [
        Chart(
            id=length.name,
            title=f"Speed against {length.axis.label}",
            question=length.question.format("speed"),
            x=length.axis,
            y=axis_of(first),
            missing=length.missing,
        )
    ]


def _alike(
    documents: Sequence[ResultsDocument], length: _Length
) -> list[tuple[str, list[tuple[float, CaseRecord]]]]:
    """The cases that differ in their length alone, by rising length, and each curve's name."""
    found: dict[tuple[object, ...], list[tuple[float, Entry]]] = {}
    for entry in entries(documents):
        at = length.of(entry.case)
        protocol = entry.case.protocol
        if at is None or entry.base_side or protocol.turn is not None or load_of(entry.case) is not None:
            continue
        key = (tuple(parts(entry, length.setting).items()), work(entry, length.setting, "prompts"))
        found.setdefault(key, []).append((at, entry))
    curves = [
        sorted(members, key=lambda one: one[0])
        for members in found.values()
        if len({at for at, _ in members}) >= FEWEST
    ]
    names = names_of([parts(members[0][1], length.setting) for members in curves])
    return [
        (name, [(at, entry.case) for at, entry in members])
        for name, members in zip(names, curves, strict=True)
    ]


def _chart(
    curves: Sequence[tuple[str, list[tuple[float, CaseRecord]]]], length: _Length, metric: str
) -> Chart:
    shown, note = bounded(curves, (name for name, _ in curves))
    unit = METRICS[metric].unit
    lengths = [at for _, members in shown for at, _ in members]
    values = [median_of(case, metric) for _, members in shown for _, case in members]
    # Both logarithmic, so that what grows with the length is a straight line.
    kind = kind_of(values) if (x_kind := kind_of(lengths)) == "log" else "value"
    y = axis_of(metric)
    return Chart(
        id=slug(length.name, metric),
        title=f"{head_of(metric)} against {length.axis.label}",
        question=length.question.format(head_of(metric)),
        x=Axis(label=length.axis.label, unit=length.axis.unit, kind=x_kind),
        y=Axis(label=y.label, unit=y.unit, kind=kind),
        series=tuple(
            Series(name=name, points=tuple((at, median_of(case, metric)) for at, case in members))
            for name, members in shown
        ),
        columns=(
            Column(head="cases"),
            Column(head=length.axis.label, unit="tokens"),
            Column(head=head_of(metric), unit=unit),
            Column(head="rounds"),
        ),
        rows=tuple(
            (name, at, median_of(case, metric), len(case.rounds))
            for name, members in shown
            for at, case in members
        ),
        note=together("Medians.", note),
    )

"""How much slower is too slow, and in which metrics?

A threshold is relative (``5%``, ``0.05``: so much worse than the baseline), or an absolute limit in
the metric's good direction (``<300ms``, ``<2GiB``, ``>50``). It may be one of a percentile:
``ttft.p99:<300ms`` allows 1% of the values beyond 300 ms. ``off`` takes a metric out of the gate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.errors import UsageError, saying_where
from pytest_llmbench.metrics.reading import NUMBER, factors
from pytest_llmbench.metrics.row import Metric
from pytest_llmbench.metrics.table import METRICS, gated_metrics

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord

ClockChoice = Literal["auto", "wall", "cpu"]
"""By which clock a case is judged; ``auto``: the wall's, and the CPU's where noise leaves that undecided."""

_SIGN = {"lower": "<", "higher": ">"}
_RELATIVE = re.compile(rf"\s*({NUMBER})\s*(%?)\s*")
_LIMIT = re.compile(rf"\s*([<>])=?\s*({NUMBER})\s*([^\s0-9].*?)?\s*")
_PERCENTILE = re.compile(r"p([0-9]+(?:\.[0-9]+)?)")
_OFF = "off"


@dataclass(frozen=True, slots=True)
class Threshold:
    """What one metric may not cross; ``relative`` or ``limit`` is set, or neither: it does not gate."""

    metric: str
    relative: float | None = None
    """The allowed worsening: 0.05 is 5% slower."""
    limit: float | None = None
    """The absolute bound, in the metric's unit."""
    written: str = ""
    """The limit as it was written, with its sign and unit."""
    percentile: float | None = None
    """Of which values: 99 judges the share of the values beyond it; None, their center."""
    asked: bool = True
    """A person named it, so that it cannot be passed over when the metric was not measured."""

    @property
    def definition(self) -> Metric:
        """The metric's row in the table."""
        return METRICS[self.metric]

    @property
    def name(self) -> str:
        """``ttft`` or ``ttft.p99``."""
        return self.metric if self.percentile is None else f"{self.metric}.p{self.percentile:g}"

    @property
    def off(self) -> bool:
        """Whether the metric does not gate."""
        return self.relative is None and self.limit is None

    @property
    def value(self) -> str:
        """``5%``, ``<300ms`` or ``off``: what a person reads, and :func:`parse_threshold` too."""
        if self.relative is not None:
            return f"{round(self.relative * 100, 10):.10g}%"
        if self.limit is not None:
            return self.written or f"{_SIGN[self.definition.better]}{self.limit:g}{self.definition.unit}"
        return _OFF


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """The thresholds of ``METRIC:VALUE[,VALUE]``, as the command line has them.

    :raises UsageError: for an unknown metric, or a value, unit or direction that is not valid.
    """
    name, colon, values = text.partition(":")
    if not colon or not values.strip():
        msg = f"{text!r} is not METRIC:VALUE, such as tpot:5% or ttft:<300ms"
        raise UsageError(msg)
    return tuple(parse_threshold(name.strip(), value) for value in values.split(","))


def read_thresholds(value: object) -> tuple[Threshold, ...]:
    """The thresholds of a marker: ``{"ttft": ["10%", "<300ms"], "peak_rss": 0.02}``.

    :raises UsageError: as :func:`parse_thresholds`, and for anything but such a mapping.
    """
    if not isinstance(value, Mapping):
        msg = f'{value!r} is not a mapping such as {{"ttft": "10%", "peak_rss": "<2GiB"}}'
        raise UsageError(msg)
    return tuple(
        parse_threshold(str(name), one)
        for name, several in value.items()
        for one in (several if isinstance(several, list | tuple) else [several])
    )


def as_text(thresholds: Iterable[Threshold]) -> dict[str, str | list[str]]:
    """*thresholds* as a document keeps them; :func:`read_thresholds` reads them again."""
    several: dict[str, list[str]] = {}
    for one in thresholds:
        several.setdefault(one.name, []).append(one.value)
    return {name: texts if len(texts) > 1 else texts[0] for name, texts in several.items()}


def parse_threshold(name: str, value: str | float) -> Threshold:
    """One threshold of the metric *name* (``ttft``, ``ttft.p99``).

    :raises UsageError: as :func:`parse_thresholds`.
    """
    metric, percentile = _metric(name)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        msg = f"the threshold of {name} is {value!r}; use {_examples(metric)}"
        raise UsageError(msg)
    if value == _OFF:
        return Threshold(metric.name, percentile=percentile)
    if isinstance(value, str) and (found := _LIMIT.fullmatch(value)) is not None:
        limit = _limit(metric, found[1], found[2], found[3] or "", f"{name}:{value}")
        written = "".join(value.replace("=", "").split())
        return Threshold(metric.name, limit=limit, written=written, percentile=percentile)
    match = _RELATIVE.fullmatch(str(value))
    if match is None:
        msg = f"{value!r} is not a threshold of {name}; use {_examples(metric)}"
        raise UsageError(msg)
    relative = float(match[1]) / (100 if match[2] else 1)
    if relative >= 1:
        msg = (
            f"the threshold of {name} must be below 100%, and {value} is {relative:.0%}; "
            f"use {_examples(metric)}"
        )
        raise UsageError(msg)
    return Threshold(metric.name, relative=relative, percentile=percentile)


def default_thresholds(metrics: Iterable[str] | None = None) -> tuple[Threshold, ...]:
    """The thresholds of the *metrics* that gate where none was given: as the table of metrics allows it.

    :param metrics: by default those that gate by the table.

    :raises UsageError: for an unknown metric.
    """
    names = gated_metrics() if metrics is None else metrics
    found = [_metric(name)[0] for name in names]
    return tuple(Threshold(metric.name, relative=metric.allowed, asked=False) for metric in found)


def merge_thresholds(*layers: Sequence[Threshold]) -> tuple[Threshold, ...]:
    """What holds when several places say something, the weakest first.

    A later relative threshold replaces an earlier one of the same metric or percentile, and a later
    limit an earlier limit; ``off`` replaces both, until a still later layer says otherwise. That of a metric
    of the CPU's clock is in what is returned: nothing may stand for it by :func:`on_cpu`.
    """
    merged: dict[tuple[str, bool], Threshold] = {}
    for threshold in (one for layer in layers for one in layer):
        if threshold.off:
            merged.pop((threshold.name, True), None)
            merged.pop((threshold.name, False), None)
            if threshold.definition.clock == "cpu" and threshold.percentile is None:
                merged[threshold.name, False] = threshold
        else:
            merged[threshold.name, threshold.limit is not None] = threshold
    order = list(METRICS)
    return tuple(sorted(merged.values(), key=lambda t: (order.index(t.metric), t.name, t.limit is not None)))


def on_cpu(thresholds: Iterable[Threshold]) -> tuple[Threshold, ...]:
    """What *thresholds* of the wall's clock allow of the metrics that tell the same of the CPU's clock.

    The strictest of several; none of a metric that has a relative threshold among them already, or is off.
    Limits and percentiles are of the wall's clock alone.
    """
    given = {t.metric for t in thresholds if t.relative is not None or t.off}
    found: dict[str, Threshold] = {}
    for one in thresholds:
        name = METRICS[one.metric].on_cpu
        if name is None or name in given or one.relative is None or one.percentile is not None:
            continue
        if name not in found or one.relative < (found[name].relative or 0.0):
            found[name] = Threshold(name, relative=one.relative, asked=False)
    return tuple(found.values())


def by_clock(thresholds: Sequence[Threshold], clock: ClockChoice) -> tuple[Threshold, ...]:
    """What holds where one clock judges: for the CPU's, CPU times stand for latencies and rates."""
    if clock != "cpu":
        return tuple(thresholds)
    left = (
        t
        for t in thresholds
        if t.relative is None or t.percentile is not None or METRICS[t.metric].on_cpu is None
    )
    return merge_thresholds(tuple(left), on_cpu(thresholds))


def kept_thresholds(case: CaseRecord) -> tuple[Threshold, ...]:
    """The thresholds that the case's own marker gave, where its document kept them."""
    if not case.thresholds:
        return ()
    with saying_where(f"{case.nodeid}: thresholds"):
        return read_thresholds(case.thresholds)


def thresholds_of(
    command_line: Sequence[Threshold] = (), metrics: Iterable[str] | None = None
) -> Callable[[CaseRecord], tuple[Threshold, ...]]:
    """What holds for each case: the command line, then what its document kept, then the defaults."""
    defaults = default_thresholds(metrics)
    plain = merge_thresholds(defaults, command_line)

    def of(case: CaseRecord) -> tuple[Threshold, ...]:
        kept = kept_thresholds(case)
        return merge_thresholds(defaults, kept, command_line) if kept else plain

    return of


def _metric(name: str) -> tuple[Metric, float | None]:
    plain, dot, tail = name.partition(".")
    metric = METRICS.named(plain)
    if metric.judged == "never":
        msg = f"{plain} is reported and never judged, so it has no threshold; leave it out"
        raise UsageError(msg)
    if not dot:
        return metric, None
    found = _PERCENTILE.fullmatch(tail)
    if found is None or not 50 <= float(found[1]) < 100:
        msg = f"{name!r} is not a percentile of {plain}; use {plain}.p95 or {plain}.p99"
        raise UsageError(msg)
    return metric, float(found[1])


def _limit(metric: Metric, sign: str, number: str, unit: str, given: str) -> float:
    wanted = _SIGN[metric.better]
    if sign != wanted:
        msg = f"{given}: {metric.name} is better when {metric.better}, so its limit is {wanted}{number}{unit}"
        raise UsageError(msg)
    known = factors(metric.unit)
    if unit not in known:
        names = ", ".join(name for name in known if name)
        said = f"has no unit {unit!r}" if unit else "needs a unit"
        msg = f"{given}: {metric.name} {said}; it has {names}"
        raise UsageError(msg)
    return float(number) * known[unit]


def _examples(metric: Metric) -> str:
    limit = {"s": "300ms", "bytes": "2GiB", "J": "5J", "J/token": "50mJ"}.get(metric.unit, "50")
    return f"a relative one such as 5% or 0.05, a limit such as {_SIGN[metric.better]}{limit}, or off"

"""How is one judgement told: as the cells of a row, and in full?"""

from __future__ import annotations

import math
import textwrap
from typing import NamedTuple

from pytest_llmbench.gate.verdict import Judgement
from pytest_llmbench.gate.words import count, percent
from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report import rows


class Cells(NamedTuple):
    """One judgement, as text."""

    metric: str
    base: str
    now: str
    change: str
    interval: str
    threshold: str
    verdict: str
    n: str
    sees: str


HEADS = Cells("metric", "base", "now", "change", "interval", "allowed", "verdict", "n", "sees")


def cells(judgement: Judgement) -> Cells:
    """One judgement as the cells of a row; ``sees`` is the smallest detectable effect."""
    metric = METRICS[judgement.metric]
    base, now = (_value(value, metric.unit) for value in (judgement.base, judgement.now))
    return Cells(
        metric=judged_name(judgement),
        base=base,
        now=now,
        change=_signed(_natural(judgement, judgement.change)),
        interval=_interval(judgement),
        threshold=_threshold(judgement),
        verdict=judgement.verdict.value,
        n=f"{judgement.n}{rows.DISTURBED_MARK}{judgement.dropped}" if judgement.dropped else str(judgement.n),
        sees=_share(judgement.detectable),
    )


def headline_of(judgement: Judgement) -> str:
    """The judgement in a few words: ``ttft +36 % (+30 to +44)``, ``ttft.p99 1.20 s, limit <1s``."""
    name = judged_name(judgement)
    if judgement.change is None:
        now = units.quantity(judgement.now, METRICS[judgement.metric].unit)
        what = "limit" if judgement.threshold is None else "allowed"
        return f"{name} {now}, {what} {_threshold(judgement)}"
    change = signed(_natural(judgement, judgement.change) or 0.0)
    interval = _interval(judgement)
    within = "" if interval == units.UNKNOWN else f" ({interval.replace('…', ' to ')})"
    return f"{name} {change}{within}"


def explain(judgement: Judgement) -> str:
    """The judgement in full, several lines: what a failed test says."""
    metric = METRICS[judgement.metric]
    lines = [f"{judged_name(judgement)}: {judgement.verdict}"]

    def add(what: str, text: str) -> None:
        lines.extend(textwrap.wrap(f"  {what:<10}{text}", 88, subsequent_indent=" " * 12))

    if judgement.base is not None:
        add("base", units.quantity(judgement.base, metric.unit))
    if judgement.now is not None:
        add("now", units.quantity(judgement.now, metric.unit))
    if judgement.change is not None:
        add("change", _said_change(judgement))
    details = judgement.details
    if judgement.method == "limit" and details.get("now_low") is not None and judgement.confidence:
        ends = " to ".join(units.quantity(details[key], metric.unit) for key in ("now_low", "now_high"))
        add("interval", f"{ends}, {percent(judgement.confidence)}")
    if "beyond" in details and details.get("limit") is not None:
        add(
            "beyond",
            f"{details['beyond']} of {details['values']} values are {_over(judgement)} "
            f"{units.quantity(details['limit'], metric.unit)}; {percent(details['allowed_share'])} may",
        )
    add("threshold", _said_threshold(judgement))
    dropped = f", {judgement.dropped} dropped: the machine was disturbed" if judgement.dropped else ""
    pairs = judgement.method == "signed-rank"
    n = count(judgement.n, "pair") if pairs else count(judgement.n, "process", "processes")
    order = f"; {details['order']}" if "order" in details else ""
    add("judged by", f"{judgement.method}, {n}{dropped}{order}")
    if judgement.detectable is not None:
        add("sees", f"changes from {_spaced(_share(judgement.detectable))} on, in 4 of 5 such comparisons")
    if judgement.reason:
        add("why", judgement.reason)
    return "\n".join(lines)


def judged_name(judgement: Judgement) -> str:
    """``ttft`` or ``ttft.p99``."""
    percentile = judgement.details.get("percentile")
    return judgement.metric if percentile is None else f"{judgement.metric}.p{percentile:g}"


def _value(value: float | None, unit: str) -> str:
    return units.rate(value) if unit.endswith("/s") else units.quantity(value, unit)


def _natural(judgement: Judgement, change: float | None) -> float | None:
    """A change with the sign of the numbers: a throughput that fell has a minus."""
    return change if change is None or judgement.better == "lower" else -change


def signed(ratio: float) -> str:
    """A change in a sentence: ``+36 %``, ``-1.2 %``."""
    return f"{_signed(ratio).removesuffix('%')} %"


def _signed(ratio: float | None) -> str:
    if ratio is None or not math.isfinite(ratio):
        return units.UNKNOWN
    percent = ratio * 100
    if abs(percent) < 0.05:
        return "0.0%"
    return f"{percent:+.1f}%" if abs(percent) < 9.95 else f"{percent:+.0f}%"


def _interval(judgement: Judgement) -> str:
    ends = [_natural(judgement, end) for end in (judgement.low, judgement.high)]
    if judgement.better == "higher":
        ends.reverse()
    texts = [_signed(end) for end in ends]
    if units.UNKNOWN in texts:
        return units.UNKNOWN
    return f"{texts[0].removesuffix('%')}…{texts[1].removesuffix('%')}"


def _threshold(judgement: Judgement) -> str:
    written = judgement.details.get("written")
    return str(written) if written else _share(judgement.threshold)


def _share(ratio: float | None) -> str:
    if ratio is None or not math.isfinite(ratio):
        return units.UNKNOWN
    percent = ratio * 100
    return f"{percent:.0f}%" if percent >= 9.95 else f"{percent:.2g}%"


def _spaced(text: str) -> str:
    """``5%`` as a sentence has it."""
    return f"{text.removesuffix('%')} %" if text.endswith("%") else text


def _over(judgement: Judgement) -> str:
    return "over" if judgement.better == "lower" else "under"


def _said_change(judgement: Judgement) -> str:
    change = signed(_natural(judgement, judgement.change) or 0.0)
    word = "worse" if (judgement.change or 0) > 0 else "better"
    text = change if change.startswith("0") else f"{change} ({word})"
    interval = _interval(judgement)
    if interval == units.UNKNOWN or judgement.confidence is None:
        return text
    low, high = interval.split("…")
    return f"{text}, {percent(judgement.confidence)} interval {low} % to {high} %"


def _said_threshold(judgement: Judgement) -> str:
    said = _spaced(_threshold(judgement))
    base = "base side" if judgement.method == "signed-rank" else "baseline"
    return f"{said} worse than the {base}" if judgement.threshold is not None else said

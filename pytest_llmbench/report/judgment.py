"""How is one judgment shown: as the cells of a row, and in full?"""

from __future__ import annotations

import math
import re
import textwrap
from typing import NamedTuple

from pytest_llmbench.measure.run import UNWATCHED
from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import count, precise_percent
from pytest_llmbench.report import rows
from pytest_llmbench.results.verdict import UNDECIDED, Judgment, Verdict


class Cells(NamedTuple):
    """One judgment, as text."""

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


def cells(judgment: Judgment) -> Cells:
    """One judgment as the cells of a row; ``sees`` is the smallest detectable effect."""
    metric = METRICS[judgment.metric]
    base, now = (units.cell(value, metric.unit) for value in (judgment.base, judgment.now))
    return Cells(
        metric=judged_name(judgment),
        base=base,
        now=now,
        change=signed(natural(judgment, judgment.change)),
        interval=_interval(judgment),
        threshold=_threshold(judgment),
        verdict=verdict_of(judgment),
        n=f"{judgment.n}{rows.DISTURBED_MARK}{judgment.dropped}" if judgment.dropped else str(judgment.n),
        sees=precise_percent(judgment.detectable),
    )


def headline_of(judgment: Judgment) -> str:
    """The judgment in a few words: ``ttft +36% (+30 to +44)``, ``ttft.p99 1.20 s, limit <1s``."""
    name = judged_name(judgment)
    if judgment.change is None:
        now = units.quantity(judgment.now, METRICS[judgment.metric].unit)
        what = "limit" if judgment.threshold is None else "allowed"
        return f"{name} {now}, {what} {_threshold(judgment)}"
    change = signed(natural(judgment, judgment.change) or 0.0)
    interval = _interval(judgment)
    within = "" if interval == units.UNKNOWN else f" ({interval.replace('…', ' to ')})"
    noisy = ", noisy" if judgment.noise else ""
    instead = f", judged instead of {', '.join(judgment.stands_for)}" if judgment.stands_for else ""
    return f"{name} {change}{within}{noisy}{instead}"


def verdict_of(judgment: Judgment) -> str:
    """The verdict in a word: ``fail``, ``fail (noisy)``. Of one that is not decided, its reason says why."""
    noisy = judgment.noise and judgment.verdict not in UNDECIDED
    return f"{judgment.verdict} (noisy)" if noisy else judgment.verdict.value


def noise_of(judgment: Judgment) -> str | None:
    """What other load did to a judgment, and what that cost; None if nothing, or if it is the reason anyway.

    For example ``noisy: 9 of 12 pairs were disturbed and used (foreign_cpu 9); sees changes from 12% on``.
    """
    if not judgment.noise or judgment.verdict is Verdict.INVALID:
        return None
    sees = f"; sees changes from {precise_percent(judgment.detectable)} on" if judgment.detectable else ""
    return f"noisy: {_disturbed(judgment)}{sees}"


def stands_instead(judgment: Judgment) -> str | None:
    """For which metrics a judgment of the CPU's clock stands; None if it was asked for."""
    if not judgment.stands_for:
        return None
    return f"judged instead of {' and '.join(judgment.stands_for)}, which noise left undecided"


def decided_elsewhere(judgment: Judgment) -> str | None:
    """By what a metric is decided that noise left undecided, and what was in its way; None if by itself."""
    if judgment.decided_by is None:
        return None
    # What would decide the metric itself is not wanted any more.
    reason = re.split("; |: measure again", judgment.reason or "", maxsplit=1)[0]
    why = f": {reason}" if reason else ""
    return f"decided by {judgment.decided_by}, as this is {judgment.verdict}{why}"


def explain(judgment: Judgment) -> str:
    """The judgment in full, several lines: what a failed test says."""
    metric = METRICS[judgment.metric]
    lines = [f"{judged_name(judgment)}: {verdict_of(judgment)}"]

    def add(what: str, text: str) -> None:
        lines.extend(textwrap.wrap(f"  {what:<10}{text}", 88, subsequent_indent=" " * 12))

    if judgment.base is not None:
        add("base", units.quantity(judgment.base, metric.unit))
    if judgment.now is not None:
        add("now", units.quantity(judgment.now, metric.unit))
    if judgment.change is not None:
        add("change", _said_change(judgment))
    details = judgment.details
    if judgment.method == "limit" and details.get("now_low") is not None and judgment.confidence:
        ends = " to ".join(units.quantity(details[key], metric.unit) for key in ("now_low", "now_high"))
        add("interval", f"{ends}, {precise_percent(judgment.confidence)}")
    if "beyond" in details and details.get("limit") is not None:
        add(
            "beyond",
            f"{details['beyond']} of {details['values']} values are {_over(judgment)} "
            f"{units.quantity(details['limit'], metric.unit)}; "
            f"{precise_percent(details['allowed_share'])} may",
        )
    add("threshold", _said_threshold(judgment))
    pairs = judgment.method == "signed-rank"
    n = count(judgment.n, "pair") if pairs else count(judgment.n, "process", "processes")
    order = f"; {details['order']}" if "order" in details else ""
    add("judged by", f"{judgment.method}, {n}{_left_out(judgment)}{order}")
    if judgment.noise and judgment.verdict is not Verdict.INVALID:
        add("noisy", _disturbed(judgment))
    if judgment.detectable is not None:
        add("sees", f"changes from {precise_percent(judgment.detectable)} on, in 4 of 5 such comparisons")
    if (instead := stands_instead(judgment)) is not None:
        add("note", instead)
    if (decided := decided_elsewhere(judgment)) is not None:
        add("note", decided)
    elif judgment.reason:
        add("why", judgment.reason)
    return "\n".join(lines)


def judged_name(judgment: Judgment) -> str:
    """``ttft`` or ``ttft.p99``."""
    percentile = judgment.details.get("percentile")
    return judgment.metric if percentile is None else f"{judgment.metric}.p{percentile:g}"


def _disturbed(judgment: Judgment) -> str:
    """``9 of 12 pairs were disturbed and used (foreign_cpu 9)``; of stored sessions, rounds."""
    codes = judgment.noise or {}
    how = "disturbed or not watched" if UNWATCHED in codes else "disturbed"
    said = ", ".join(f"{code} {n}" for code, n in codes.items())
    if judgment.method != "signed-rank":
        return f"rounds were {how} and used ({said})"
    n = judgment.details.get("disturbed", max(codes.values(), default=0))
    return f"{n} of {count(judgment.n, 'pair')} {'was' if n == 1 else 'were'} {how} and used ({said})"


def _left_out(judgment: Judgment) -> str:
    """``, 3 more left out: foreign_cpu (3)``; empty for none."""
    if not judgment.dropped:
        return ""
    reasons: dict[str, int] = judgment.details.get("dropped") or {}
    why = ", ".join(f"{reason} ({n})" for reason, n in sorted(reasons.items()))
    more = " more" if judgment.n else ""
    return f", {judgment.dropped}{more} left out: {why or 'the machine was disturbed'}"


def natural(judgment: Judgment, change: float | None) -> float | None:
    """A change with the sign of the numbers: a throughput that fell has a minus."""
    return change if change is None or judgment.better == "lower" else -change


def signed(ratio: float | None) -> str:
    """A change: ``+36%``, ``-1.2%``."""
    if ratio is None or not math.isfinite(ratio):
        return units.UNKNOWN
    percent = ratio * 100
    if abs(percent) < 0.05:
        return "0.0%"
    return f"{percent:+.1f}%" if abs(percent) < 9.95 else f"{percent:+.0f}%"


def _interval(judgment: Judgment) -> str:
    ends = [natural(judgment, end) for end in (judgment.low, judgment.high)]
    if judgment.better == "higher":
        ends.reverse()
    texts = [signed(end) for end in ends]
    if units.UNKNOWN in texts:
        return units.UNKNOWN
    return f"{texts[0].removesuffix('%')}…{texts[1].removesuffix('%')}"


def _threshold(judgment: Judgment) -> str:
    written = judgment.details.get("written")
    return str(written) if written else precise_percent(judgment.threshold)


def _over(judgment: Judgment) -> str:
    return "over" if judgment.better == "lower" else "under"


def _said_change(judgment: Judgment) -> str:
    change = signed(natural(judgment, judgment.change) or 0.0)
    word = "worse" if (judgment.change or 0) > 0 else "better"
    text = change if change.startswith("0") else f"{change} ({word})"
    interval = _interval(judgment)
    if interval == units.UNKNOWN or judgment.confidence is None:
        return text
    low, high = interval.split("…")
    return f"{text}, {precise_percent(judgment.confidence)} interval {low}% to {high}%"


def _said_threshold(judgment: Judgment) -> str:
    said = _threshold(judgment)
    base = "base side" if judgment.method == "signed-rank" else "baseline"
    return f"{said} worse than the {base}" if judgment.threshold is not None else said

"""Did a number change that hardly varies: memory, or a count of tokens?

No test is needed where a repetition gives the same value. What little the values vary is measured
by their range, so that a metric that does not repeat itself does not fail by chance. Of a single
value on either side no range is known: then the tolerance has to be more than the values vary.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import precise_percent
from pytest_llmbench.results.verdict import Judgment, Verdict

MARGIN = 3.0
"""So many ranges within a side must lie between the sides: chance alone puts less than 1% there
for five values or more, 1 to 2% for four, whatever they vary by."""


def judge_exact(
    metric: str,
    base: Sequence[float],
    now: Sequence[float],
    tolerance: float,
    *,
    dropped: int = 0,
) -> Judgment:
    """Compare the values of all processes of the baseline (of all its sessions) with those of now.

    The interval of the change goes from the kindest pair of values to the unkindest. ``fail``: even
    the kindest is beyond *tolerance* and beyond three times the range within either side. ``pass``: even the
    unkindest is within the tolerance, or the medians are and the ranges overlap.

    A negative value is of a metric that has no relative change: ``invalid``.
    """
    verdict, reason = Verdict.INCONCLUSIVE, None
    change = low = high = None
    improved = False
    if not base or not now:
        what = "the baseline" if not base else "this session"
        verdict = Verdict.INVALID if base else Verdict.NEW
        reason = f"{what} has no value of {metric}"
    elif min(*base, *now) < 0:
        verdict = Verdict.INVALID
        reason = "a negative value has no relative change"
    elif min(base) == 0 or min(now) == 0:
        same = set(base) == set(now) == {0}
        worse = METRICS[metric].better == "higher" if min(now) == 0 else METRICS[metric].better == "lower"
        verdict = Verdict.PASS if same or not worse else Verdict.FAIL
        change = 0.0 if same else None
        reason = None if same else "a change from or to 0 has no percentage"
    else:
        lower = METRICS[metric].better == "lower"
        ends = (min(now) / max(base), median(now) / median(base), max(now) / min(base))
        low, change, high = (r - 1 for r in ends) if lower else (1 - r for r in reversed(ends))
        spread = max((max(side) - min(side)) / median(side) for side in (base, now))
        margin = max(tolerance, MARGIN * spread)
        if low > margin:
            verdict = Verdict.FAIL
        elif high <= tolerance or (change <= tolerance and low <= 0 <= high):
            verdict = Verdict.PASS
            improved = -high > margin
        else:
            reason = (
                f"its own values vary by {precise_percent(spread)}, so the change of "
                f"{precise_percent(change)} is not beyond doubt; "
                "measure more processes, or allow more than they vary"
            )
    return Judgment(
        metric=metric,
        verdict=verdict,
        base=median(base) if base else None,
        now=median(now) if now else None,
        change=change,
        low=low,
        high=high,
        threshold=tolerance,
        method="exact",
        n=len(now),
        dropped=dropped,
        reason=reason,
        improved=improved,
    )

"""Is a metric within an absolute limit, and are its slowest values within theirs?

A limit on the center is judged by its confidence interval over processes; a limit on a percentile
by how many values lie beyond it: 300 ms for p99 is kept if at most 1% of the values are beyond
300 ms. A bootstrapped p99 would be the second largest of a hundred values and little else.

Values are turned so that larger is worse: the p99 of a throughput is a low one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pytest_llmbench.gate.statistics import exceedance, prediction_bound, quantile_bound, t_quantile
from pytest_llmbench.gate.thresholds import Threshold
from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import count, precise_percent
from pytest_llmbench.results.verdict import Judgment, Verdict

CONFIDENCE = 0.95
"""One-sided, of each of the two claims: within the limit, and beyond it."""

CASE_ALPHA = 0.01
"""The chance to fail a case whose percentile is just what is allowed of the baseline's."""
SESSION_LEVEL = 0.005
"""The chance that an unchanged engine's session lies beyond the limit to fail by."""
ENOUGH_SESSIONS = 3

_ALPHA = round(1 - CONFIDENCE, 12)


def judge_limit(threshold: Threshold, processes: Sequence[Sequence[float]], *, exact: bool) -> Judgment:
    """Judge the center of a metric against the absolute limit of *threshold*.

    :param processes: the values of each process, in the metric's unit; none empty.
    :param exact: the metric repeats itself, so that its worst value decides.

    With several processes the interval is Student's, over the logarithms of the processes'
    medians; with one it is that of the median of its rounds, from order statistics (Hahn and
    Meeker 1991, section 5.2), and does not speak for another process.
    """
    limit, worse = threshold.limit or 0.0, _worse(threshold)
    centers = [statistics.median(values) for values in processes]
    now = statistics.median(centers)
    low = high = worse * now
    reason = None
    if exact:
        now = max(centers, key=lambda value: worse * value)
        low = high = worse * now
    elif len(centers) > 1:
        low, high = _mean_interval([worse * center for center in centers])
    else:
        low, high = _quantile_interval([worse * value for value in processes[0]], 0.5)
        reason = "only one process was measured, and another may differ"
    if high <= worse * limit:
        verdict = Verdict.PASS
    elif low > worse * limit:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE
        known = math.isfinite(high - low)
        reason = (
            "the limit lies within the interval; more processes make it narrower"
            if known
            else f"{count(len(processes[0]), 'value')} of one process do not show how certain this is; "
            "measure 5 rounds or more, or several processes"
        )
    ends = sorted(worse * end for end in (low, high))
    return Judgment(
        metric=threshold.metric,
        verdict=verdict,
        now=now,
        confidence=None if exact else round(2 * CONFIDENCE - 1, 12),
        method="limit",
        n=len(centers),
        reason=reason,
        details={
            "limit": limit,
            "now_low": ends[0] if math.isfinite(ends[0]) else None,
            "now_high": ends[1] if math.isfinite(ends[1]) else None,
        },
    )


def judge_exceedance(
    threshold: Threshold, base: Sequence[Sequence[Sequence[float]]], now: Sequence[Sequence[float]]
) -> Judgment:
    """Judge a percentile by how many values lie beyond the limit: an exact binomial test.

    :param base: sessions, of processes, of values; only a relative threshold needs them.
    :param now: the values of each process; none empty.

    Values of one process are alike and tell less than as many independent ones: counts are divided
    by the design effect over processes (Korn and Graubard 1998). The limit of a relative threshold
    is the baseline's percentile, worse by what is allowed. To ``pass``, that is taken at the
    lower bound of order statistics; to ``fail``, no lower than what a new session of an unchanged
    engine stays below, which takes three sessions to know.
    """
    worse = _worse(threshold)
    q = threshold.percentile or 50.0
    allowed = round(1 - q / 100, 12)
    values = [value for process in now for value in process]
    near, far = _limits(threshold, base, q / 100)
    now_at = _percentile(threshold, values, q)
    base_at = change = None
    if threshold.relative is not None and base:
        base_at = statistics.median(
            _percentile(threshold, [value for process in session for value in process], q) for session in base
        )
        change = worse * (now_at / base_at - 1) if base_at else None
    # The near limit is what "beyond" is counted from in what a person reads.
    beyond, over, total = _beyond(now, near, worse)
    p = exceedance(*_beyond(now, far, worse)[1:], allowed)
    verdict, reason = Verdict.INCONCLUSIVE, None
    needed = math.ceil(math.log(_ALPHA) / math.log(q / 100))
    if p <= (_ALPHA if threshold.relative is None else CASE_ALPHA):
        verdict = Verdict.FAIL
    elif exceedance(over, total, allowed, "less") <= _ALPHA:
        verdict = Verdict.PASS
    elif threshold.relative is not None and len(base) < ENOUGH_SESSIONS:
        reason = (
            f"{count(len(base), 'stored session')} {'does' if len(base) == 1 else 'do'} not show how far the "
            f"p{q:g} of sessions lies apart: {ENOUGH_SESSIONS} do"
        )
    elif not (math.isfinite(near) and math.isfinite(far)):
        reason = f"the baseline has too few values to know its p{q:g}: {needed} in a session are needed"
    else:
        reason = (
            f"beyond the limit: {beyond} of {count(len(values), 'value')}, and {precise_percent(allowed)} "
            f"may be; that takes {needed} values, or more if any lies beyond"
        )
    return Judgment(
        metric=threshold.metric,
        verdict=verdict,
        base=base_at,
        now=now_at,
        change=change,
        confidence=CONFIDENCE,
        threshold=threshold.relative,
        method="exceedance",
        n=len(now),
        p=p,
        reason=reason,
        details={
            "percentile": q,
            "limit": worse * near if math.isfinite(near) else None,
            "values": len(values),
            "beyond": beyond,
            "allowed_share": allowed,
        },
    )


def _mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the geometric mean, whatever the sign; of the arithmetic one where there is a zero."""
    if min(values) <= 0 <= max(values):
        y, back = list(values), 0.0
    else:
        back = math.copysign(1.0, values[0])
        y = [back * math.log(abs(value)) for value in values]
    half = t_quantile(_ALPHA, len(y) - 1) * statistics.stdev(y) / math.sqrt(len(y))
    ends = (statistics.fmean(y) - half, statistics.fmean(y) + half)
    return ends if not back else (back * math.exp(back * ends[0]), back * math.exp(back * ends[1]))


def _quantile_interval(values: Sequence[float], q: float) -> tuple[float, float]:
    """Bounds of the quantile *q*, each with :data:`CONFIDENCE`; infinite where values are too few."""
    low = -quantile_bound([-value for value in values], 1 - q, CONFIDENCE)
    return low, quantile_bound(values, q, CONFIDENCE)


def _limits(threshold: Threshold, base: Sequence[Sequence[Sequence[float]]], q: float) -> tuple[float, float]:
    """The limit to pass by and the limit to fail by, larger is worse; infinite where not known."""
    worse = _worse(threshold)
    if threshold.relative is None:
        limit = worse * (threshold.limit or 0.0)
        return limit, limit
    if not base:
        return -math.inf, math.inf
    # A throughput is negative here, and smaller by what is allowed.
    factor = 1 + worse * threshold.relative
    sessions = [[worse * value for process in session for value in process] for session in base]
    bounds = [_quantile_interval(values, q) for values in sessions]
    near = factor * statistics.median(low for low, _ in bounds)
    if len(sessions) < ENOUGH_SESSIONS or not all(math.isfinite(high) for _, high in bounds):
        return near, math.inf
    # Sessions differ: it takes more than a new one may lie off to fail, and more than what is allowed.
    logs = [
        worse * math.log(worse * Summary(threshold.metric, tuple(v)).percentile(100 * q)) for v in sessions
    ]
    unlikely = worse * math.exp(worse * prediction_bound(logs, SESSION_LEVEL))
    return near, max(unlikely, factor * statistics.median(worse * math.exp(worse * y) for y in logs))


def _beyond(processes: Sequence[Sequence[float]], limit: float, worse: int) -> tuple[int, float, float]:
    """How many values lie beyond *limit*; this, and how many there are, as independent ones."""
    hits = [sum(worse * value > limit for value in process) for process in processes]
    sizes = [len(process) for process in processes]
    k, n, groups = sum(hits), sum(sizes), len(sizes)
    share = k / n
    effect = 1.0
    if groups > 1 and 0 < k < n:
        squares = sum((hit - share * size) ** 2 for hit, size in zip(hits, sizes, strict=True))
        effect = max(1.0, groups / (groups - 1) * squares / (n * share * (1 - share)))
    return k, k / effect, n / effect


def _percentile(threshold: Threshold, values: Sequence[float], q: float) -> float:
    return Summary(threshold.metric, tuple(values)).percentile(q if _worse(threshold) > 0 else 100 - q)


def _worse(threshold: Threshold) -> int:
    return 1 if METRICS[threshold.metric].better == "lower" else -1

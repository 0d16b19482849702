"""Is the new session slower than the stored ones?

The unit is a process, its value the median of its rounds; rounds are never pooled. The error term
is how far *sessions* lie apart, because a machine of today is not quite that of yesterday.

From three stored sessions on, that spread is estimated from them: a new session's mean log value
stays below a t prediction bound. Sessions are few, so :func:`pool_sessions` can lend the spread of
the other cases of the same sessions. With one or two sessions the spread between sessions cannot be
known from them. A calibration of this machine knows it (:class:`CalibratedNoise`); without one the
processes stand in for it, with a heavy allowance (:data:`SESSION_RATIO`). The verdict says which.

``fail`` takes two things: "nothing changed" is excluded at ``alpha / comparisons`` (at most
``case_alpha``), with an allowance for skewed noise where sessions lie far apart, and the interval
lies above the threshold. ``pass``: the interval lies below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pytest_llmbench.gate.paired import CASE_ALPHA
from pytest_llmbench.gate.statistics import (
    smallest_detectable,
    t_quantile,
    t_tail,
    to_change,
    to_log,
    worsening,
)
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import count, precise_percent
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.verdict import Judgment, Verdict

HEDGE = 0.5
"""Levels are halved: they hold for normal noise, and a few sessions do not show how heavy the tail is."""
SKEW_FROM = 0.03
MAX_SKEWNESS = 2.0
"""Sessions this far apart (in logs) are taken for normal; from there on the skewness that is allowed
for rises as the spread does, to that of an exponential: what spreads a machine's sessions widely is
rare slow spells. It sets the quantile higher by Cornish and Fisher's first term (1938)."""
SESSION_RATIO = 4.0
"""Between-session variance over process variance that is allowed for where it cannot be known.

Neighboring processes are alike: on a loaded machine the correlation of successive ones was seen
to be 0.8, so that three of them vary by a quarter of what distant ones do and hide three times of it.
"""
CALIBRATION_RATIO = 2.0
"""Variance of distant sessions over that of a calibration's, which is allowed for: these follow each
other within minutes, and neighbors are alike. Up to a correlation of 0.5 of successive sessions it
keeps the false failures below 1%, by simulation."""
ENOUGH_SESSIONS = 3
SESSIONS_WANTED = 5
"""So many show well how far they lie apart."""
MIN_POOLED_CASES = 6
"""Fewer cases than this say too little about how their spreads differ."""


@dataclass(frozen=True, slots=True)
class SessionNoise:
    """How far a session's mean log value lies from where it should, by other evidence than the case's own."""

    variance: float
    df: float
    """How many degrees of freedom the variance is worth for a single case; may be infinite."""
    cap: float = math.inf
    """At most so many, together with the case's own: sessions shift all their cases together."""

    def combined(self, own: float, own_df: float) -> tuple[float, float]:
        """The variance and its degrees of freedom, with a case's own variance (Smyth 2004, section 3)."""
        df = min(self.df + own_df, max(self.cap, own_df))
        if math.isinf(self.df):
            return self.variance, df
        return (self.df * self.variance + own_df * own) / (self.df + own_df), df


@dataclass(frozen=True, slots=True)
class CalibratedNoise(SessionNoise):
    """How far short sessions lay apart that were measured to know it.

    The t quantile of their few degrees of freedom allows for what chance does to the variance.
    """

    process: float = 0.0
    """The variance of processes within those sessions."""
    processes: float = math.inf
    """How many processes those sessions had."""
    alike: bool = True
    """Whether they measured the model of the case, so that its own processes need not bear them out."""
    source: str = "a calibration"

    def of_case(self, process: float, process_df: int, share: float) -> float:
        """The variance of a session of a case.

        *process* is the variance of the case's processes with *process_df* degrees of freedom, and
        *share* the mean of one over the number of processes a session. A case whose processes lie
        farther apart than the calibration's is taken to be so much noisier between sessions too.
        """
        fewer = max(0.0, share - 1 / self.processes) * max(process, self.process)
        variance = CALIBRATION_RATIO * self.variance
        if process_df >= 2 and 0 < self.process < process:
            variance *= process / self.process
        return variance + fewer


def pool_sessions(cases: Sequence[Sequence[Sequence[float]]]) -> SessionNoise | None:
    """What the cases of the same sessions say together about one metric's spread between sessions.

    ``cases[i][s]`` are the processes' values of case i in session s: the same sessions for all, in
    the same order. None for fewer than six cases or two sessions.

    Log variances of the cases are compared with what chance alone makes of equal ones; what is over
    is how much the cases differ, and limits what they can lend each other (empirical Bayes: Smyth
    2004, section 6.2). A slow session slows all its cases, which makes many cases worth fewer; how
    many fewer follows from the two-way analysis of variance of cases and sessions (Satterthwaite
    1946), and caps it.

    :raises ValueError: for cases with different numbers of sessions, or values that are not positive.
    """
    import numpy as np
    from scipy import special

    if len({len(case) for case in cases}) > 1:
        msg = "cases can only be pooled over the same sessions"
        raise ValueError(msg)
    if len(cases) < MIN_POOLED_CASES or len(cases[0]) < 2:
        return None
    means = np.array([[_log_mean(session) for session in case] for case in cases])
    count, sessions = means.shape
    d = sessions - 1
    own = means.var(axis=1, ddof=1)
    if not own.max() > 0:
        return None
    logs = np.log(np.maximum(own, 1e-5 * own.max()))
    chance = float(special.polygamma(1, d / 2))
    excess = float(logs.var(ddof=1)) - chance
    df = 2 * _inverse_trigamma(excess) if excess > 0 else math.inf
    variance = float(own.mean())
    if math.isfinite(df):
        center = float(logs.mean()) - float(special.psi(d / 2)) + math.log(d / 2)
        variance = math.exp(center + float(special.psi(df / 2)) - math.log(df / 2))
    scaled = means - means.mean(axis=1, keepdims=True)
    shared = count * float(scaled.mean(axis=0).var(ddof=1))
    rest = float(((scaled - scaled.mean(axis=0)) ** 2).sum()) / ((count - 1) * d)
    parts = (shared / count, d), ((1 - 1 / count) * rest, (count - 1) * d)
    cap = sum(v for v, _ in parts) ** 2 / sum(v**2 / n for v, n in parts)
    return SessionNoise(variance, df, cap)


def _inverse_trigamma(y: float) -> float:
    """The x with trigamma(x) = y (Newton's method on 1 / trigamma: Smyth 2004, appendix)."""
    from scipy import special

    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma = float(special.polygamma(1, x))
        step = trigamma * (1 - trigamma / y) / float(special.polygamma(2, x))
        x += step
        if abs(step) < 1e-8 * x:
            break
    return x


def _log_mean(values: Sequence[float]) -> float:
    try:
        mean = sum(map(math.log, values)) / len(values)
    except (ValueError, ZeroDivisionError):
        mean = math.nan
    if not math.isfinite(mean):
        msg = f"a session needs one positive value a process, not {list(values)!r}"
        raise ValueError(msg)
    return mean


@dataclass(frozen=True, slots=True)
class _Error:
    """The standard error of the effect, its degrees of freedom, and where they come from."""

    spread: float
    df: float
    method: str
    details: Json


def judge_stored(
    metric: str,
    sessions: Sequence[Sequence[float]],
    now: Sequence[float],
    threshold: float,
    *,
    alpha: float = 0.05,
    case_alpha: float = CASE_ALPHA,
    comparisons: int = 1,
    confidence: float = 0.90,
    noise: SessionNoise | None = None,
    dropped: int = 0,
) -> Judgment:
    """Judge one metric of one case.

    ``sessions[s]`` and *now* are the values of the processes, in the metric's unit; *noise* is what
    :func:`pool_sessions` or a calibration says about this machine. A calibration is for one or two
    sessions: more show better themselves how far they lie apart.

    :raises ValueError: for a value that is not positive, or a negative threshold.
    :raises UsageError: for a threshold that is not possible.
    """
    if threshold < 0:
        msg = f"a threshold is how much worse is allowed, so not negative: {threshold}"
        raise ValueError(msg)
    better = METRICS[metric].better
    if not sessions or not now:
        what = "the baseline" if not sessions else "this session"
        return _unknown(
            metric, threshold, len(now), dropped, f"{what} has no value of {metric}", new=not sessions
        )
    shift = to_log(threshold, better)
    level = HEDGE * min(case_alpha, alpha / comparisons)
    means = [_log_mean(session) for session in sessions]
    base, new = sum(means) / len(means), _log_mean(now)
    effect = worsening(math.exp(base), math.exp(new), better)
    error = _error(means, sessions, now, noise)
    values: Json = {
        "metric": metric,
        "base": math.exp(base),
        "now": math.exp(new),
        "change": to_change(effect, better),
        "threshold": threshold,
        "n": len(now),
        "dropped": dropped,
    }
    if error is None:
        return Judgment(
            verdict=Verdict.INCONCLUSIVE,
            method="single-session" if len(sessions) < ENOUGH_SESSIONS else "prediction",
            reason=(
                f"{count(len(sessions), 'stored session')} of "
                f"{count(round(median(map(len, sessions))), 'process', 'processes')} "
                f"{'' if len(sessions) == 1 else 'each '}and {len(now)} now do not show how far values lie "
                "apart; measure with processes=3 or more, store three sessions or more, or compare A/B pairs"
            ),
            details={"processes_wanted": 3},
            **values,
        )
    half = t_quantile((1 - confidence) / 2, error.df) * error.spread
    low, high = effect - half, effect + half
    stretched = error.spread * _stretch(error, level)
    p = t_tail(effect / stretched, error.df) if stretched > 0 else float(effect <= 0)
    verdict, reason, wanted = Verdict.INCONCLUSIVE, None, {}
    if p <= level and low > shift:
        verdict = Verdict.FAIL
    elif high < shift:
        verdict = Verdict.PASS
    detectable = to_change(
        max(
            # As in smallest_detectable, but only the bound is stretched.
            t_quantile(level, error.df) * stretched + t_quantile(0.2, error.df) * error.spread,
            smallest_detectable(shift, error.spread, (1 - confidence) / 2, error.df),
        ),
        better,
    )
    if verdict is Verdict.INCONCLUSIVE:
        reason, enough = _why(metric, effect, shift, threshold, error, len(sessions), level, detectable)
        wanted = {"sessions_wanted": enough}
    elif error.method == "single-session":
        reason = _calibrated(error, len(sessions)) or (
            f"{_few(len(sessions))} not show how far sessions lie apart; judged by the spread of "
            "processes, with a heavy allowance"
        )
    return Judgment(
        verdict=verdict,
        low=to_change(low, better),
        high=to_change(high, better),
        confidence=confidence,
        method=error.method,
        detectable=detectable,
        p=p,
        reason=reason,
        improved=verdict is Verdict.PASS and to_change(high, better) < -threshold,
        details={"sessions": len(sessions), "level_change": level, **error.details, **wanted},
        **values,
    )


def _error(
    means: Sequence[float],
    sessions: Sequence[Sequence[float]],
    now: Sequence[float],
    noise: SessionNoise | None,
) -> _Error | None:
    """The effect's standard error, or None where nothing shows it."""
    count = len(sessions)
    process_df = sum(map(len, sessions)) + len(now) - count - 1
    squares = sum(_squares(group) for group in (*sessions, now) if len(group) > 1)
    process = squares / process_df if process_df else 0.0
    # The process part of a session's variance: unequal numbers make it unequal.
    share = sum(1 / len(s) for s in sessions) / count
    part = share * process
    extra = max(0.0, process / len(now) - part)
    center = sum(means) / count
    own = sum((m - center) ** 2 for m in means) / (count - 1) if count > 1 else 0.0
    details: Json = {"process_sd": math.sqrt(process) if process_df else None}
    if isinstance(noise, CalibratedNoise):
        if count < ENOUGH_SESSIONS and (noise.alike or process_df >= 2):
            variance = max(noise.of_case(process, process_df, share), own, part)
            details |= {"session_sd": math.sqrt(variance), "df": noise.df}
            details |= {"calibration": noise.source, "calibrated_sd": math.sqrt(noise.variance)}
            return _Error(math.sqrt(variance * (1 + 1 / count) + extra), noise.df, "single-session", details)
        noise = None
    if noise is not None or count >= ENOUGH_SESSIONS:
        variance, df = noise.combined(own, count - 1) if noise else (own, float(count - 1))
        # Chance can make few sessions look alike, but they differ by what their processes do at least.
        variance = max(variance, part)
        details |= {"session_sd": math.sqrt(variance), "df": df if math.isfinite(df) else None}
        return _Error(math.sqrt(variance * (1 + 1 / count) + extra), df, "prediction", details)
    if process_df < 2:
        return None
    variance = max(own, SESSION_RATIO * process + part)
    details |= {"session_sd": math.sqrt(variance), "df": process_df}
    return _Error(math.sqrt(variance * (1 + 1 / count) + extra), process_df, "single-session", details)


def _squares(values: Sequence[float]) -> float:
    """The sum of the squares around the mean, of logs."""
    logs = [math.log(v) for v in values]
    mean = sum(logs) / len(logs)
    return sum((log - mean) ** 2 for log in logs)


def _stretch(error: _Error, level: float) -> float:
    """By how much the quantile for *level* grows with the skewness that the spread makes likely."""
    if error.method == "single-session" and "calibration" not in error.details:
        return 1.0  # SESSION_RATIO is allowance enough
    skewness = min(MAX_SKEWNESS, max(0.0, 2 * float(error.details["session_sd"]) / SKEW_FROM - 2))
    z = t_quantile(level, math.inf)
    return 1 + skewness * (z * z - 1) / (6 * z) if z > 1 else 1.0


def _why(
    metric: str,
    effect: float,
    shift: float,
    threshold: float,
    error: _Error,
    sessions: int,
    level: float,
    detectable: float,
) -> tuple[str, int | None]:
    """What is in the way of a verdict, and what would take it away: so many stored sessions, or None."""
    clock = "--clock cpu " if METRICS[metric].clock == "cpu" else ""
    where = "above" if effect > shift else "below"
    said = f"{where} the threshold of {precise_percent(threshold)}, but not beyond doubt"
    if (calibrated := _calibrated(error, sessions)) is not None:
        return (
            f"{said}. {calibrated}, by which a change of {precise_percent(detectable)} could be found; store "
            "five sessions, or compare A/B pairs"
        ), SESSIONS_WANTED
    if error.method == "single-session":
        return (
            f"{said}: {_few(sessions)} not show how far sessions lie apart, and by the spread of processes "
            f"only a change of {precise_percent(detectable)} could be found; store five sessions, calibrate "
            f"some (llmbench calibrate {clock}--sessions 6), or compare A/B pairs"
        ), SESSIONS_WANTED
    session_sd = float(error.details["session_sd"])
    known = t_quantile(level if effect > shift else 0.05, math.inf) * session_sd
    said = (
        f"{said}: sessions lie apart by {precise_percent(session_sd)}, and {sessions} of them detect "
        "a change "
        f"of {precise_percent(detectable)}"
    )
    if (effect if effect > shift else shift - effect) > known * 1.1:
        wanted = max(10, 2 * sessions)
        return f"{said}; {wanted} stored sessions would likely decide it, and so would A/B pairs", wanted
    return f"{said}; no number of stored sessions would decide it, A/B pairs may", None


def _few(sessions: int) -> str:
    return f"{count(sessions, 'stored session')} {'does' if sessions == 1 else 'do'}"


def _calibrated(error: _Error, sessions: int) -> str | None:
    """What stood in for the sessions that are not there; None if it was not a calibration."""
    if "calibration" not in error.details:
        return None
    spread = float(error.details["calibrated_sd"])
    which = "single" if sessions == 1 else "two"
    return (
        f"{which}-session baseline: between-session noise {precise_percent(spread)} from "
        f"{error.details['calibration']}"
    )


def _unknown(metric: str, threshold: float, n: int, dropped: int, reason: str, *, new: bool) -> Judgment:
    return Judgment(
        metric=metric,
        verdict=Verdict.NEW if new else Verdict.INVALID,
        threshold=threshold,
        method="prediction",
        n=n,
        dropped=dropped,
        reason=reason,
    )

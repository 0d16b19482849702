"""How sure can a few noisy numbers make us?

Pure functions of numbers. Effects are differences of natural logarithms, positive when the new
side is worse; :func:`to_log` and :func:`to_change` convert to and from relative changes. The tests
are exact where an exact one exists: five processes or twenty pairs are too few for asymptotics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics.row import Better

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Side = Literal["greater", "less"]

# One over the efficiency of the signed ranks against the mean, for normal noise (Hodges and
# Lehmann 1956): pi / 3 times as many pairs for the same power.
_RANK_COST = math.pi / 3


# --- Scales -------------------------------------------------------------------------------------


def to_log(change: float, better: Better) -> float:
    """The log ratio of a relative worsening: 0.05 is 5% slower, or 5% fewer tokens a second.

    ``log(1 + change)`` where lower is better, ``-log(1 - change)`` where higher is.

    :raises UsageError: for a change that is not possible: a throughput cannot fall by 100% or more,
        nor a latency by it.
    """
    inner = 1.0 + change if better == "lower" else 1.0 - change
    if not inner > 0.0 or math.isinf(inner):
        what = "a latency or a size" if better == "lower" else "a throughput"
        msg = f"A change of {change:.0%} is impossible for {what}; give a threshold between 0% and 100%"
        raise UsageError(msg)
    return math.log(inner) if better == "lower" else -math.log(inner)


def to_change(effect: float, better: Better) -> float:
    """The relative worsening of a log ratio; the inverse of :func:`to_log`."""
    try:
        return math.expm1(effect) if better == "lower" else -math.expm1(-effect)
    except OverflowError:
        return math.inf if better == "lower" else -math.inf


def worsening(base: float, now: float, better: Better) -> float:
    """The log ratio of two positive values, positive when *now* is worse than *base*."""
    if not (base > 0.0 and now > 0.0 and math.isfinite(base) and math.isfinite(now)):
        msg = f"a ratio needs two positive finite numbers, not {base!r} and {now!r}"
        raise ValueError(msg)
    effect = math.log(now) - math.log(base)
    return effect if better == "lower" else -effect


# --- Signed ranks -------------------------------------------------------------------------------


def signed_rank(values: Sequence[float], shift: float = 0.0, side: Side = "greater") -> float:
    """The exact p value of Wilcoxon's signed-rank test on *values*; shape (n,).

    ``greater`` tests "the effect is at most *shift*" against "it is more", ``less`` the mirror
    image. Conditional on the distances from *shift*, each sign is a fair coin when the effect is
    *shift* itself; the null distribution of the rank sum follows by adding one rank after the other
    (Wilcoxon 1945; Hollander, Wolfe and Chicken 2014, section 3.1). No value is approximated, for
    any n. Ties get midranks, whose exact distribution comes by the same sum over doubled ranks.
    A value at *shift* itself is ranked with the others and then left out (Pratt 1959), so it
    speaks for neither side; with nothing left, p is 1.

    :raises ValueError: for a value that is not finite.
    """
    import numpy as np

    x = _finite(values) - shift
    if side == "less":
        x = -x
    ranks = _doubled_midranks(np.abs(x))
    counted = x != 0.0
    observed = int(ranks[x > 0.0].sum())
    tail = _null_tail(tuple(sorted(ranks[counted].tolist())))
    return float(min(1.0, tail[observed]))


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    import numpy as np

    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not np.isfinite(x).all():
        msg = f"expected a flat sequence of finite numbers, got {values!r}"
        raise ValueError(msg)
    return x


def _doubled_midranks(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Twice the midrank of each size: whole numbers, also where there are ties."""
    import numpy as np

    _, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    # A group of ties holds the ranks last - count + 1 ... last, whose mean is doubled here.
    doubled: NDArray[np.int64] = (2 * last - counts + 1)[which]
    return doubled


@lru_cache(maxsize=512)
def _null_tail(doubled_ranks: tuple[int, ...]) -> NDArray[np.float64]:
    """P(rank sum >= w) for every doubled sum w, under fair signs; shape (sum of ranks + 1,)."""
    import numpy as np

    chances = np.ones(1)
    for rank in doubled_ranks:
        longer = np.zeros(len(chances) + rank)
        longer[: len(chances)] = chances
        longer[rank:] += chances
        chances = longer / 2
    return np.cumsum(chances[::-1])[::-1]


@dataclass(frozen=True, slots=True)
class Estimate:
    """An effect and the interval around it, all as log ratios.

    An end is infinite where so few values cannot bound it at that confidence.
    """

    effect: float
    low: float
    high: float
    confidence: float


def hodges_lehmann(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The median of the Walsh averages, with the exact distribution-free interval; values (n,).

    Hodges and Lehmann 1963; the interval holds the shifts that :func:`signed_rank` does not
    reject, read off the ordered averages (x_i + x_j) / 2, i <= j (Tukey 1949; Hollander, Wolfe and
    Chicken 2014, section 3.3). Its coverage is at least *confidence* also with ties (Noether 1967).

    :raises ValueError: for no values, or one that is not finite.
    """
    import numpy as np

    x = _finite(values)
    if not len(x):
        msg = "no values to estimate an effect from"
        raise ValueError(msg)
    i, j = np.triu_indices(len(x))
    walsh = np.sort((x[i] + x[j]) / 2)
    tail = _null_tail(tuple(range(2, 2 * len(x) + 1, 2)))
    # P(sum <= k - 1) = P(sum >= M - k + 1): the largest k that keeps it within half the error.
    within = np.flatnonzero(tail[::2] <= (1 - confidence) / 2)
    k = len(walsh) - int(within[0]) + 1 if len(within) else 0
    low, high = (float(walsh[k - 1]), float(walsh[len(walsh) - k])) if k else (-math.inf, math.inf)
    return Estimate(float(np.median(walsh)), low, high, confidence)


# --- Normal theory for sessions -----------------------------------------------------------------


@lru_cache(maxsize=4096)
def t_quantile(level: float, df: float) -> float:
    """The upper quantile of Student's t: exceeded with probability *level*; *df* may be infinite."""
    from scipy import special

    if math.isinf(df):
        return float(-special.ndtri(level))
    return float(-special.stdtrit(df, level))


def t_tail(t: float, df: float) -> float:
    """P(T >= t) for Student's t with *df* degrees of freedom; *df* may be infinite."""
    from scipy import special

    return float(special.ndtr(-t) if math.isinf(df) else special.stdtr(df, -t))


def prediction_bound(sessions: Sequence[float], level: float = 0.01) -> float:
    """What a new session stays below with probability 1 - *level*, if nothing changed.

    ``mean + t(level, S - 1) * s * sqrt(1 + 1 / S)`` of the S session means in *sessions* (Hahn and
    Meeker 1991, section 4.3): the spread between sessions is the error term, so that a machine
    that differs from day to day is not taken for a regression.

    :raises ValueError: for fewer than two sessions, which show no spread.
    """
    x = _finite(sessions)
    if len(x) < 2:
        msg = f"a prediction bound needs at least two sessions, not {len(x)}"
        raise ValueError(msg)
    spread = float(x.std(ddof=1)) * math.sqrt(1 + 1 / len(x))
    return float(x.mean()) + t_quantile(level, len(x) - 1) * spread


def smallest_detectable(
    shift: float, spread: float, level: float, df: float, *, power: float = 0.8, ranks: bool = False
) -> float:
    """The smallest effect that a one-sided test of "at most *shift*" finds with *power*; a log ratio.

    ``shift + (t(level, df) + t(1 - power, df)) * spread``, *spread* the standard error of the
    effect (Snedecor and Cochran 1989, section 6.14). *ranks* allows for the pairs that the
    signed ranks need more than the mean does (Hodges and Lehmann 1956).
    """
    factor = t_quantile(level, df) + t_quantile(1 - power, df)
    return shift + factor * spread * (math.sqrt(_RANK_COST) if ranks else 1.0)


# --- Tails --------------------------------------------------------------------------------------


def exceedance(over: float, total: float, allowed: float, side: Side = "greater") -> float:
    """The p value of "at most a share *allowed* lies beyond the limit", *over* of *total* doing so.

    The exact binomial tail ``P(X >= over) = I(allowed; over, total - over + 1)``, the regularised
    incomplete beta function (Clopper and Pearson 1934; MLPerf LoadGen, early_stopping.cc). Being a
    beta function it takes effective counts that are not whole. ``less`` tests the opposite, "at
    least *allowed* lies beyond": a small p then shows that the limit is kept.

    :raises ValueError: for counts or a share that is not possible.
    """
    from scipy import special

    if not (0 <= over <= total and 0.0 < allowed < 1.0):
        msg = f"not possible: {over} of {total} beyond a limit, with a share of {allowed} allowed"
        raise ValueError(msg)
    if side == "greater":
        return 1.0 if over == 0 else float(special.betainc(over, total - over + 1, allowed))
    return 1.0 if over == total else float(special.betainc(total - over, over + 1, 1 - allowed))


def quantile_bound(values: Sequence[float], q: float, confidence: float = 0.95) -> float:
    """What the true quantile *q* does not exceed, with *confidence*; infinite for too few values.

    The order statistic j with ``P(Binomial(n, q) <= j - 1) >= confidence`` (Hahn and Meeker 1991,
    section 5.2): no distribution is assumed.
    """
    import numpy as np
    from scipy import special

    x = np.sort(_finite(values))
    enough = np.flatnonzero(special.bdtr(np.arange(len(x), dtype=float), len(x), q) >= confidence)
    return float(x[enough[0]]) if len(enough) else math.inf

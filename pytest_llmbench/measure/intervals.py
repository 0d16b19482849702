"""How far off may a percentile of this many requests be?

Requests of one load level share a queue, so that neighbors wait alike: a thousand of them tell less
than a thousand independent ones. The interval is the distribution-free one between order statistics,
for as many values as the level's are worth.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.summary import PERCENTILES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def percentile_intervals(
    values: Sequence[float], percentiles: Sequence[float], *, level: float = 0.95
) -> list[tuple[float, float] | None]:
    """What each of the true *percentiles* (0 to 100) lies between, with confidence *level*.

    :param values: in the order of time (of sending; gaps of several streams: of arrival); shape (n,),
        all finite.

    The ends are the innermost order statistics that the percentile lies beyond with a chance of at
    most ``(1 - level) / 2`` each: ``X_(j)`` lies above it with chance ``P(Binomial(n, q) < j) =
    I(1 - q; n - j + 1, j)`` (Hahn and Meeker 1991, section 5.2). As the regularised incomplete beta
    function this also takes ranks among an effective number of values, which is not whole; the
    outermost values are the outermost ones of those, too.

    That number is ``n / (1 + 2 sum of rho_k)``, the autocorrelations summed as Geyer's initial
    positive sequence (Geyer 1992, section 3.3), at most n; the smaller one of the values' ranks and
    of what a percentile's variance stands on, the indicator of values at or below it (Raftery and
    Lewis 1992; Vehtari et al. 2021, section 4). Ranks are the safer where few values lie beyond.

    None where the values are too few: p50 takes 6 independent ones at 95%, p90 36, p95 72, p99 368.
    Where neighbors are alike for nearly as long as the level lasts, as in a queue near saturation,
    it is None or too narrow: one level cannot tell then.
    """
    import numpy as np

    x = np.asarray(values, dtype=np.float64)
    if not len(x):
        return [None] * len(percentiles)
    ordered = np.sort(x)
    _, place, counts = np.unique(x, return_inverse=True, return_counts=True)
    # Of ties the middle rank: any other would follow their order.
    by_rank = _effective((np.cumsum(counts) - (counts - 1) / 2)[place])
    found: list[tuple[float, float] | None] = []
    for q in percentiles:
        at = ordered[max(0, math.ceil(len(x) * q / 100) - 1)]
        worth = min(by_rank, _effective((x <= at).astype(np.float64)))
        ranks = _ranks(len(x), worth, q / 100, (1 - level) / 2)
        found.append(ranks and (float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1])))
    return found


def summary_intervals(values: Sequence[float]) -> dict[str, tuple[float, float]]:
    """The 95% interval of p50, p90, p95 and p99 each, where the values give one; as "p50" to (low, high)."""
    found = percentile_intervals(values, PERCENTILES)
    return {f"p{q}": ends for q, ends in zip(PERCENTILES, found, strict=True) if ends is not None}


def _effective(x: NDArray[np.float64]) -> float:
    """How many independent values *x* is worth, by the variance of its mean; at most its length."""
    import numpy as np

    n = len(x)
    x = x - x.mean()
    # Padded to twice the length, so that the end does not meet the beginning.
    spectrum = np.fft.rfft(x, 1 << (2 * n - 1).bit_length())
    covariance = np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[:n]
    if not covariance[0] > 0.0:
        return n
    pairs = (covariance[0 : n - 1 : 2] + covariance[1:n:2]) / covariance[0]
    ended = np.flatnonzero(pairs <= 0.0)
    stretch = 2 * float(pairs[: ended[0] if len(ended) else len(pairs)].sum()) - 1
    return n / max(1.0, stretch)


def _ranks(n: int, worth: float, q: float, error: float) -> tuple[int, int] | None:
    """The ranks (from 1) of the interval's ends among *n* values that are *worth* so many.

    None if even the outermost are not far enough out.
    """
    from scipy import special

    step = (worth - 1) / max(1, n - 1)

    def above(rank: int) -> float:
        before = (rank - 1) * step
        return float(special.betainc(worth - before, before + 1, 1 - q))

    def below(rank: int) -> float:
        before = (rank - 1) * step
        return float(special.betainc(before + 1, worth - before, q))

    low = bisect_right(range(1, n + 1), error, key=above)
    high = bisect_left(range(1, n + 1), -error, key=lambda rank: -below(rank)) + 1
    return (low, high) if low >= 1 and high <= n else None

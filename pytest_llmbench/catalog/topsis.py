"""How near is a configuration to the best there is, by the weights of what matters?

TOPSIS (Hwang and Yoon 1981, pages 128 to 140) with one change: the ideal and its opposite are fixed
:class:`Bounds` of the whole catalog, not the best and worst of the rows at hand. So a row's score depends on
itself alone: rows that come, go or are filtered out never reorder the others, and no unit changes anything.

With the weights w (their total is 1) and each value's place g between its bounds, 0 at the worst and
1 at the best::

    to_ideal = sqrt(sum over criteria of (w * (1 - g)) ** 2)
    to_worst = sqrt(sum over criteria of (w * g) ** 2)
    closeness = to_worst / (to_ideal + to_worst)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pytest_llmbench.errors import UsageError

Floats = NDArray[np.float64]

PERCENTILES = (1.0, 99.0)
"""Where the bounds of a catalog are: its few wildest rows do not press all others together."""

_SPREAD = 1e-12


@dataclass(frozen=True)
class Bounds:
    """The scale of each of m criteria: what counts as nothing, and what as all, in the unit of the values."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    logarithmic: tuple[bool, ...]
    """Where equal ratios are equal steps: latency and cost, whose bounds are positive."""

    def __post_init__(self) -> None:
        for low, high, by_ratio in zip(self.low, self.high, self.logarithmic, strict=True):
            if high < low or (by_ratio and low <= 0.0):
                scale = "logarithmic" if by_ratio else "linear"
                msg = f"{low:g} and {high:g} are not bounds of a {scale} scale"
                raise ValueError(msg)

    def place(self, criterion: int, values: Floats) -> Floats | None:
        """Where *values* (n,) of a criterion are from ``low``, 0, to ``high``, 1; beyond, at the nearer one.

        On a logarithmic scale zero and less are at 0. ``None`` for a criterion without spread, which tells
        no rows apart: its bounds are equal within rounding, or unknown.
        """
        low, high = self.low[criterion], self.high[criterion]
        if not high - low > _SPREAD * max(abs(low), abs(high)):
            return None
        # Each value by itself, so that the rows beside it do not change a bit of it.
        with np.errstate(all="ignore"):
            if self.logarithmic[criterion]:
                place = np.log(np.maximum(values, 0.0) / low) / np.log(high / low)
            else:
                place = (values - low) / (high - low)
        within: Floats = np.clip(place, 0.0, 1.0)
        return within


@dataclass(frozen=True)
class Parts:
    """What each criterion gives to a row's closeness and takes from it; two arrays of shape (n, m).

    A row of ``gained`` sums to its closeness and one of ``lost`` to what is missing to 1, each divided as the
    squares are whose sum is the distance to the worst and to the ideal.
    """

    gained: Floats
    lost: Floats


def bounds_of(values: Floats, logarithmic: Sequence[bool]) -> Bounds:
    """The 1st and 99th percentile of each criterion over a whole catalog, *values* of shape (n, m).

    Interpolated between neighbors on the criterion's scale, so that they do not depend on a unit. What is not
    finite is left out, and on a logarithmic scale what is not positive. A criterion of which
    nothing is left has NaN for bounds, which no row is told apart by.

    :raises ValueError: for shapes that do not fit.
    """
    table = _table(values, len(logarithmic))
    bounds = []
    for column, by_ratio in zip(table.T, logarithmic, strict=True):
        known = column[np.isfinite(column) & ((column > 0.0) | (not by_ratio))]
        if not known.size:
            bounds.append((np.nan, np.nan))
            continue
        low, high = np.percentile(np.log(known) if by_ratio else known, PERCENTILES)
        bounds.append((float(np.exp(low)), float(np.exp(high))) if by_ratio else (float(low), float(high)))
    lows, highs = zip(*bounds, strict=True)
    return Bounds(lows, highs, tuple(map(bool, logarithmic)))


def topsis(values: Floats, weights: ArrayLike, bounds: Bounds, lower: Sequence[bool]) -> Floats:
    """The closeness of each row to the ideal, from 0 to 1, which is best; shape (n,).

    *values* has shape (n, m), in the units of *bounds*; *weights* (m,) count by their ratios alone; *lower*
    (m,) says where less is better. A criterion of weight 0 is not looked at, and may be unknown. One without
    spread in the bounds decides nothing; where that leaves none, each row gets 0.5.

    :raises UsageError: for weights that are negative, not finite, or all zero.
    :raises ValueError: for NaN in a criterion that has a weight, or shapes that do not fit.
    """
    gained, lost, _ = _squares(values, weights, bounds, lower)
    return _closeness(_total(gained), _total(lost))


def parts(values: Floats, weights: ArrayLike, bounds: Bounds, lower: Sequence[bool]) -> Parts:
    """What each criterion gives to the closeness of :func:`topsis` and takes from it; errors are the same."""
    gained, lost, shares = _squares(values, weights, bounds, lower)
    to_worst, to_ideal = _total(gained), _total(lost)
    closeness = _closeness(to_worst, to_ideal)
    neither = (to_worst == 0.0) & (to_ideal == 0.0)
    found = []
    for squares, total, of in ((gained, to_worst, closeness), (lost, to_ideal, 1.0 - closeness)):
        # Where nothing tells rows apart, each criterion has its weight's share of the half.
        divided = np.divide(squares, total, out=np.zeros_like(squares), where=total > 0.0)
        found.append((np.where(neither, shares[:, None], divided) * of).T)
    return Parts(*found)


def _squares(
    values: Floats, weights: ArrayLike, bounds: Bounds, lower: Sequence[bool]
) -> tuple[Floats, Floats, Floats]:
    """The squares of each criterion's distances from worst and to ideal (m, n); the weights' shares (m,)."""
    count = len(bounds.low)
    table = _table(values, count)
    shares = _shares(weights)
    if len(shares) != count or len(lower) != count:
        msg = f"expected {count} weights and directions, got {len(shares)} and {len(lower)}"
        raise ValueError(msg)
    gained, lost = np.zeros((2, count, len(table)))
    for criterion in np.flatnonzero(shares).tolist():
        column = np.ascontiguousarray(table[:, criterion])
        if np.isnan(column).any():
            msg = f"criterion {criterion} has a weight, and is unknown in some rows: leave these out first"
            raise ValueError(msg)
        place = bounds.place(criterion, column)
        if place is not None:
            good = 1.0 - place if lower[criterion] else place
            gained[criterion] = (shares[criterion] * good) ** 2
            lost[criterion] = (shares[criterion] * (1.0 - good)) ** 2
    return gained, lost, shares


def _total(squares: Floats) -> Floats:
    """The sum over the criteria (n,), in their order whatever the number of rows."""
    total = np.zeros(squares.shape[1])
    for row in squares:
        total += row
    return total


def _closeness(to_worst: Floats, to_ideal: Floats) -> Floats:
    """From the squares of both distances."""
    near, far = np.sqrt(to_worst), np.sqrt(to_ideal)
    both = near + far
    closeness: Floats = np.divide(near, both, out=np.full_like(both, 0.5), where=both > 0.0)
    return closeness


def _shares(weights: ArrayLike) -> Floats:
    """The weights divided by their total."""
    given = np.asarray(weights, dtype=np.float64)
    shown = ", ".join(f"{weight:g}" for weight in given.flat)
    if not np.isfinite(given).all() or (given < 0.0).any():
        msg = f"Weights are numbers of 0 or more, not {shown}"
        raise UsageError(msg)
    largest = given.max(initial=0.0)
    if not largest > 0.0:
        msg = f"The weights are all 0 ({shown}): give one of them more, so that there is an order"
        raise UsageError(msg)
    # First by the largest: the total of huge ones is not a number.
    given = given / largest
    shares: Floats = given / given.sum()
    return shares


def _table(values: Floats, count: int) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != count or not count:
        msg = f"expected rows of {count or 'one or more'} criteria, got an array of shape {table.shape}"
        raise ValueError(msg)
    return table

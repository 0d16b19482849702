"""Which configurations does no other one beat in everything?

A row *dominates* another if it is at least as good in every criterion and better in one. The front holds the
rows that no row dominates, all copies of an equal row among them. Pure functions of tables: n rows, one a
configuration, and m criteria, each with its direction.

Time goes with the rows that are left once the best few have thrown out what they dominate, times the front:
milliseconds where criteria go together, n * n / 2 comparisons where all n rows are on the front. Memory
beside a few copies of the table is bounded by :data:`PAIRS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

PAIRS = 1 << 18
"""Pairs of rows that are compared at once: a few arrays of as many bytes, which stay in the cache."""

_PIVOTS = 24
_STEP = 256


def front(values: Floats, lower: Sequence[bool]) -> Mask:
    """Whether each row is on the Pareto front; shape (n,).

    *values* has shape (n, m), one criterion a column, in any unit; *lower* (m,) says where less is better.
    Equal rows are all on the front or none is. Infinite values are compared as any other.

    :raises ValueError: for NaN, which no comparison places (see :func:`fronts`), or shapes that do not fit.
    """
    table = _less_is_better(values, lower)
    if np.isnan(table).any():
        msg = "the front needs every value; use fronts() where some are unknown"
        raise ValueError(msg)
    return _front(table)


def fronts(values: Floats, lower: Sequence[bool], worst: Floats, best: Floats) -> tuple[Mask, Mask]:
    """Which rows are certainly on the front, and which are possibly, where NaN is unknown; two of shape (n,).

    *values* (n, m) and *lower* (m,) are as for :func:`front`; *worst* and *best* (m,) are the bounds of an
    unknown value, and may be infinite. A *completion* puts a value within its bounds in the place of each
    unknown one. Then, for every row:

    - it is **certain** if and only if no completion lets another row dominate it: it is not dominated
      with its own unknowns at their worst, and those of every other row at their best;
    - it is **possible** if and only if some completion lets no row dominate it: it is not dominated with
      its own unknowns at their best, and those of every other row at their worst.

    So a certain row stays on the front whatever is measured later within the bounds, and a row that is not
    possible never comes onto it. Certain rows are possible; where all is known both are the front.
    Both masks are exact because domination is monotone: the completions named above are the most
    favorable ones to it, or the least. (Putting the bounds into the whole table at once and taking its
    front keeps neither promise: a row would count as certain that one with an unknown may still dominate.)

    Known values need not lie within the bounds. The promises hold for unknown values that do: take what
    a value can be (the extremes of the catalog, or infinity), not a percentile.

    :raises ValueError: for bounds that are NaN or the wrong way round, or shapes that do not fit.
    """
    table = _less_is_better(values, lower)
    at_worst, at_best = (_less_is_better(np.asarray(bound)[None, :], lower)[:, 0] for bound in (worst, best))
    if not (at_best <= at_worst).all():
        msg = f"the worst bounds {list(worst)} are not all worse than the best bounds {list(best)}"
        raise ValueError(msg)
    unknown = np.isnan(table)
    partly = np.flatnonzero(unknown.any(axis=0))
    if not partly.size:
        found = _front(table)
        return found, found.copy()
    low, high = (np.where(unknown, bound[:, None], table) for bound in (at_best, at_worst))
    certain, possible = _front(low), _front(high)

    # A row without unknowns is the same in both tables: what was found is its answer. A row that dominates
    # is on the front of its table, or one that dominates it is, so that front is enough to ask.
    asked, leaders = partly[~possible[partly]], np.flatnonzero(possible)
    first = unknown[:, asked].argmax(axis=0)
    for criterion in range(len(table)):
        # These are all at the best in one criterion, where few can be as good.
        alike = asked[first == criterion]
        possible[alike] = ~_beaten(low, alike, high, leaders)

    # A row at its best dominates itself at its worst, which says nothing. Where it is the only one of
    # the front that does, a row that it hides may do so too: the best of those are the second front.
    leaders = np.flatnonzero(certain)
    certain[partly] = ~_beaten(high, partly, low, leaders)
    asked = partly[certain[partly]]
    if asked.size:
        hidden = np.ones(table.shape[1], dtype=np.bool_)
        hidden[leaders] = False
        others = _able(low, np.flatnonzero(hidden), high, asked)
        second = others[_front(low[:, others])]
        certain[asked] = ~_beaten(high, asked, low, second)
    return certain, possible


def _less_is_better(values: Floats, lower: Sequence[bool]) -> Floats:
    """The table with one criterion a row (m, n), where less is better in each."""
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1] or table.shape[1] != len(lower):
        msg = f"expected rows of {len(lower) or 'one or more'} criteria, got an array of shape {table.shape}"
        raise ValueError(msg)
    return np.ascontiguousarray(table.T) * np.where(lower, 1.0, -1.0)[:, None]


def _front(table: Floats) -> Mask:
    """The front of a table (m, n) where less is better."""
    result = np.zeros(table.shape[1], dtype=np.bool_)
    left = _without_the_hopeless(table)
    ranks, total = _ranks(table[:, left])
    order = np.argsort(total, kind="stable")
    left, ranks, total = left[order], ranks[:, order], total[order]
    # A row that dominates has a smaller total, so it comes earlier: the first rows need be compared
    # among themselves only, and what of them stays is on the front.
    step = 8
    while left.size:
        step = min(step, left.size, max(1, PAIRS // left.size))
        head = slice(0, step)
        kept = ~_dominates(ranks[:, head], total[head], ranks[:, head], total[head]).any(axis=0)
        result[left[head][kept]] = True
        leaders, sums = ranks[:, head][:, kept], total[head][kept]
        left, ranks, total = left[step:], ranks[:, step:], total[step:]
        stays = np.flatnonzero(~_dominates(leaders, sums, ranks, total).any(axis=0))
        if stays.size < left.size:
            left, ranks, total = left[stays], ranks[:, stays], total[stays]
        step = min(2 * step, _STEP)
    return result


def _without_the_hopeless(table: Floats) -> NDArray[np.intp]:
    """The columns that a few good ones leave: each time, the one with the least sum throws out its own.

    What is thrown out is dominated, whichever are chosen; the sum of scaled criteria only chooses well.
    """
    left = np.arange(table.shape[1])
    if not left.size:
        return left
    with np.errstate(all="ignore"):
        low, high = table.min(axis=1, keepdims=True), table.max(axis=1, keepdims=True)
        scaled = (table - low) / (high - low)
        sums = np.where(np.isfinite(scaled), scaled, 0.5).sum(axis=0)
    part = table
    for _ in range(_PIVOTS):
        pivot = int(sums.argmin())
        if sums[pivot] == np.inf:
            break
        point = part[:, pivot]
        sums[pivot] = np.inf
        stays = part[0] < point[0]
        for row, own in zip(part[1:], point[1:], strict=True):
            stays |= row < own
        # What is equal to the pivot everywhere stays with it; the others that are nowhere better go.
        same = np.flatnonzero(~stays)
        stays[same[(part[:, same] == point[:, None]).all(axis=0)]] = True
        kept = np.flatnonzero(stays)
        if kept.size == left.size:
            continue
        few = left.size - kept.size < left.size // 32
        left, part, sums = left[kept], part[:, kept], sums[kept]
        if few:
            break
    return left


def _ranks(table: Floats) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Each value's dense rank in its criterion (m, n), and the rows' sums of ranks (n,).

    Ranks compare as the values do and are small whole numbers, so that comparing is quick and sums are exact:
    of two rows, one of which is nowhere worse, it dominates if and only if its sum is smaller.
    """
    size = table.shape[1]
    ranks = np.empty(table.shape, dtype=np.uint16 if size <= 1 << 16 else np.uint32)
    for row, values in zip(ranks, table, strict=True):
        order = np.argsort(values)
        ordered = values[order]
        row[order[:1]] = 0
        row[order[1:]] = np.cumsum(ordered[1:] != ordered[:-1])
    return ranks, ranks.sum(axis=0, dtype=np.int64)


def _dominates(
    ranks: NDArray[np.integer],
    total: NDArray[np.int64],
    other_ranks: NDArray[np.integer],
    other_total: NDArray[np.int64],
) -> Mask:
    """Whether each of k rows dominates each of n others, by their ranks in one order; shape (k, n)."""
    result = total[:, None] < other_total
    for own, other in zip(ranks, other_ranks, strict=True):
        result &= own[:, None] <= other
    return result


def _beaten(table: Floats, rows: NDArray[np.intp], by: Floats, leaders: NDArray[np.intp]) -> Mask:
    """Whether a row, as *table* (m, n) has it, is dominated by a leader, as *by* (m, n) has that; (rows,).

    A row never dominates itself, however much better it is in *by*.
    """
    leaders = _able(by, leaders, table, rows)
    ranks, total = _ranks(np.concatenate([by[:, leaders], table[:, rows]], axis=1))
    first = np.argsort(total[: leaders.size], kind="stable")
    leaders, leading, sums = leaders[first], ranks[:, first], total[first]
    ranks, total = ranks[:, first.size :], total[first.size :]
    result = np.ones(rows.size, dtype=np.bool_)
    left = np.arange(rows.size)
    start, step = 0, 8
    while start < leaders.size and left.size:
        step = min(step, max(1, PAIRS // left.size))
        part = slice(start, start + step)
        found = _dominates(leading[:, part], sums[part], ranks, total)
        found &= leaders[part, None] != rows[left]
        stays = np.flatnonzero(~found.any(axis=0))
        left, ranks, total = left[stays], ranks[:, stays], total[stays]
        start, step = start + step, min(2 * step, _STEP)
    result[left] = False
    return result


def _able(by: Floats, leaders: NDArray[np.intp], table: Floats, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """The leaders that could dominate one of the rows: they are in no criterion worse than all of these."""
    reach = table[:, rows].max(axis=1, initial=-np.inf)
    able = np.flatnonzero((by[:, leaders] <= reach[:, None]).all(axis=0))
    return leaders[able]

"""In which order are the configurations that meet all limits, and which are best by one thing alone?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.catalog.criteria import CRITERIA, USUAL
from pytest_llmbench.catalog.front import fronts
from pytest_llmbench.catalog.topsis import parts, topsis
from pytest_llmbench.catalog.view import AS_IS, View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.catalog.topsis import Bounds

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]
    Mask = NDArray[np.bool_]

_SAMPLE = 1024
"""Configurations from which the step of the order is taken."""


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """The candidates of which all that counts is known, in their order; arrays of one value each."""

    names: tuple[str, ...]
    """The criteria that count."""
    places: Places
    """In the view."""
    scores: Floats
    low: Floats
    high: Floats
    """The scores with all values at the one or the other end of their 95% intervals."""
    parts: Floats
    """What each criterion gives, (n, m)."""
    certain: Mask
    possible: Mask
    lacking: Places
    """In the view: the candidates of which something is not known."""
    maybe: Mask
    """Which of those no other one beats, if they are as good as any."""
    beaten: int
    """Candidates that another one beats in everything."""


@dataclass(frozen=True, eq=False, slots=True)
class _Scale:
    """How scores are made."""

    weights: Sequence[float]
    bounds: Bounds
    lower: Sequence[bool]

    def scores(self, values: Floats) -> Floats:
        return topsis(values, self.weights, self.bounds, self.lower)

    def ends(self, values: Floats, half: Floats) -> tuple[Floats, Floats]:
        """The scores at the worse and at the better end of each value's interval."""
        worse = np.where(self.lower, 1.0, -1.0) * np.nan_to_num(half)
        return self.scores(values + worse), self.scores(values - worse)


def known(view: View, name: str) -> bool:
    """Whether any configuration has a value of a criterion."""
    return bool(np.isfinite(view.criterion(name)[0]).any())


def score(view: View, shares: Mapping[str, float], candidates: Places) -> Scored:
    """The candidates in their order.

    By whole steps of the score, whose width is what noise moves scores of this workload by, and within one
    by cost. So the place of a row depends on the row alone: "their intervals overlap" would not be an order,
    and would let a row that goes reorder the others.

    :param shares: weights by criterion, each of which some configuration has.
    """
    names = tuple(shares)
    columns = [view.criterion(name) for name in names]
    everything = np.stack([values for values, _ in columns], axis=1)
    noise = np.stack([half for _, half in columns], axis=1)
    lower = [CRITERIA[name].lower for name in names]
    scale = _Scale(list(shares.values()), view.bounds(names), lower)
    values = everything[candidates]
    # No criterion is below 0, and only a share ends above: an unknown value can be whatever there is.
    most = np.array([1.0 if CRITERIA[name].unit == "share" else np.inf for name in names])
    worst, best = np.where(lower, most, 0.0), np.where(lower, 0.0, most)
    certain, possible = fronts(values, lower, worst, best)
    complete = ~np.isnan(values).any(axis=1)
    rows, places = values[complete], candidates[complete]
    scores = scale.scores(rows)
    low, high = scale.ends(rows, noise[places])
    step = _step(everything, noise, scale)
    # The best score is at the end of the last step, and no step of its own.
    coarse = np.minimum(np.floor(scores / step), np.ceil(1 / step) - 1) if step else scores
    cost = np.nan_to_num(view.criterion("cost")[0][places], nan=np.inf)
    order = np.lexsort((places, -scores, cost, -coarse))
    return Scored(
        names,
        places[order],
        scores[order],
        low[order],
        high[order],
        parts(rows, scale.weights, scale.bounds, lower).gained[order],
        certain[complete][order],
        possible[complete][order],
        candidates[~complete],
        possible[~complete],
        int(np.count_nonzero(~possible)),
    )


def _step(everything: Floats, noise: Floats, scale: _Scale) -> float:
    """How far noise moves scores of a workload, as a rule; 0 where no noise is known."""
    complete = np.flatnonzero(~np.isnan(everything).any(axis=1))
    some = complete[:: max(1, len(complete) // _SAMPLE)]
    if not some.size:
        return 0.0
    low, high = scale.ends(everything[some], noise[some])
    return float(np.median(high - low))


def one_a_model(view: View, scored: Scored) -> Places:
    """The places in *scored* of each model's first configuration that no other one beats."""
    kept = np.flatnonzero(scored.possible)
    _, first = np.unique(view.axes["models"].codes[scored.places[kept]], return_index=True)
    return kept[np.sort(first)]


def best_by(view: View, candidates: Places) -> dict[str, int | None]:
    """Of the candidates, the places of the best by one thing alone, and by all alike; None if not known.

    The simplest has the fewest devices, and the model as it is before one that is quantized.
    """
    cost = np.nan_to_num(view.criterion("cost")[0][candidates], nan=np.inf)
    found = {}
    for title, name in (("best_quality", "quality"), ("lowest_cost", "cost"), ("lowest_latency", "latency")):
        values = view.criterion(name)[0][candidates]
        found[title] = _first(values if CRITERIA[name].lower else -values, cost)
    names = view.axes["quantizations"].names
    changed = np.array([name != AS_IS for name in names])[view.axes["quantizations"].codes[candidates]]
    found["simplest"] = _first(2.0 * view.counts[candidates] + changed, cost)
    found["balanced"] = _balanced(view, candidates, cost)
    return {title: None if index is None else int(candidates[index]) for title, index in found.items()}


def _balanced(view: View, candidates: Places, cost: Floats) -> int | None:
    names = tuple(name for name in USUAL if known(view, name))
    if not names:
        return None
    values = np.stack([view.criterion(name)[0][candidates] for name in names], axis=1)
    complete = np.flatnonzero(~np.isnan(values).any(axis=1))
    if not complete.size:
        return None
    lower = [CRITERIA[name].lower for name in names]
    scores = topsis(values[complete], [1.0] * len(names), view.bounds(names), lower)
    first = _first(-scores, cost[complete])
    return None if first is None else int(complete[first])


def _first(values: Floats, cost: Floats) -> int | None:
    """Where the least of *values* is, of equal ones the one that costs least; None where none is known."""
    if not values.size or np.isnan(values).all():
        return None
    best = np.flatnonzero(values == np.nanmin(values))
    return int(best[np.argmin(cost[best])])

"""In which order are the configurations that meet all limits, and which are best by one thing alone?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.catalog.criteria import CRITERIA, USUAL
from pytest_llmbench.catalog.front import fronts
from pytest_llmbench.catalog.topsis import parts, topsis
from pytest_llmbench.catalog.view import View
from pytest_llmbench.models.spec import AS_IS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.catalog.topsis import Bounds

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]
    Mask = NDArray[np.bool_]

_SAMPLE = 1024
"""Configurations from which the step of the order is taken."""


@dataclass(frozen=True, eq=False, slots=True)
class Scale:
    """How scores are made."""

    names: tuple[str, ...]
    """The criteria that count."""
    weights: tuple[float, ...]
    bounds: Bounds
    lower: tuple[bool, ...]

    @classmethod
    def of(cls, view: View, shares: Mapping[str, float]) -> Scale:
        """The scale of weights, over all configurations of a workload."""
        names = tuple(shares)
        lower = tuple(CRITERIA[name].lower for name in names)
        return cls(names, tuple(shares.values()), view.bounds(names), lower)

    def scores(self, values: Floats) -> Floats:
        """Closeness of rows of values, (n,)."""
        return topsis(values, self.weights, self.bounds, self.lower)

    def parts(self, values: Floats) -> Floats:
        """What each criterion gives to it, (n, m)."""
        return parts(values, self.weights, self.bounds, self.lower).gained

    def ends(self, values: Floats, half: Floats) -> tuple[Floats, Floats]:
        """The scores at the worse and at the better end of each value's interval."""
        worse = np.where(self.lower, 1.0, -1.0) * np.nan_to_num(half)
        return self.scores(values + worse), self.scores(values - worse)

    def values(self, view: View, places: Places) -> Floats:
        """What is weighed of the rows at *places*, (n, m); nan is unknown."""
        return np.stack([view.criterion(name)[0][places] for name in self.names], axis=1)

    def noise(self, view: View, places: Places) -> Floats:
        """Half of the 95% interval of each."""
        return np.stack([view.criterion(name)[1][places] for name in self.names], axis=1)


@dataclass(frozen=True, eq=False, slots=True)
class Scored:
    """The candidates that may have an entry, in their order; arrays of one value each."""

    scale: Scale
    places: Places
    """In the view."""
    scores: Floats
    certain: Mask
    possible: Mask
    lacking: Places
    """In the view: the candidates of which something that counts is not known."""
    maybe: Mask
    """Which of those no other one beats, if they are as good as any."""
    beaten: int
    """Candidates that another one beats in everything."""


def known(view: View, name: str) -> bool:
    """Whether any configuration has a value of a criterion."""
    return bool(np.isfinite(view.criterion(name)[0]).any())


def score(view: View, shares: Mapping[str, float], candidates: Places, *, every: bool = False) -> Scored:
    """The candidates in their order: those that no other one beats, or all.

    By whole steps of the score, whose width is what noise moves scores of this workload by, and within one
    by cost. So the place of a row depends on the row alone: "their intervals overlap" would not be an order,
    and would let a row that goes reorder the others.

    :param shares: weights by criterion, each of which some configuration has.
    """
    scale = Scale.of(view, shares)
    values = scale.values(view, candidates)
    # No criterion is below 0, and only a share ends above: an unknown value can be whatever there is.
    most = np.array([1.0 if CRITERIA[name].unit == "share" else np.inf for name in scale.names])
    worst, best = np.where(scale.lower, most, 0.0), np.where(scale.lower, 0.0, most)
    certain, possible = fronts(values, scale.lower, worst, best)
    complete = ~np.isnan(values).any(axis=1)
    kept = np.flatnonzero(complete if every else complete & possible)
    rows, places = values[kept], candidates[kept]
    scores = scale.scores(rows)
    step = _step(view, scale)
    # The best score is at the end of the last step, and no step of its own.
    coarse = np.minimum(np.floor(scores / step), np.ceil(1 / step) - 1) if step else scores
    cost = np.nan_to_num(view.criterion("cost")[0][places], nan=np.inf)
    order = np.lexsort((places, -scores, cost, -coarse))
    return Scored(
        scale,
        places[order],
        scores[order],
        certain[kept][order],
        possible[kept][order],
        candidates[~complete],
        possible[~complete],
        int(np.count_nonzero(~possible)),
    )


def _step(view: View, scale: Scale) -> float:
    """How far noise moves scores of a workload, as a rule; 0 where no noise is known."""
    every = max(1, len(view.places) // _SAMPLE)
    some = np.arange(0, len(view.places), every)
    values = scale.values(view, some)
    complete = ~np.isnan(values).any(axis=1)
    if not complete.any():
        return 0.0
    low, high = scale.ends(values[complete], scale.noise(view, some[complete]))
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
    alike = {name: 1.0 for name in USUAL if known(view, name)}
    if not alike:
        return None
    scale = Scale.of(view, alike)
    values = scale.values(view, candidates)
    complete = np.flatnonzero(~np.isnan(values).any(axis=1))
    first = _first(-scale.scores(values[complete]), cost[complete])
    return None if first is None else int(complete[first])


def _first(values: Floats, cost: Floats) -> int | None:
    """Where the least of *values* is, of equal ones the one that costs least; None where none is known."""
    if not values.size or np.isnan(values).all():
        return None
    best = np.flatnonzero(values == np.nanmin(values))
    return int(best[np.argmin(cost[best])])

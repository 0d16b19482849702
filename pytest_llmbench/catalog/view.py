"""What are the configurations of one workload, as arrays that limits and weights are applied to?

Only what answered the same can be compared, so each recommendation is over one workload. Texts are numbered
once; costs are made of the prices that are given. Both are kept, so that an answer takes no time for them.
"""

from __future__ import annotations

import fnmatch
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.catalog import cost
from pytest_llmbench.catalog.criteria import CRITERIA, measured
from pytest_llmbench.catalog.hardware import Devices, Price
from pytest_llmbench.catalog.row import Row
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.catalog.topsis import Bounds, bounds_of
from pytest_llmbench.models.spec import AS_IS
from pytest_llmbench.results.records import Market

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]
    Mask = NDArray[np.bool_]

AXES: Mapping[str, Callable[[Row], str]] = {
    "models": lambda row: row.model,
    "hardware": lambda row: row.hardware or "",
    "engines": lambda row: row.engine,
    "quantizations": lambda row: row.quantization or AS_IS,
    "loads": lambda row: row.load or "one",
}
"""What configurations differ in, and a person can ask for."""
_KEPT = 4
"""Views of one catalog."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What costs are made of, beside prices."""

    market: Market = "on_demand"
    lost_share: float = 0.0
    utilization: float = 1.0
    usd_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: which values there are, and which one each row has."""

    axis: str
    names: tuple[str, ...]
    codes: Places

    def choose(
        self, wanted: Sequence[str], patterns: Sequence[str], same: Callable[[str, str], str]
    ) -> tuple[Mask, list[str]]:
        """Which of the names one of *wanted* is or matches, all if there are none; and those without a name.

        :param patterns: *wanted*, as *same* has them.
        :param same: of the axis and a name, what is equal for two names of one thing.
        """
        if not wanted:
            return np.ones(len(self.names), dtype=np.bool_), []
        have = [same(self.axis, name) for name in self.names]
        chosen = np.zeros(len(self.names), dtype=np.bool_)
        missing = []
        for text, pattern in zip(wanted, patterns, strict=True):
            hits = np.array([name == pattern or fnmatch.fnmatchcase(name, pattern) for name in have])
            chosen |= hits
            if not hits.any():
                missing.append(text)
        return chosen, missing


@dataclass(frozen=True, eq=False)
class View:
    """The configurations of one workload, with their costs."""

    catalog: Catalog
    workload: str
    places: Places
    """In the catalog."""
    axes: Mapping[str, Axis]
    counts: Places
    """Devices of each row."""
    prices: tuple[Price | None, ...]
    """By the codes of the axis ``hardware``."""
    usd_per_hour: Floats
    costs: Mapping[str, Floats]
    """USD a million tokens: ``cost`` of output, ``input``, ``blended``, ``energy``."""
    _made: dict[str, tuple[Floats, Floats]] = field(default_factory=dict, repr=False)
    _bounds: dict[tuple[str, ...], Bounds] = field(default_factory=dict, repr=False)

    def row(self, index: int) -> Row:
        """The configuration at *index* of this view."""
        return self.catalog.rows[int(self.places[index])]

    def price(self, index: int) -> Price | None:
        """What one of its devices costs, in the market that is asked for."""
        return self.prices[int(self.axes["hardware"].codes[index])]

    def criterion(self, name: str) -> tuple[Floats, Floats]:
        """The value of each row, and half of its 95% interval; nan is unknown."""
        if name not in self._made:
            if name == "cost":
                speed, half = self.criterion("throughput")
                with np.errstate(all="ignore"):
                    # What is a few per cent slower costs as many more.
                    self._made[name] = self.costs["cost"], self.costs["cost"] * half / speed
            else:
                self._made[name] = measured(self.catalog, CRITERIA[name].sources, self.places)
        return self._made[name]

    def limited(self, what: str) -> tuple[Floats, Floats]:
        """As :meth:`criterion`, of what a limit may be of."""
        if what in ("cost", "quality"):
            return self.criterion(what)
        if what == "usd_per_hour":
            return self.usd_per_hour, np.full(len(self.places), np.nan)
        # Not kept: there are hundreds of metrics and statistics.
        return measured(self.catalog, (what,), self.places)

    def bounds(self, names: Sequence[str]) -> Bounds:
        """Of each criterion, the fixed scale: of all rows of the workload, whatever limits hold."""
        key = tuple(names)
        if key not in self._bounds:
            values = np.stack([self.criterion(name)[0] for name in names], axis=1)
            self._bounds[key] = bounds_of(values, [CRITERIA[name].logarithmic for name in names])
        return self._bounds[key]


def view_of(catalog: Catalog, workload: str, devices: Devices, terms: Terms) -> View:
    """The view of a workload; a catalog keeps its last few."""
    key = (workload, id(devices), terms)
    kept: OrderedDict[tuple[str, int, Terms], tuple[Devices, View]] = catalog.kept
    with _LOCK:
        if key in kept:
            kept.move_to_end(key)
            return kept[key][1]
        known = next((view for _, view in kept.values() if view.workload == workload), None)
    made = _make(catalog, workload, devices, terms, known)
    with _LOCK:
        # The table of devices is kept with it, so that its id stays its own.
        kept[key] = (devices, made)
        while len(kept) > _KEPT:
            kept.popitem(last=False)
    return made


_LOCK = Lock()


def _make(catalog: Catalog, workload: str, devices: Devices, terms: Terms, known: View | None) -> View:
    places = catalog.workloads()[workload]
    rows = [catalog.rows[place] for place in places]
    if known is None:
        axes = {name: _axis(name, map(of, rows)) for name, of in AXES.items()}
        counts = np.array([row.count for row in rows], dtype=np.int64)
    else:
        axes, counts = dict(known.axes), known.counts
    hardware = axes["hardware"]
    prices = tuple(devices.price(name, terms.market) for name in hardware.names)
    each = np.array([np.nan if price is None else price.each for price in prices], dtype=np.float64)
    usd = each[hardware.codes] * counts
    if terms.market == "spot":
        usd = cost.spot_price(usd, terms.lost_share)
    output, _ = measured(catalog, CRITERIA["throughput"].sources, places)
    joules, _ = measured(catalog, CRITERIA["energy"].sources, places)
    asked = np.array([row.prompt_tokens or np.nan for row in rows], dtype=np.float64)
    answered = np.array([row.output_tokens or np.nan for row in rows], dtype=np.float64)
    # What is read for each token that is written, by the lengths that were measured.
    read = output * asked / answered
    costs = {
        "cost": cost.per_million_tokens(usd, output, terms.utilization),
        "input": cost.per_million_tokens(usd, read, terms.utilization),
        "blended": cost.blended_per_million(usd, read, output, terms.utilization),
        "energy": cost.energy_per_million(joules, terms.usd_per_kwh),
    }
    view = View(catalog, workload, places, axes, counts, prices, usd, costs)
    if known is not None:
        # What was measured is the same, whatever the prices.
        view._made.update({name: pair for name, pair in known._made.items() if name != "cost"})
    return view


def _axis(axis: str, values: Iterable[str]) -> Axis:
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(value, len(numbers)) for value in values]
    return Axis(axis, tuple(numbers), np.array(codes, dtype=np.int64))

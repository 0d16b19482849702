"""What is said of each configuration of a ranking: its costs, how near to the limits, and why it is there?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.catalog.answer import Configuration, Costs, Entry, Margin, PriceUsed
from pytest_llmbench.catalog.criteria import CRITERIA, USUAL
from pytest_llmbench.catalog.hardware import OLD
from pytest_llmbench.catalog.limits import Checked
from pytest_llmbench.catalog.scoring import Scored
from pytest_llmbench.catalog.view import View
from pytest_llmbench.metrics.units import count, precise_percent, quantity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = NDArray[np.int64]

_NEEDED = {"p90": 10, "p95": 20, "p99": 100}
"""Values that a percentile needs, so that it is not the largest of them."""


def entries_of(
    view: View,
    scored: Scored,
    shown: Places,
    candidates: Places,
    checked: Sequence[Checked],
    today: date,
) -> list[Entry]:
    """The entries of the configurations at *shown* of *scored*.

    :param candidates: all that meet the limits, among which places are counted.
    """
    scale, places = scored.scale, scored.places[shown]
    names, values = scale.names, scale.values(view, places)
    gained = scale.parts(values)
    low, high = scale.ends(values, scale.noise(view, places))
    entries = []
    for rank, index in enumerate(map(int, shown), 1):
        place = int(scored.places[index])
        margins = [one.margin(place) for one in checked]
        costs = costs_of(view, place, today)
        overlaps = (low <= high[rank - 1]) & (high >= low[rank - 1])
        entries.append(
            Entry(
                rank=rank,
                score=float(scored.scores[index]),
                interval=(float(low[rank - 1]), float(high[rank - 1])),
                parts=dict(zip(names, map(float, gained[rank - 1]), strict=True)),
                values={name: _value(view, name, place) for name in CRITERIA},
                configuration=Configuration.of(view.row(place), today),
                costs=costs,
                margins=margins,
                front="certain" if scored.certain[index] else "possible" if scored.possible[index] else None,
                ties=[int(other) + 1 for other in np.flatnonzero(overlaps) if other + 1 != rank],
                why=_why(view, names, place, candidates, margins),
                unknown=_unknown(view, names, place, margins, checked, costs, today),
            )
        )
    return entries


def costs_of(view: View, place: int, today: date) -> Costs:
    """What a million tokens cost with one configuration."""
    row, price = view.row(place), view.price(place)
    used = None
    if price is not None:
        days = max(price.days_old(today), 0)
        used = PriceUsed(
            usd_per_hour=float(view.usd_per_hour[place]),
            market=price.market,
            provider=price.provider,
            region=price.region,
            instance=price.instance,
            source=price.source,
            date=price.date,
            days=days,
            old=days > OLD,
        )
    cost = {name: _or_none(values[place]) for name, values in view.costs.items()}
    return Costs(
        output=cost["cost"],
        input=cost["input"],
        blended=cost["blended"],
        energy=cost["energy"],
        prompt_tokens=row.prompt_tokens,
        output_tokens=row.output_tokens,
        price=used,
    )


def told(value: float | None, unit: str) -> str:
    """A value with its unit, as a person reads it."""
    if unit.startswith("USD"):
        return "-" if value is None else f"{value:.3g} {unit}"
    return quantity(value, unit)


def _value(view: View, name: str, place: int) -> float | None:
    return _or_none(view.criterion(name)[0][place])


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _why(view: View, names: Sequence[str], place: int, candidates: Places, margins: Sequence[Margin]) -> str:
    """In a sentence: its place in each criterion, and what it has to spare."""
    placed: dict[int, list[str]] = {}
    for name in names:
        values = view.criterion(name)[0]
        others, own = values[candidates], values[place]
        better = others < own if CRITERIA[name].lower else others > own
        placed.setdefault(int(np.count_nonzero(better)) + 1, []).append(CRITERIA[name].head)
    told = [f"{_ordinal(at)} in {_listed(heads)}" for at, heads in sorted(placed.items())]
    text = f"of {len(candidates)} that meet the limits: {', '.join(told)}" if told else "it meets the limits"
    spare = [one for one in margins if one.margin is not None]
    if spare:
        least = min(spare, key=lambda one: one.margin or 0.0)
        text += f"; {precise_percent(least.margin)} to spare at its tightest limit, {least.limit}"
    return text[0].upper() + text[1:]


def _listed(names: Sequence[str]) -> str:
    """``cost``, ``cost and latency``, ``cost, latency and memory``."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _ordinal(place: int) -> str:
    if place == 1:
        return "best"
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def _unknown(
    view: View,
    names: Sequence[str],
    place: int,
    margins: Sequence[Margin],
    checked: Sequence[Checked],
    costs: Costs,
    today: date,
) -> list[str]:
    """What is not known of one configuration, or not sure."""
    found = [
        f"{CRITERIA[name].head}: not known"
        for name in dict.fromkeys((*names, *USUAL))
        if _value(view, name, place) is None
    ]
    found += [f"{one.limit}: the 95% interval reaches beyond it" for one in margins if not one.sure]
    whole = [source for name in names for source in CRITERIA[name].sources]
    at = np.array([view.places[place]])
    for source in dict.fromkeys((*(one.limit.what for one in checked), *whole)):
        metric, _, statistic = source.partition(".")
        number = view.catalog.column(f"{metric}.n", at)[0]
        if number < _NEEDED.get(statistic, 0):
            found.append(f"{metric} {statistic}: of {count(int(number), 'value')} only")
    if view.catalog.column("ttft.processes", at)[0] == 1:
        found.append("measured in one process, so that noise between processes is not known")
    if (spoiled := view.row(place).spoiled) is not None:
        found.append(f"other load while it was measured: {spoiled}")
    days = (today - view.row(place).measured.date()).days
    if days > OLD:
        found.append(f"measured {days} days ago")
    if costs.price is not None and costs.price.old:
        found.append(f"price of {costs.price.date}, {costs.price.days} days old")
    return found

"""How is what we do held against the bare thing, and what is made of it?"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

# Threads of an engine may spin for a moment after its last token; they are not for the other side.
SETTLE = 0.05


class NotMeasuredError(Exception):
    """A row that cannot be measured here, and why."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a row's median has to keep; None: without a bound on that side."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether *value* keeps it."""
        low = self.at_least is None or value >= self.at_least
        return low and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True, slots=True)
class Measured:
    """One value a pair, and what the two sides were."""

    values: list[float]
    sides: Mapping[str, float] = field(default_factory=dict)
    """Medians of the two sides, by what they are and their unit."""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile, by linear interpolation."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return first, third


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    what: str
    bound: Bound
    pairs: int
    """How many pairs are taken by default."""
    measure: Callable[[int], Measured]
    """Takes the number of pairs; raises :class:`NotMeasuredError`, or an error of the package."""
    unit: str = ""
    """Empty for a ratio."""


def alternate(
    pairs: int, ours: Callable[[], float], bare: Callable[[], float], *, seed: int = 0
) -> Iterator[tuple[float, float]]:
    """One pair of (ours, bare) after the other; a seeded coin says which side goes first.

    The machine's speed drifts, and two neighbors see the same of it: their ratio does not. The
    pair that comes before the first is a warm-up of both sides.
    """
    coin = random.Random(seed)
    ours()
    bare()
    for _ in range(pairs):
        first, second = (ours, bare) if coin.random() < 0.5 else (bare, ours)
        time.sleep(SETTLE)
        one = first()
        time.sleep(SETTLE)
        two = second()
        yield (one, two) if first is ours else (two, one)


def ratios(pairs: Iterator[tuple[float, float]], unit: str) -> Measured:
    """Ours / bare, pair by pair; *unit* is that of both sides."""
    taken = list(pairs)
    return Measured([ours / bare for ours, bare in taken], _sides(taken, unit))


def differences(pairs: Iterator[tuple[float, float]], unit: str) -> Measured:
    """Ours - bare, pair by pair, in *unit*, that of both sides."""
    taken = list(pairs)
    return Measured([ours - bare for ours, bare in taken], _sides(taken, unit))


def _sides(taken: list[tuple[float, float]], unit: str) -> dict[str, float]:
    return {
        f"ours, {unit}": statistics.median(ours for ours, _ in taken),
        f"bare, {unit}": statistics.median(bare for _, bare in taken),
    }

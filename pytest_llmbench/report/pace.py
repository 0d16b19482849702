"""How far is a session, what comes next, and how long will the rest take?

Told from what was measured: a case that is still to come takes what the cases most like it took, from the
beginning of one to that of the next, so with all that is between them. Of a case like which none was
measured, nothing is known but what the others took; where such cases are much of the rest, that is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_llmbench.metrics import units

_GUESSED = 0.2
"""The share of the rest above which it is said that it is a guess."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One case that is to be measured."""

    key: str
    """Tells it from the others."""
    name: str
    """For a person."""
    like: tuple[Hashable, ...] = ()
    """What it has in common with others, the closest first."""


class Pace:
    """Follows the cases of a session.

    :param clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._planned: Sequence[Planned] = ()
        self._places: dict[str, int] = {}
        self._place: int | None = None
        self._began = 0.0
        self._took: dict[Hashable, list[float]] = {}
        self._all: list[float] = []

    def plan(self, planned: Sequence[Planned]) -> None:
        """These will be measured, in this order."""
        self._planned = planned
        self._places = {one.key: place for place, one in enumerate(planned)}
        self._place = None

    def begin(self, key: str) -> None:
        """The case *key* begins; the one before it is over. One that was not planned is not counted."""
        place = self._places.get(key)
        if place is None or place == self._place:
            return  # Some fixtures of one case begin it more than once.
        now = self._clock()
        if self._place is not None:
            took = now - self._began
            self._all.append(took)
            for likeness in self._planned[self._place].like:
                self._took.setdefault(likeness, []).append(took)
        self._place, self._began = place, now

    @property
    def next(self) -> str | None:
        """What the next case is called; None after the last."""
        after = self._rest
        return after[0].name if after else None

    @property
    def told(self) -> str | None:
        """``3/27, 4 min left``; None where there is one case only, or none has begun."""
        if self._place is None or len(self._planned) < 2:
            return None
        place = f"{self._place + 1}/{len(self._planned)}"
        if not self._all:
            return place
        guessed, known = 0.0, 0.0
        for one in self._rest:
            took, alike = self._expected(one)
            known, guessed = (known + took, guessed) if alike else (known, guessed + took)
        # A case that takes longer than those before does not predict those after it.
        took, _ = self._expected(self._planned[self._place])
        known += max(0.0, took - (self._clock() - self._began))
        left = known + guessed
        perhaps = "perhaps " if guessed > _GUESSED * left else ""
        return f"{place}, {perhaps}{units.span(left)} left"

    @property
    def _rest(self) -> Sequence[Planned]:
        return () if self._place is None else self._planned[self._place + 1 :]

    def _expected(self, one: Planned) -> tuple[float, bool]:
        """How many seconds a case will take, and whether one like it was measured."""
        found = next((self._took[likeness] for likeness in one.like if likeness in self._took), None)
        return (fmean(self._all), False) if found is None else (fmean(found), True)

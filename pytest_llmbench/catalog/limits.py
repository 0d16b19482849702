"""Which configurations meet which limits, which limit leaves out how many, and what comes near?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.catalog.answer import Excluded, Margin
from pytest_llmbench.catalog.ask import Limit
from pytest_llmbench.catalog.view import View

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]
    Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False, slots=True)
class Checked:
    """One limit, over all configurations of a view."""

    limit: Limit
    values: Floats
    half: Floats
    """Of the 95% interval."""
    meets: Mask
    unknown: Mask
    beyond: Floats
    """The share of the limit by which a value is beyond it; negative within it, nan where it is unknown."""

    @classmethod
    def of(cls, limit: Limit, view: View) -> Checked:
        """A limit, checked."""
        values, half = view.limited(limit.what)
        meets = _within(limit, values)
        sign = 1.0 if limit.at_most else -1.0
        with np.errstate(all="ignore"):
            beyond = sign * (values - limit.value) / abs(limit.value or np.finfo(np.float64).tiny)
        return cls(limit, values, half, meets, np.isnan(values), beyond)

    def margin(self, index: int) -> Margin:
        """How far one configuration is from it."""
        value, half = float(self.values[index]), float(self.half[index])
        worst = value + (half if self.limit.at_most else -half)
        sure = bool(_within(self.limit, np.array(worst if half == half else value)))
        known = value == value
        share = -float(self.beyond[index])
        return Margin(
            limit=self.limit.text,
            value=value if known else None,
            unit=self.limit.unit,
            margin=share if known and np.isfinite(share) else None,
            sure=known and sure,
        )


def _within(limit: Limit, values: Floats) -> Mask:
    with np.errstate(invalid="ignore"):
        if limit.at_most:
            found = values < limit.value if limit.strict else values <= limit.value
        else:
            found = values > limit.value if limit.strict else values >= limit.value
    return np.asarray(found)


def all_meet(checked: Sequence[Checked], within: Mask, but: int | None = None) -> Mask:
    """Which of *within* meet every limit; but the one with that number."""
    found = within.copy()
    for number, one in enumerate(checked):
        if number != but:
            found &= one.meets
    return found


def excluded(checked: Sequence[Checked], within: Mask) -> list[Excluded]:
    """What each limit leaves out, the one that leaves out most first."""
    found = []
    for number, one in enumerate(checked):
        others = all_meet(checked, within, but=number)
        beyond = ~one.meets & ~one.unknown
        known = one.values[others & ~one.unknown]
        best = None
        if known.size:
            best = float(known.min() if one.limit.at_most else known.max())
        found.append(
            Excluded(
                limit=one.limit.text,
                count=int(np.count_nonzero(within & beyond)),
                alone=int(np.count_nonzero(others & ~one.meets)),
                unknown=int(np.count_nonzero(within & one.unknown)),
                needed=best,
                unit=one.limit.unit,
            )
        )
    return sorted(found, key=lambda one: (-one.count, one.limit))


def near(checked: Sequence[Checked], within: Mask, most: int) -> list[tuple[int, float]]:
    """The configurations that miss by least, with the largest share by which one is beyond a limit.

    Those of which a limit is not known are none of them.
    """
    if not checked:
        return []
    beyond = np.max(np.stack([one.beyond for one in checked]), axis=0)
    missed = within & ~all_meet(checked, within) & np.isfinite(beyond)
    places = np.flatnonzero(missed)
    nearest = places[np.argsort(beyond[places], kind="stable")][:most]
    return [(int(place), float(beyond[place])) for place in nearest]

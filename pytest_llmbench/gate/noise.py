"""What is done with pairs that other load disturbed, and when can none of them be believed?

The order within a pair was drawn by a coin, so that the exact test holds whatever the machine does: to drop
disturbed pairs serves its power and not its truth. They are dropped and replaced as long as most pairs are
quiet. Where most are not, all are used, and the verdict is marked noisy. That is decided by the reason codes
alone, never by what a pair shows.

It takes that others' load hits both sides alike. Where it falls on one of them, a difference says how each
bears that load, and not which is slower: nothing is said then.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import Literal

from pytest_llmbench.gate.paired import DEFAULT_SCREEN
from pytest_llmbench.measure.pairs import MeasuredPair
from pytest_llmbench.metrics.units import percent

OnDisturbed = Literal["auto", "drop", "keep"]
"""``drop`` replaces disturbed pairs, ``keep`` uses them, ``auto`` replaces them unless most are disturbed."""
SpoiledBy = Literal["load", "unusable", "one_sided", "threads"]
"""What makes pairs invalid: that too few of them were quiet; that none could be used, quiet or not; that
others' load falls on one side more than on the other; or that the sides have other numbers of threads, which
load cannot hit alike."""
MOSTLY = 0.5
"""From this share of disturbed pairs on, more of them can hardly be replaced."""
ONE_SIDED_FIRST, ONE_SIDED_LATER = 0.01, 0.001
"""The chance to take load that falls on both sides alike for one that does not: at the first look, where
eight pairs can say no more, and at each of the later ones."""
ONE_SIDED_FROM = 0.1
"""What the sides' burdens must differ by, beyond doubt: with less, load is not what tells them apart."""


def mostly_disturbed(disturbed: int, pairs: int) -> bool:
    """Whether a session that replaces disturbed pairs should use them instead."""
    return pairs >= DEFAULT_SCREEN and disturbed > MOSTLY * pairs


def one_sided(pairs: Sequence[MeasuredPair]) -> str | None:
    """Why the load of others does not fall on both sides alike, if it does not.

    By what is known of the sides beforehand; else by a two-sided exact sign test of which side of each pair
    bore more, and by how much. Ask once a look.
    """
    if not pairs:
        return None
    if (why := pairs[-1].unlike) is not None:
        return why
    burdens = [pair.burden for pair in pairs]
    signs = [now > base for base, now in burdens if base != now]
    more = max(signs.count(True), signs.count(False))
    tail = sum(comb(len(signs), k) for k in range(more, len(signs) + 1)) / 2 ** len(signs)
    base, now = (median(side) for side in zip(*burdens, strict=True))
    level = ONE_SIDED_FIRST if len(pairs) <= DEFAULT_SCREEN else ONE_SIDED_LATER
    if 2 * tail > level or abs(now - base) < ONE_SIDED_FROM:
        return None
    heavier, lighter = ("new", "base") if now > base else ("base", "new")
    return (
        f"the load of others falls on the {heavier} side more than on the {lighter} one: it held up "
        f"{percent(max(base, now))} of the work of the one and {percent(min(base, now))} of the other's"
    )

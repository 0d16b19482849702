"""How much do two texts have in common at their beginnings?"""

from __future__ import annotations

from collections.abc import Sequence


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many token ids two texts have in common at their beginnings."""
    most = min(len(one), len(other))
    # A slice is compared many times as fast as its elements one by one, and mostly one continues the other.
    if one[:most] == other[:most]:
        return most
    return next(n for n in range(most) if one[n] != other[n])

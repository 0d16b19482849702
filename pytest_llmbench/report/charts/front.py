"""Which points are not beaten in two things at once?"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmbench.metrics.row import Better


def front(points: Sequence[tuple[float, float]], better: tuple[Better, Better]) -> list[int]:
    """Which of *points* are not beaten: no other is at least as good in both and better in one.

    :returns: their indices, by rising first coordinate.
    """
    signs = [1 if one == "lower" else -1 for one in better]
    costs = [(signs[0] * x, signs[1] * y) for x, y in points]
    order = sorted(range(len(costs)), key=lambda index: costs[index])
    kept: list[int] = []
    for index in order:
        last = costs[kept[-1]] if kept else None
        if last is None or costs[index][1] < last[1] or costs[index] == last:
            kept.append(index)
    return sorted(kept, key=lambda index: points[index][0])

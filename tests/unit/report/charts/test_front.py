"""Which points are not beaten in two things at once?"""

from __future__ import annotations

import random

from pytest_llmbench.report.charts.front import front


def test_the_front_is_what_no_other_beats() -> None:
    drawn = random.Random(4)
    points = [(drawn.randint(0, 9) / 1, drawn.randint(0, 9) / 1) for _ in range(60)]

    def beaten(one: tuple[float, float]) -> bool:
        return any(x <= one[0] and y >= one[1] and (x, y) != one for x, y in points)

    assert front(points, ("lower", "higher")) == sorted(
        (index for index, one in enumerate(points) if not beaten(one)), key=lambda index: points[index][0]
    )


def test_an_empty_board_has_no_front() -> None:
    assert front([], ("lower", "lower")) == []

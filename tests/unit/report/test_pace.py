"""Is the rest of a session told from what was measured, and is a guess called one?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmbench.report.pace import Pace, Planned


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Go = Callable[..., Pace]


@pytest.fixture
def go(clock: Clock) -> Go:
    """Cases called ``FUNCTION-MODEL``: as many as *took* so many seconds are over, and the next begins."""

    def go(names: str, *took: float) -> Pace:
        planned = [
            Planned(name, name, (name.rstrip("0123456789"), name.partition("-")[0])) for name in names.split()
        ]
        pace = Pace(clock)
        pace.plan(planned)
        for one, seconds in zip(planned, (*took, 0.0), strict=False):
            pace.begin(one.key)
            clock.now += seconds
        return pace

    return go


def test_before_anything_was_measured_only_the_place_is_told(go: Go) -> None:
    assert go("a-x1 a-x2").told == "1/2"


def test_a_case_takes_what_the_cases_most_like_it_took(go: Go) -> None:
    assert go("a-x1 b-x1 a-x2 b-x2", 10, 90).told == "3/4, 2 min left"
    assert go("a-x1 a-y1 a-x2 a-y2", 10, 50, 20).told == "4/4, 50 s left"


def test_of_a_function_with_another_model_its_mean_is_taken(go: Go) -> None:
    assert go("a-x1 a-y1 a-z1", 10, 50).told == "3/3, 30 s left"


def test_where_nothing_like_it_was_measured_it_is_a_guess_and_called_one(go: Go) -> None:
    assert go("a-x1 b-x1 b-x2", 10).told == "2/3, perhaps 20 s left"


def test_a_small_part_that_is_guessed_leaves_the_rest_told(go: Go) -> None:
    names = " ".join(["a-x1", "b-x1", *(f"a-x{n}" for n in range(2, 12))])
    assert go(f"{names} c-x1", 10, 10).told == "3/13, 2 min left"


def test_a_case_that_takes_longer_does_not_make_the_rest_shorter(go: Go, clock: Clock) -> None:
    pace = go("a-x1 a-x2 a-x3", 10)
    clock.now += 500
    assert pace.told == "2/3, 10 s left"


def test_next_is_the_one_after_this(go: Go) -> None:
    assert go("a-x1 a-x2").next == "a-x2"
    assert go("a-x1 a-x2", 1).next is None
    assert Pace().next is None


def test_cases_that_were_skipped_are_over_too(go: Go, clock: Clock) -> None:
    pace = go("a-x1 a-x2 a-x3 a-x4")
    clock.now += 10
    pace.begin("a-x4")
    assert pace.told == "4/4, 10 s left"


def test_a_case_that_begins_twice_or_was_not_planned_is_not_counted(go: Go, clock: Clock) -> None:
    pace = go("a-x1 a-x2 a-x3")
    clock.now += 10
    pace.begin("a-x1")
    pace.begin("other")
    assert pace.told == "1/3"
    pace.begin("a-x2")
    assert pace.told == "2/3, 20 s left"

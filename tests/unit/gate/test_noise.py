"""Which load falls on both sides alike, and when are disturbed pairs used?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import pytest

from pytest_llmbench.gate.noise import mostly_disturbed, one_sided
from pytest_llmbench.measure.pairs import MeasuredPair


@dataclass(frozen=True)
class Bearing:
    """A pair of which only the burden is asked."""

    burden: tuple[float, float]
    unlike: str | None = None


def pairs(*burdens: tuple[float, float]) -> Sequence[MeasuredPair]:
    return cast("Sequence[MeasuredPair]", [Bearing(burden) for burden in burdens])


def test_load_that_every_pair_has_on_one_side_is_one_sided_and_says_which() -> None:
    found = one_sided(pairs(*[(0.02, 0.43)] * 8))
    assert found is not None
    assert "falls on the new side more than on the base one" in found
    assert "43%" in found
    assert "2%" in found
    other = one_sided(pairs(*[(0.43, 0.0)] * 8))
    assert other is not None
    assert "falls on the base side more than on the new one" in other


def test_a_few_pairs_are_not_enough_to_say_so() -> None:
    assert one_sided(pairs(*[(0.0, 0.9)] * 7)) is None
    assert one_sided(pairs(*[(0.0, 0.9)] * 9)) is None
    assert one_sided(pairs(*[(0.0, 0.9)] * 12)) is not None
    assert one_sided([]) is None


def test_a_difference_that_is_small_is_not_what_tells_the_sides_apart() -> None:
    assert one_sided(pairs(*[(0.30, 0.36)] * 32)) is None


def test_load_that_falls_on_either_side_by_chance_is_on_both() -> None:
    drawn = random.Random(7)
    for _ in range(20):
        burdens = [(drawn.random(), drawn.random()) for _ in range(12)]
        assert one_sided(pairs(*burdens)) is None


def test_sides_that_load_cannot_hit_alike_are_told_apart_at_once() -> None:
    one = cast("MeasuredPair", Bearing((0.1, 0.1), unlike="the base side has 1 and the new side 2 threads"))
    assert one_sided([one]) == "the base side has 1 and the new side 2 threads"


@pytest.mark.parametrize(
    ("disturbed", "of", "mostly"), [(7, 7, False), (4, 8, False), (5, 8, True), (16, 32, False)]
)
def test_most_pairs_are_more_than_half_of_those_of_the_first_look(
    disturbed: int, of: int, mostly: bool
) -> None:
    assert mostly_disturbed(disturbed, of) is mostly

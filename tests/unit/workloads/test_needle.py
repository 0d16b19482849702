"""Is a fact hidden where it is to be, and known again in an answer?"""

from __future__ import annotations

import pytest

from pytest_llmbench.workloads.needle import Needle

NEEDLE = Needle.of(7)
HAY = "One stood here. Two stood there! Was three there? Four was."


def test_each_seed_has_its_needle() -> None:
    assert Needle.of(7) == NEEDLE
    assert len({Needle.of(seed).answer for seed in range(100)}) == 100
    assert len(NEEDLE.answer) == 7
    assert NEEDLE.answer in NEEDLE.fact
    assert NEEDLE.answer not in NEEDLE.question


@pytest.mark.parametrize(("place", "before"), [(0, 0), (0.25, 1), (0.5, 2), (1, 4)])
def test_it_stands_between_the_sentences_of_its_place(place: float, before: int) -> None:
    hidden = NEEDLE.hidden(HAY, place)
    head, _, rest = hidden.partition(NEEDLE.fact)
    assert sum(head.count(end) for end in ".!?") == before
    assert hidden.endswith(f"{NEEDLE.question}\nAnswer:")
    assert rest.count(NEEDLE.fact) == 0


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("{}", True),
        ("It is {}.", True),
        ("The number: **{}**", True),
        ("1{}", False),
        ("I do not know.", False),
        ("", False),
    ],
)
def test_the_number_alone_is_judged(answer: str, found: bool) -> None:
    assert NEEDLE.found_in(answer.format(NEEDLE.answer)) is found


def test_separators_within_the_number_do_not_matter() -> None:
    digits = NEEDLE.answer
    assert NEEDLE.found_in(f"{digits[0]},{digits[1:4]},{digits[4:]}")
    assert NEEDLE.found_in(f"{digits[:3]}-{digits[3:]}")
    assert not NEEDLE.found_in(f"{digits[:3]} and {digits[3:]}")

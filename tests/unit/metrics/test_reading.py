"""Is what a person wrote the quantity that it says?"""

from __future__ import annotations

import re

import pytest

from pytest_llmbench.metrics.reading import NUMBER, factors


@pytest.mark.parametrize(
    ("unit", "written", "factor"),
    [
        ("s", "ms", 1e-3),
        ("bytes", "GiB", 2**30),
        ("bytes", "GB", 1e9),
        ("J/token", "mJ", 1e-3),
        ("watts", "", 1),
    ],
)
def test_a_unit_may_be_written_in_several_ways(unit: str, written: str, factor: float) -> None:
    assert factors(unit)[written] == factor


def test_a_time_needs_a_unit_and_a_rate_does_not() -> None:
    assert "" not in factors("s")
    assert "" in factors("tokens/s")


@pytest.mark.parametrize(
    ("text", "is_one"), [("1", True), (".5", True), ("1e-3", True), ("-1", False), ("e", False)]
)
def test_a_number_is_not_negative(text: str, is_one: bool) -> None:
    assert bool(re.fullmatch(NUMBER, text)) is is_one

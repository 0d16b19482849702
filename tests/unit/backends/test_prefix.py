"""How much do two texts have in common at their beginnings?"""

from __future__ import annotations

from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.backends.prefix import common_prefix


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_it_is_as_long_as_the_beginning_that_both_have(one: list[int], other: list[int]) -> None:
    assert common_prefix(one, other) == len(
        [*takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]
    )

"""What may a case cost, and for how many pairs is that?"""

from __future__ import annotations

import pytest

from pytest_llmbench.gate.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "budget", "most"),
    [
        ("20", Budget(pairs=20), 20),
        ("200pairs", Budget(pairs=200), 200),
        ("90s", Budget(seconds=90), 512),
        ("10min", Budget(seconds=600), 512),
        ("2h", Budget(seconds=7200), 512),
    ],
)
def test_a_budget_is_a_number_of_pairs_or_a_time(text: str, budget: Budget, most: int) -> None:
    assert parse_budget(text) == budget
    assert budget.most == most


def test_a_case_without_a_budget_has_32_pairs() -> None:
    assert Budget().most == 32


@pytest.mark.parametrize("text", ["", "0", "-3", "10parsecs", "infs", "3.5"])
def test_what_is_not_a_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the setting's reader says what it takes
        parse_budget(text)

"""Are the cells that are asked for those that come?"""

from __future__ import annotations

from pytest_llmbench.matrix.choice import chosen
from pytest_llmbench.results.cell import Hardware
from tests.unit.matrix.plans import a_cell, a_plan


def test_hardware_is_asked_for_in_any_number_or_in_one() -> None:
    one, two = a_cell("one", Hardware("L4")), a_cell("two", Hardware("L4", 2))
    plan = a_plan(one, two)
    assert chosen(plan, {"hardware": ["L4"]}) == [one, two]
    assert chosen(plan, {"hardware": ["L4x1"]}) == [one]
    assert chosen(plan, {"hardware": ["L4x2"]}) == [two]

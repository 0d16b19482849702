"""Are the cells chosen that were asked for?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix.choice import batch_of, chosen, read_only
from pytest_llmbench.results.cell import Hardware
from tests.unit.matrix.plans import a_cell, a_plan

ONE = a_cell("one")
TWO = replace(a_cell("two", Hardware("L4", 2)), model="other")
PLAN = a_plan(ONE, TWO)


@pytest.mark.parametrize(
    ("only", "cells"),
    [
        ([], [ONE, TWO]),
        (["case=one"], [ONE]),
        (["hardware=L4"], [TWO]),
        (["hardware=L4x2"], [TWO]),
        (["model=other,tiny"], [ONE, TWO]),
        (["model=other", "model=tiny", "hardware=cpu"], [ONE]),
    ],
)
def test_cells_are_chosen_by_the_values_of_axes(only: list[str], cells: list[object]) -> None:
    assert chosen(PLAN, read_only(only)) == cells


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("hardwar=L4", "there is no axis 'hardwar'; did you mean 'hardware'"),
        ("hardware", "write AXIS=VALUE"),
        ("hardware=H100", "no cell has that"),
        ("model=tiny2", "did you mean 'tiny'"),
    ],
)
def test_what_no_cell_has_is_said(only: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen(PLAN, read_only([only]))


def test_values_that_no_cell_has_together_are_said() -> None:
    with pytest.raises(UsageError, match="no cell of matrix m has all"):
        chosen(PLAN, read_only(["model=tiny", "hardware=L4"]))


def test_batches_have_all_cells_once() -> None:
    cells = [a_cell(f"c{n}") for n in range(5)]
    assert [batch_of(cells, 2, n) for n in range(3)] == [cells[:2], cells[2:4], cells[4:]]
    with pytest.raises(UsageError, match="--batch 3: there are 3, 0 to 2, of 2 of 5 cells"):
        batch_of(cells, 2, 3)
    with pytest.raises(UsageError, match="--batch -1"):
        batch_of(cells, 2, -1)

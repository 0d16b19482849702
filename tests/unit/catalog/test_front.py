"""The fronts against moocore, and against every completion there is."""

from __future__ import annotations

import itertools
import tracemalloc

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.catalog import front as module
from pytest_llmbench.catalog.front import Floats, Mask, front, fronts

BEST, WORST = 0.0, 2.0
UNKNOWN = np.nan


def by_definition(table: Floats) -> Mask:
    """The rows that no row dominates, where less is better."""
    no_worse = (table[:, None] <= table[None]).all(axis=2)
    better = (table[:, None] < table[None]).any(axis=2)
    return ~(no_worse & better).any(axis=0)


def completions(table: Floats) -> Floats:
    """The table with every choice of the best, the worst and a value between for each unknown one."""
    rows, columns = np.nonzero(np.isnan(table))
    made = []
    for chosen in itertools.product((BEST, 1.0, WORST), repeat=len(rows)):
        one = table.copy()
        one[rows, columns] = chosen
        made.append(one)
    return np.array(made)


def drawn(rng: np.random.Generator) -> Floats:
    """A table as they come: few criteria or many, random, tied, going together or against each other."""
    rows, columns = int(rng.integers(1, 120)), int(rng.integers(1, 7))
    kind = rng.integers(4)
    if kind == 0:
        return rng.random((rows, columns))
    if kind == 1:
        return rng.integers(0, 4, (rows, columns)).astype(float)
    if kind == 2:
        return np.exp(rng.normal(size=(rows, 1)) + 0.2 * rng.normal(size=(rows, columns)))
    shares = rng.exponential(size=(rows, columns))
    return shares / shares.sum(axis=1, keepdims=True)


def test_a_row_that_is_worse_in_one_criterion_and_better_in_none_is_off_the_front() -> None:
    # Seconds, tokens a second.
    values = np.array([[0.1, 50.0], [0.2, 80.0], [0.2, 70.0], [0.3, 80.0], [0.1, 50.0]])
    assert front(values, [True, False]).tolist() == [True, True, False, False, True]


def test_it_agrees_with_moocore_on_a_thousand_tables() -> None:
    rng = np.random.default_rng(14)
    for _ in range(1000):
        values = drawn(rng)
        lower = rng.random(values.shape[1]) < 0.5
        expected = moocore.is_nondominated(values, maximise=~lower, keep_weakly=True)
        assert (front(values, lower.tolist()) == expected).all()


@pytest.mark.parametrize(
    "kind", ["random", "together", "against", "tied", "equal", "integers beyond 16 bits"]
)
def test_it_agrees_with_moocore_on_large_tables(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    values = rng.random((5000, 4))
    if kind == "together":
        values = values + 5 * rng.random((5000, 1))
    elif kind == "against":
        values = values / values.sum(axis=1, keepdims=True)
    elif kind == "tied":
        values = np.round(values, 1)
    elif kind == "equal":
        values = np.ones((5000, 4))
    elif kind == "integers beyond 16 bits":
        values = rng.permuted(np.tile(np.arange(70_000.0)[:, None], (1, 4)), axis=0)
        # Without the first pass, so that all ranks are taken.
        monkeypatch.setattr(module, "_PIVOTS", 0)
    assert (front(values, [True] * 4) == moocore.is_nondominated(values, keep_weakly=True)).all()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_certain_holds_for_every_completion_and_what_is_possible_for_one(data: st.DataObject) -> None:
    columns = data.draw(st.integers(1, 3))
    # Known values lie beyond the bounds too.
    cell = st.sampled_from((-1.0, 0.0, 1.0, 2.0, 3.0))
    rows = data.draw(st.lists(st.lists(cell, min_size=columns, max_size=columns), min_size=1, max_size=6))
    table = np.array(rows)
    places = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, columns - 1))
    for place in data.draw(st.lists(places, max_size=5)):
        table[place] = UNKNOWN
    on_front = np.array([by_definition(one) for one in completions(table)])

    signs = np.array(data.draw(st.lists(st.sampled_from((1.0, -1.0)), min_size=columns, max_size=columns)))
    certain, possible = fronts(table * signs, (signs > 0).tolist(), WORST * signs, BEST * signs)
    assert certain.tolist() == on_front.all(axis=0).tolist()
    assert possible.tolist() == on_front.any(axis=0).tolist()


def test_both_fronts_are_those_of_the_definition_on_many_tables() -> None:
    rng = np.random.default_rng(41)
    for _ in range(500):
        values = drawn(rng)
        values[rng.random(values.shape) < rng.choice([0.02, 0.2, 0.6])] = UNKNOWN
        unknown = np.isnan(values)
        at_best, at_worst = np.where(unknown, 0.0, values), np.where(unknown, 5.0, values)
        width = values.shape[1]
        certain, possible = fronts(values, [True] * width, np.full(width, 5.0), np.zeros(width))

        itself = np.eye(len(values), dtype=bool)
        for found, mine, others in ((certain, at_worst, at_best), (possible, at_best, at_worst)):
            no_worse = (others[:, None] <= mine[None]).all(axis=2)
            better = (others[:, None] < mine[None]).any(axis=2)
            assert (found == ~(no_worse & better & ~itself).any(axis=0)).all()


def test_a_row_that_hides_behind_one_with_an_unknown_can_still_dominate_it() -> None:
    # The first, at its best, dominates both others; at its worst the second dominates it. Yet the best front
    # holds the first alone.
    values = np.array([[1.0, UNKNOWN], [1.0, 1.0], [2.0, 2.0]])
    certain, possible = fronts(values, [True, True], np.array([9.0, 9.0]), np.array([0.0, 0.0]))
    assert certain.tolist() == [False, False, False]
    assert possible.tolist() == [True, True, False]


def test_an_unknown_is_never_an_advantage_that_is_certain_nor_a_defeat() -> None:
    values = np.array([[1.0, 1.0], [UNKNOWN, UNKNOWN]])
    certain, possible = fronts(values, [True, True], np.array([np.inf, np.inf]), np.array([-np.inf, -np.inf]))
    assert certain.tolist() == [False, False]
    assert possible.tolist() == [True, True]


def test_without_unknowns_both_are_the_front() -> None:
    values = np.random.default_rng(2).random((300, 3))
    lower = [True, False, True]
    certain, possible = fronts(values, lower, np.array([1.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]))
    assert certain.tolist() == possible.tolist() == front(values, lower).tolist()
    assert not np.shares_memory(certain, possible)


def test_infinite_and_huge_values_are_compared_as_any_other() -> None:
    values = np.array([[np.inf, 1.0], [1e308, 1.0], [-np.inf, 2.0], [-1e308, 2.0], [np.inf, np.inf]])
    assert front(values, [True, True]).tolist() == [False, True, True, False, False]


def test_values_that_sum_to_the_same_are_told_apart() -> None:
    # In floating point, 1 + 1e-17 is 1.
    values = np.array([[1.0, 2e-17], [1.0, 1e-17], [0.0, 1.0]])
    assert front(values, [True, True]).tolist() == [False, True, True]


def test_an_empty_table_has_an_empty_front() -> None:
    assert front(np.empty((0, 2)), [True, True]).tolist() == []
    assert [mask.tolist() for mask in fronts(np.empty((0, 1)), [True], np.ones(1), np.zeros(1))] == [[], []]


def test_memory_does_not_grow_with_the_square_of_the_rows() -> None:
    values = np.random.default_rng(3).exponential(size=(6000, 4))
    values /= values.sum(axis=1, keepdims=True)
    values[::50, 0] = UNKNOWN
    tracemalloc.start()
    try:
        fronts(values, [True] * 4, np.ones(4), np.zeros(4))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All pairs would be 36 MB an array.
    assert peak < 8e6


@pytest.mark.parametrize(
    ("values", "lower"),
    [
        (np.array([[1.0, np.nan]]), [True, True]),
        (np.array([[1.0, 2.0]]), [True]),
        (np.array([1.0, 2.0]), [True, True]),
        (np.empty((2, 0)), []),
    ],
)
def test_what_has_no_front_is_refused(values: Floats, lower: list[bool]) -> None:
    with pytest.raises(ValueError, match=r"front needs every value|expected rows of"):
        front(values, lower)


@pytest.mark.parametrize(("worst", "best"), [(0.0, 1.0), (np.nan, 0.0)])
def test_bounds_the_wrong_way_round_are_refused(worst: float, best: float) -> None:
    with pytest.raises(ValueError, match="not all worse"):
        fronts(np.array([[np.nan]]), [True], np.array([worst]), np.array([best]))

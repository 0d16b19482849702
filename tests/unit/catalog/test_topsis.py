"""The scores against pymcdm, and what they promise: no other row and no unit changes one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymcdm.methods import TOPSIS

from pytest_llmbench.catalog.topsis import Bounds, Floats, bounds_of, parts, topsis
from pytest_llmbench.errors import UsageError

RNG = np.random.default_rng(14)


def straight(low: list[float], high: list[float]) -> Bounds:
    return Bounds(tuple(low), tuple(high), (False,) * len(low))


@st.composite
def catalogs(draw: st.DrawFn) -> tuple[Floats, list[bool], list[bool], Floats]:
    """Values of a catalog, which criteria are logarithmic, which better if lower, and weights."""
    rows, columns = draw(st.integers(2, 40)), draw(st.integers(1, 5))
    value = st.integers(1, 10_000).map(lambda n: n / 100)
    table = draw(st.lists(st.lists(value, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    flags = st.lists(st.booleans(), min_size=columns, max_size=columns)
    weights = draw(st.lists(st.integers(0, 9), min_size=columns, max_size=columns).filter(any))
    return np.array(table), draw(flags), draw(flags), np.array(weights, dtype=float)


def test_a_score_is_worked_out_by_hand() -> None:
    # A latency of 1 to 100 ms by ratios, and a throughput of 0 to 200; the latter counts twice.
    bounds = Bounds((1.0, 0.0), (100.0, 200.0), (True, False))
    values = np.array([[10.0, 150.0], [1.0, 200.0], [100.0, 0.0], [0.1, 500.0]])
    # The first: halfway by latency, three quarters by throughput; weights 1/3 and 2/3.
    to_worst = math.hypot(0.5 / 3, 0.75 * 2 / 3)
    to_ideal = math.hypot(0.5 / 3, 0.25 * 2 / 3)
    expected = [to_worst / (to_worst + to_ideal), 1.0, 0.0, 1.0]
    assert topsis(values, [1, 2], bounds, [True, False]) == pytest.approx(expected)


def test_it_agrees_with_pymcdm_on_a_thousand_tables() -> None:
    for _ in range(1000):
        rows, columns = int(RNG.integers(1, 60)), int(RNG.integers(1, 7))
        values = RNG.normal(size=(rows, columns)) * RNG.choice([1e-3, 1.0, 1e6], columns)
        lower = RNG.random(columns) < 0.5
        weights = RNG.random(columns)
        bounds = (
            bounds_of(values, [False] * columns) if rows > 1 else straight([-9.0] * columns, [9.0] * columns)
        )

        # The same normalization, and the ideal and its opposite among the rows, which pymcdm takes them from.
        low, high = np.array(bounds.low), np.array(bounds.high)
        place = np.clip((values - low) / (high - low), 0.0, 1.0)
        good = np.vstack([np.where(lower, 1.0 - place, place), np.ones(columns), np.zeros(columns)])
        oracle = TOPSIS(normalization_function=lambda x, cost: x)
        expected = oracle(good, weights / weights.sum(), np.ones(columns), validation=False)[:rows]
        assert topsis(values, weights, bounds, lower.tolist()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(catalogs(), st.data())
def test_rows_that_go_change_no_other_score(
    catalog: tuple[Floats, list[bool], list[bool], Floats], data: st.DataObject
) -> None:
    values, logarithmic, lower, weights = catalog
    bounds = bounds_of(values, logarithmic)
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    every = topsis(values, weights, bounds, lower)
    assert topsis(values[kept], weights, bounds, lower).tolist() == every[kept].tolist()


@settings(max_examples=100, deadline=None)
@given(catalogs(), st.data())
def test_a_unit_changes_no_score(
    catalog: tuple[Floats, list[bool], list[bool], Floats], data: st.DataObject
) -> None:
    values, logarithmic, lower, weights = catalog
    unit = st.sampled_from((1e-9, 1e-3, 1 / 60, 8.0, 1024.0, 1e6))
    columns = values.shape[1]
    factors = np.array(data.draw(st.lists(unit, min_size=columns, max_size=columns)))
    here = topsis(values, weights, bounds_of(values, logarithmic), lower)
    there = topsis(values * factors, weights * 7.0, bounds_of(values * factors, logarithmic), lower)
    assert there == pytest.approx(here, rel=1e-6, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(catalogs(), st.data())
def test_what_is_better_in_one_criterion_never_scores_less(
    catalog: tuple[Floats, list[bool], list[bool], Floats], data: st.DataObject
) -> None:
    values, logarithmic, lower, weights = catalog
    criterion = data.draw(st.integers(0, values.shape[1] - 1))
    better = values.copy()
    better[:, criterion] *= 0.5 if lower[criterion] else 2.0
    bounds = bounds_of(values, logarithmic)
    assert (topsis(better, weights, bounds, lower) >= topsis(values, weights, bounds, lower) - 1e-12).all()


@settings(max_examples=100, deadline=None)
@given(catalogs())
def test_the_parts_sum_to_the_score_and_to_what_it_lacks(
    catalog: tuple[Floats, list[bool], list[bool], Floats],
) -> None:
    values, logarithmic, lower, weights = catalog
    bounds = bounds_of(values, logarithmic)
    scores, found = topsis(values, weights, bounds, lower), parts(values, weights, bounds, lower)
    assert found.gained.shape == found.lost.shape == values.shape
    assert found.gained.sum(axis=1) == pytest.approx(scores)
    assert found.lost.sum(axis=1) == pytest.approx(1.0 - scores)
    assert (found.gained >= 0.0).all()
    assert (found.lost >= 0.0).all()


def test_the_parts_say_which_criterion_a_row_is_good_and_bad_in() -> None:
    found = parts(np.array([[1.0, 0.2]]), [1, 1], straight([0.0, 0.0], [1.0, 1.0]), [False, False])
    assert found.gained[0, 0] > found.gained[0, 1] > 0.0
    assert found.lost[0].tolist() == pytest.approx([0.0, 1.0 - found.gained[0].sum()])


def test_the_bounds_are_the_1st_and_99th_percentile_on_the_scale_of_the_criterion() -> None:
    values = np.column_stack([np.arange(101.0), 10.0 ** (np.arange(101.0) / 100.0)])
    bounds = bounds_of(values, [False, True])
    assert bounds.low == pytest.approx((1.0, 10.0**0.01))
    assert bounds.high == pytest.approx((99.0, 10.0**0.99))


def test_unknown_infinite_and_impossible_values_are_left_out_of_the_bounds() -> None:
    known = np.arange(101.0)[:, None] + 1.0
    more = np.vstack([known, [[np.nan], [np.inf], [-np.inf], [0.0], [-5.0]]])
    assert bounds_of(more, [True]) == bounds_of(known, [True])
    assert bounds_of(more[:-2], [False]) == bounds_of(known, [False])


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("same", [[7.0] * 5, [0.3, 0.1 * 3, 0.3], [np.nan] * 5, [42.0], []])
def test_a_criterion_without_spread_decides_nothing(same: list[float], logarithmic: bool) -> None:
    bounds = bounds_of(np.array(same)[:, None], [logarithmic])
    both = Bounds((*bounds.low, 0.0), (*bounds.high, 1.0), (logarithmic, False))
    values = np.array([[1.0, 0.25], [9.0, 0.75]])
    alone = topsis(values[:, 1:], [1.0], straight([0.0], [1.0]), [False])
    assert topsis(values, [5.0, 1.0], both, [True, False]) == pytest.approx(alone)


def test_rows_that_nothing_tells_apart_are_halfway() -> None:
    values = np.array([[7.0, 3.0]] * 3)
    bounds = bounds_of(values, [False, True])
    assert topsis(values, [3, 1], bounds, [True, True]).tolist() == [0.5, 0.5, 0.5]
    found = parts(values, [3, 1], bounds, [True, True])
    assert found.gained.tolist() == found.lost.tolist() == [[0.375, 0.125]] * 3


def test_what_is_free_is_the_best_on_a_logarithmic_scale() -> None:
    bounds = Bounds((0.1,), (10.0,), (True,))
    values = np.array([[-1.0], [0.0], [0.1], [10.0], [np.inf]])
    assert topsis(values, [1], bounds, [True]).tolist() == [1, 1, 1, 0, 0]


def test_a_criterion_without_weight_may_be_unknown() -> None:
    values = np.array([[np.nan, 0.25]])
    bounds = straight([0.0, 0.0], [1.0, 1.0])
    assert topsis(values, [0, 1], bounds, [True, False]).tolist() == [0.25]
    with pytest.raises(ValueError, match="criterion 0 has a weight, and is unknown in some rows"):
        topsis(values, [1, 1], bounds, [True, False])


def test_no_rows_have_no_scores() -> None:
    assert topsis(np.empty((0, 1)), [1], straight([0.0], [1.0]), [True]).tolist() == []


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([0, 0], r"The weights are all 0 \(0, 0\): give one of them more"),
        ([2, -1], "Weights are numbers of 0 or more, not 2, -1"),
        ([np.nan, 1], "Weights are numbers of 0 or more, not nan, 1"),
        ([np.inf, 1], "Weights are numbers of 0 or more, not inf, 1"),
    ],
)
def test_weights_that_give_no_order_are_refused(weights: list[float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        topsis(np.ones((2, 2)), weights, straight([0.0, 0.0], [1.0, 1.0]), [True, True])


def test_huge_and_tiny_weights_count_by_their_ratio() -> None:
    values, bounds = np.array([[0.2, 0.7]]), straight([0.0, 0.0], [1.0, 1.0])
    plain = topsis(values, [1, 2], bounds, [False, False])
    for factor in (8e307, 1e-300):
        weights = np.array([1.0, 2.0]) * factor
        assert topsis(values, weights, bounds, [False, False]) == pytest.approx(plain)


@pytest.mark.parametrize(
    ("values", "weights", "lower"),
    [
        (np.ones(2), [1, 1], [True, True]),
        (np.ones((2, 3)), [1, 1], [True, True]),
        (np.ones((2, 2)), [1], [True, True]),
        (np.ones((2, 2)), [1, 1], [True]),
    ],
)
def test_shapes_that_do_not_fit_are_refused(values: Floats, weights: list[float], lower: list[bool]) -> None:
    with pytest.raises(ValueError, match="expected"):
        topsis(values, weights, straight([0.0, 0.0], [1.0, 1.0]), lower)


@pytest.mark.parametrize(("low", "high", "logarithmic"), [(2.0, 1.0, False), (0.0, 1.0, True)])
def test_bounds_that_make_no_scale_are_refused(low: float, high: float, logarithmic: bool) -> None:
    with pytest.raises(ValueError, match="are not bounds of a"):
        Bounds((low,), (high,), (logarithmic,))

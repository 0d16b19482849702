"""The statistics against scipy, or against every case there is."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.statistics import (
    exceedance,
    hodges_lehmann,
    prediction_bound,
    quantile_bound,
    signed_rank,
    smallest_detectable,
    t_quantile,
    t_tail,
    to_change,
    to_log,
    worsening,
)

# Whole numbers tie and hit zero; distinct sizes do neither.
tied = st.lists(st.integers(-4, 4), min_size=1, max_size=9)
distinct = st.lists(st.integers(1, 10_000), min_size=1, max_size=30, unique=True).flatmap(
    lambda sizes: st.tuples(*(st.sampled_from((s, -s)) for s in sizes))
)
sides = st.sampled_from(("greater", "less"))


def midranks(sizes: list[float]) -> list[float]:
    return [sum(o < s for o in sizes) + (sum(o == s for o in sizes) + 1) / 2 for s in sizes]


@settings(max_examples=100, deadline=None)
@given(distinct, sides)
def test_the_signed_rank_test_agrees_with_scipy(values: tuple[int, ...], side: str) -> None:
    expected = stats.wilcoxon(values, alternative=side, method="exact").pvalue
    assert signed_rank(values, side=side) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(tied, sides)
def test_with_ties_and_zeros_it_agrees_with_all_the_signs_that_could_be(values: list[int], side: str) -> None:
    turned = [v if side == "greater" else -v for v in values]
    ranks = [r for v, r in zip(turned, midranks([abs(v) for v in turned]), strict=True) if v]
    observed = sum(r for v, r in zip(turned, midranks([abs(v) for v in turned]), strict=True) if v > 0)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    assert signed_rank(values, side=side) == pytest.approx(sum(s >= observed for s in sums) / len(sums))


@given(tied, st.integers(-3, 3))
def test_a_shift_is_taken_off_and_the_sides_mirror_each_other(values: list[int], shift: int) -> None:
    moved = [v - shift for v in values]
    assert signed_rank(values, shift) == signed_rank(moved)
    assert signed_rank(values, shift) == signed_rank([-v for v in moved], side="less")


def test_the_smallest_p_value_of_sixty_pairs_is_exact() -> None:
    assert signed_rank(range(1, 61)) == 0.5**60


def test_no_difference_at_all_is_no_evidence() -> None:
    assert signed_rank([0.0, 0.0]) == 1.0
    assert signed_rank([]) == 1.0


def test_what_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        signed_rank([1.0, math.nan])
    with pytest.raises(ValueError, match="finite"):
        hodges_lehmann([1.0, math.inf])
    with pytest.raises(ValueError, match="no values"):
        hodges_lehmann([])


@settings(max_examples=100, deadline=None)
@given(distinct, st.sampled_from((0.8, 0.9, 0.95, 0.99)))
def test_the_interval_holds_just_the_shifts_that_the_test_does_not_reject(
    values: tuple[int, ...], confidence: float
) -> None:
    estimate = hodges_lehmann(values, confidence)
    walsh = sorted((a + b) / 2 for i, a in enumerate(values) for b in values[i:])
    level = (1 - confidence) / 2
    # Between two averages the test is constant; the ends are averages themselves.
    gap = 0.25
    inside = [w + gap for w in walsh if signed_rank(values, w + gap) > level + 1e-12]
    if math.isinf(estimate.low):
        assert 0.5 ** len(values) > level
    else:
        assert signed_rank(values, estimate.low - gap) <= level + 1e-12
        assert signed_rank(values, estimate.high + gap, "less") <= level + 1e-12
        assert estimate.low <= min(inside)
    assert estimate.low <= estimate.effect <= estimate.high


def test_the_estimate_is_the_median_of_the_walsh_averages() -> None:
    # 1, 1.5, 2, 5.5, 6, 10
    assert hodges_lehmann([1, 2, 10]).effect == 3.75


@given(st.floats(-5, 5), st.floats(0.3, 300), st.sampled_from((0.001, 0.01, 0.05)))
def test_student_s_t_agrees_with_scipy(t: float, df: float, level: float) -> None:
    assert t_tail(t, df) == pytest.approx(stats.t.sf(t, df))
    assert t_quantile(level, df) == pytest.approx(stats.t.isf(level, df), rel=1e-6)


def test_t_with_endless_freedom_is_normal() -> None:
    assert t_quantile(0.05, math.inf) == pytest.approx(stats.norm.isf(0.05))
    assert t_tail(1.0, math.inf) == pytest.approx(stats.norm.sf(1.0))


def test_a_new_session_exceeds_the_prediction_bound_as_often_as_said() -> None:
    import numpy as np

    draws = np.random.default_rng(11).normal(3.0, 0.2, (20_000, 6))
    over = sum(new > prediction_bound(old, 0.05) for *old, new in draws.tolist()[:4000]) / 4000
    assert 0.04 < over < 0.06
    with pytest.raises(ValueError, match="two sessions"):
        prediction_bound([1.0])


def test_the_smallest_detectable_effect_is_found_with_the_power_that_it_names() -> None:
    import numpy as np

    n, sd, level = 20, 0.033, 0.01
    effect = smallest_detectable(0.02, sd / math.sqrt(n), level, n - 1, ranks=True)
    draws = np.random.default_rng(12).normal(effect, sd, (3000, n))
    found = sum(signed_rank(row, 0.02) <= level for row in draws) / 3000
    assert 0.76 < found < 0.84


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from((0.01, 0.05, 0.5)), sides)
def test_the_exceedance_test_agrees_with_the_binomial_one(
    over: int, total: int, share: float, side: str
) -> None:
    over = min(over, total)
    expected = stats.binomtest(over, total, share, alternative=side).pvalue
    assert exceedance(over, total, share, side) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="not possible"):
        exceedance(3, 2, 0.01)
    with pytest.raises(ValueError, match="not possible"):
        exceedance(0, 2, 1.0)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=400), st.sampled_from((0.5, 0.9, 0.99)))
def test_the_bound_of_a_quantile_is_the_first_order_statistic_that_is_sure_enough(
    values: list[float], q: float
) -> None:
    n = len(values)
    enough = [j for j in range(1, n + 1) if stats.binom.cdf(j - 1, n, q) >= 0.95]
    assert quantile_bound(values, q) == (sorted(values)[enough[0] - 1] if enough else math.inf)


@given(st.floats(-0.9, 0.9), st.sampled_from(("lower", "higher")))
def test_changes_go_to_logs_and_back(change: float, better: str) -> None:
    assert to_change(to_log(change, better), better) == pytest.approx(change, abs=1e-12)


def test_worse_is_positive_whatever_is_better() -> None:
    assert to_change(worsening(1.0, 1.05, "lower"), "lower") == pytest.approx(0.05)
    assert to_change(worsening(100.0, 95.0, "higher"), "higher") == pytest.approx(0.05)
    with pytest.raises(ValueError, match="positive"):
        worsening(0.0, 1.0, "lower")


def test_a_throughput_cannot_fall_by_all_of_it() -> None:
    with pytest.raises(UsageError, match="throughput"):
        to_log(1.0, "higher")
    assert to_log(1.0, "lower") == pytest.approx(math.log(2))

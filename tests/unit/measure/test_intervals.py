"""Do the intervals hold the true percentile as often as they say?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal, special, stats

from pytest_llmbench.measure.intervals import percentile_intervals, summary_intervals

Draws = NDArray[np.float64]

SERIES = 400
# Three standard errors of a share of 95% of so many series.
LEAST = 0.95 - 3 * math.sqrt(0.95 * 0.05 / SERIES)


def independent(rng: np.random.Generator, n: int) -> Draws:
    return rng.standard_normal(n)


def neighbors_alike(rng: np.random.Generator, n: int) -> Draws:
    """AR(1) with correlation 0.8 and standard normal values, from its steady state."""
    noise = 0.6 * rng.standard_normal(n + 200)
    found: Draws = signal.lfilter([1.0], [1.0, -0.8], noise)[200:]
    return found


def naive(values: Draws, q: float) -> tuple[float, float]:
    """The interval for independent values, from the binomial distribution."""
    n = len(values)
    low, high = stats.binom.ppf([0.025, 0.975], n, q / 100).astype(int)
    ordered = np.sort(values)
    return float(ordered[max(low - 1, 0)]), float(ordered[min(high, n - 1)])


def spread_evenly(n: int) -> list[float]:
    """Steps of the golden ratio: no stretch of them is alike, so that each is worth a value."""
    return [i * 0.6180339887498949 % 1 for i in range(n)]


def coverage(
    draw: Callable[[np.random.Generator, int], Draws],
    n: int,
    q: float,
    interval: Callable[[Draws, float], tuple[float, float] | None],
) -> float:
    rng = np.random.default_rng(20261124)
    truth = float(special.ndtri(q / 100))
    found = [interval(draw(rng, n), q) for _ in range(SERIES)]
    known = [ends for ends in found if ends is not None]
    assert len(known) > SERIES / 2
    return sum(low <= truth <= high for low, high in known) / len(known)


def percentile_interval(values: Sequence[float], q: float, level: float = 0.95) -> tuple[float, float] | None:
    (found,) = percentile_intervals(values, [q], level=level)
    return found


def interval_of(values: Draws, q: float) -> tuple[float, float] | None:
    return percentile_interval(values.tolist(), q)


@pytest.mark.parametrize(("q", "n"), [(50, 30), (50, 500), (90, 500), (99, 1000)])
def test_independent_values_are_covered_as_often_as_promised(q: float, n: int) -> None:
    assert coverage(independent, n, q, interval_of) >= LEAST


@pytest.mark.parametrize(("q", "n"), [(50, 1000), (90, 1000), (99, 5000)])
def test_correlated_values_are_covered_too_where_the_naive_interval_fails(q: float, n: int) -> None:
    assert coverage(neighbors_alike, n, q, naive) < 0.85
    assert coverage(neighbors_alike, n, q, interval_of) >= LEAST


def test_independent_values_are_worth_nearly_their_number() -> None:
    values = independent(np.random.default_rng(1), 4000)
    for q in (50.0, 90.0, 99.0):
        (low, high), ends = naive(values, q), interval_of(values, q)
        assert ends is not None
        assert ends[1] - ends[0] <= 1.3 * (high - low)


@pytest.mark.parametrize(("q", "needed"), [(50, 6), (90, 36), (95, 72), (99, 368)])
def test_too_few_values_give_none(q: float, needed: int) -> None:
    values = spread_evenly(needed)
    assert percentile_interval(values, q) is not None
    assert percentile_interval(values[:-1], q) is None


def test_another_level_asks_for_another_number() -> None:
    values = [0.0, 9.0, 1.0, 8.0, 2.0, 7.0]
    assert percentile_interval(values, 50, level=0.95) == (0.0, 9.0)
    assert percentile_interval(values, 50, level=0.99) is None
    assert percentile_interval(values, 50, level=0.5) == (1.0, 8.0)


def test_no_value_and_one_value_give_none() -> None:
    assert percentile_interval([], 50) is None
    assert percentile_interval([1.0], 50) is None


def test_equal_values_are_their_own_interval() -> None:
    assert percentile_interval([3.0] * 100, 50) == (3.0, 3.0)


def test_a_thousand_values_that_drift_are_worth_a_handful() -> None:
    values = [float(i) for i in range(1000)]
    assert summary_intervals(values) == {}


def test_a_summary_has_the_percentiles_that_its_values_can_give() -> None:
    values = np.random.default_rng(2).permutation(1000).astype(float).tolist()
    found = summary_intervals(values)
    assert list(found) == ["p50", "p90", "p95", "p99"]
    assert all(low <= np.percentile(values, int(name[1:])) <= high for name, (low, high) in found.items())
    assert found["p50"] == percentile_interval(values, 50)
    assert list(summary_intervals(spread_evenly(60))) == ["p50", "p90"]
    assert summary_intervals([]) == {}


@given(
    st.lists(st.integers(-1000, 1000), max_size=80),
    st.sampled_from([10, 50, 90]),
    st.sampled_from([0.25, 0.5, 2.0, 1024.0]),
    st.integers(-4096, 4096),
)
def test_the_interval_moves_and_stretches_with_the_values(
    values: list[int], q: int, scale: float, shift: int
) -> None:
    # Whole numbers and powers of two: no rounding makes two values one.
    before = percentile_interval([float(v) for v in values], q)
    after = percentile_interval([scale * v + shift for v in values], q)
    assert after == (before and (scale * before[0] + shift, scale * before[1] + shift))


@given(st.lists(st.integers(-50, 50), min_size=8, max_size=80), st.sampled_from([25, 50, 75]))
def test_the_interval_holds_the_percentile_of_the_values(values: list[int], q: int) -> None:
    ends = percentile_interval([float(v) for v in values], q)
    if ends is not None:
        middle = float(np.percentile(values, q, method="inverted_cdf"))
        assert ends[0] <= middle <= ends[1]

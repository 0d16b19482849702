"""Do requests come as the pattern says?"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import fmean, pstdev

import pytest
from scipy import stats

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads.arrivals import Arrivals, Burst, Constant, Poisson, Ramp, parse_arrivals

EVERY = [Constant(), Poisson(), Burst(), Burst(3), Ramp(), Ramp(2.5), Ramp(40.0)]


@pytest.mark.parametrize(
    ("text", "arrivals", "canonical"),
    [
        ("constant", Constant(), "constant"),
        (" poisson ", Poisson(), "poisson"),
        ("burst", Burst(10), "burst:10"),
        ("burst:32", Burst(32), "burst:32"),
        ("ramp", Ramp(0.0), "ramp:0"),
        ("ramp: 2.0", Ramp(2.0), "ramp:2"),
        ("ramp:0.25", Ramp(0.25), "ramp:0.25"),
    ],
)
def test_every_form_is_understood_and_has_one_spelling(text: str, arrivals: Arrivals, canonical: str) -> None:
    assert parse_arrivals(text) == arrivals
    assert str(arrivals) == canonical
    assert parse_arrivals(canonical) == arrivals


@pytest.mark.parametrize(
    "text",
    [
        *("", "gamma", "poisson:1", "constant:", "burst:0", "burst:-1", "burst:1.5", "burst:1:2"),
        *("ramp:-1", "ramp:inf", "ramp:nan", "ramp:x", None),
    ],
)
def test_anything_else_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"constant, poisson, burst\[:SIZE\] .* ramp\[:START\]"):
        parse_arrivals(text)


def test_a_slip_of_the_pen_is_guessed() -> None:
    with pytest.raises(UsageError, match="did you mean 'poisson'"):
        parse_arrivals("poison")


@pytest.mark.parametrize("arrivals", EVERY, ids=str)
def test_times_ascend_from_zero_and_there_are_as_many_as_asked_for(arrivals: Arrivals) -> None:
    times = arrivals.schedule(5.0, 101, seed=1)

    assert len(times) == 101
    assert times[0] == 0
    assert list(times) == sorted(times)
    assert arrivals.schedule(5.0, 0) == ()
    assert arrivals.schedule(5.0, 1) == (0.0,)


@pytest.mark.parametrize("arrivals", EVERY, ids=str)
@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(arrivals: Arrivals, rate: float) -> None:
    with pytest.raises(UsageError, match="a number above 0"):
        arrivals.schedule(rate, 3)
    with pytest.raises(UsageError, match="a number above 0"):
        arrivals.count_for(10, rate)


def test_constant_arrivals_have_equal_gaps() -> None:
    assert Constant().schedule(4.0, 5) == (0, 0.25, 0.5, 0.75, 1.0)


def test_gaps_of_poisson_arrivals_are_exponential() -> None:
    times = Poisson().schedule(4.0, 20_001, seed=2)
    gaps = [b - a for a, b in pairwise(times)]

    assert fmean(gaps) == pytest.approx(0.25, rel=0.03)
    assert pstdev(gaps) == pytest.approx(0.25, rel=0.03)
    assert stats.kstest(gaps, stats.expon(scale=0.25).cdf).pvalue > 0.01
    # Neighboring gaps know nothing of each other.
    assert abs(stats.pearsonr(gaps[1:], gaps[:-1]).statistic) < 0.03


def test_counts_of_poisson_arrivals_scatter_as_much_as_their_mean() -> None:
    times = Poisson().schedule(10.0, 40_001, seed=3)
    seconds = Counter(int(t) for t in times)
    counts = [seconds[second] for second in range(int(times[-1]))]

    assert fmean(counts) == pytest.approx(10, rel=0.03)
    assert pstdev(counts) ** 2 == pytest.approx(10, rel=0.08)


def test_a_seed_gives_the_same_times_again_and_another_seed_others() -> None:
    assert Poisson().schedule(1.0, 20, seed=4) == Poisson().schedule(1.0, 20, seed=4)
    assert Poisson().schedule(1.0, 20, seed=4) != Poisson().schedule(1.0, 20, seed=5)


def test_times_stay_as_they_are_from_version_to_version() -> None:
    assert Poisson().schedule(1.0, 4, seed=0) == pytest.approx([0.0, 2.278714156, 2.834424468, 3.862441857])


def test_bursts_come_at_once_and_keep_the_mean_rate() -> None:
    times = Burst(4).schedule(2.0, 10)

    assert times == (0, 0, 0, 0, 2, 2, 2, 2, 4, 4)
    assert len(Burst(7).schedule(5.0, 7000)) / 5.0 == pytest.approx(Burst(7).schedule(5.0, 7001)[-1])


@pytest.mark.parametrize("start", [0.0, 1.0, 10.0, 25.0])
def test_a_ramp_has_sent_at_each_moment_what_its_rate_adds_up_to(start: float) -> None:
    rate, count = 10.0, 1000
    times = Ramp(start).schedule(rate, count)
    whole = 2 * count / (start + rate)
    for number, t in enumerate(times):
        # The integral of start + (rate - start)·t/whole.
        assert start * t + (rate - start) * t * t / (2 * whole) == pytest.approx(number, abs=1e-6)
    assert times[-1] < whole


@pytest.mark.parametrize(("start", "early"), [(0.0, 0.25), (10.0, 0.5), (30.0, 0.625)])
def test_the_first_half_of_a_ramps_time_has_its_share(start: float, early: float) -> None:
    times = Ramp(start).schedule(10.0, 4000)
    half = 4000 / (start + 10.0)

    assert sum(t < half for t in times) / 4000 == pytest.approx(early, abs=0.001)


def test_a_ramp_ends_at_its_rate() -> None:
    times = Ramp(1.0).schedule(20.0, 5000)

    assert 1 / (times[-1] - times[-2]) == pytest.approx(20, rel=0.01)
    assert 1 / times[1] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(
    ("arrivals", "duration", "rate", "count"),
    [
        (Constant(), 30, 2.0, 60),
        (Poisson(), 0.1, 30.0, 3),
        (Poisson(), 1, 2.5, 3),
        (Burst(10), 10, 0.5, 5),
        (Ramp(), 10, 8.0, 40),
        (Ramp(4.0), 10, 8.0, 60),
        (Poisson(), 0.001, 1.0, 1),
    ],
)
def test_a_duration_has_as_many_requests_as_its_rate_adds_up_to(
    arrivals: Arrivals, duration: float, rate: float, count: int
) -> None:
    assert arrivals.count_for(duration, rate) == count

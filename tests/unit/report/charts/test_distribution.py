"""Is a distribution that of the values, however many there are?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.metrics.summary import PERCENTILES, Summary
from pytest_llmbench.report.charts.distribution import KEPT, distributions, ecdf
from pytest_llmbench.results.records import ResultsDocument

MakeSession = Callable[..., ResultsDocument]

MANY = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=2000)


@given(MANY)
def test_an_ecdf_is_bounded_rises_and_ends_at_all(values: list[float]) -> None:
    points = ecdf(values)
    assert 2 <= len(points) <= 100
    assert points == sorted(points)
    assert points[0] == (min(values), 0.0)
    assert points[-1] == (max(values), 1.0)


@given(MANY)
def test_each_point_of_an_ecdf_is_true(values: list[float]) -> None:
    ordered = sorted(values)
    for value, share in ecdf(values)[1:]:
        assert ordered[round(share * len(values)) - 1] == value


@given(MANY)
def test_between_two_points_the_share_is_wrong_by_a_64th_at_most(values: list[float]) -> None:
    shares = [share for _, share in ecdf(values)]
    steps = [after - before for before, after in pairwise(shares)]
    assert max(steps) <= 1 / KEPT + 1 / len(values) + 1e-9


@given(MANY)
def test_percentiles_can_be_read_off(values: list[float]) -> None:
    kept = {value for value, _ in ecdf(values)}
    ordered, n = sorted(values), len(values)
    summary = Summary("ttft", tuple(values))
    for q in PERCENTILES:
        below = int((n - 1) * q / 100)
        low, high = ordered[below], ordered[min(below + 1, n - 1)]
        assert {low, high} <= kept
        assert low <= summary.percentile(q) * (1 + 1e-12)
        assert summary.percentile(q) <= high * (1 + 1e-12)


def test_no_value_has_no_distribution() -> None:
    assert ecdf([]) == []


def test_a_chart_has_the_values_of_each_case(a_session: MakeSession) -> None:
    document = a_session()
    (chart,) = distributions([document], "ttft")
    (case,) = document.cases
    assert chart.missing is None
    (series,) = chart.series
    assert {value for value, _ in series.points} == set(case.values("ttft"))
    assert chart.rows[0][1:3] == (15, case.summary("ttft").p50)
    assert (chart.x.unit, chart.y.unit) == ("s", "share")


def test_gaps_are_pooled(a_session: MakeSession) -> None:
    (chart,) = distributions([a_session(tokens=50)], "itl")
    assert chart.rows[0][1] == 15 * 49
    assert len(chart.series[0].points) <= 100


def test_no_values_are_said_to_be_missing(a_session: MakeSession) -> None:
    (chart,) = distributions([a_session(untimed="buffered")], "itl")
    assert chart.missing == "no case has 2 values of itl"
    assert chart.series == ()


def test_more_cases_than_can_be_told_apart_are_named(a_session: MakeSession, a_case: Any) -> None:
    cases = [a_case(f"test_x[llamacpp-m{number}]") for number in range(15)]
    (chart,) = distributions([a_session(cases=cases)], "ttft")
    assert len(chart.series) == len(chart.rows) == 12
    assert chart.note == ("Shown are 12 of 15; not shown: tiny #13, tiny #14, tiny #15.")


@pytest.mark.parametrize("count", [1, 2])
def test_sessions_are_told_apart(a_session: MakeSession, count: int) -> None:
    (chart,) = distributions([a_session(day) for day in range(1, count + 1)], "ttft")
    names = [series.name for series in chart.series]
    assert len(set(names)) == count
    assert all(("2026" in name) == (count > 1) for name in names)

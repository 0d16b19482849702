"""Is each criterion the number that it says, with how sure it is?"""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_llmbench.catalog.criteria import CRITERIA, SPREADS, USUAL, check_weights, half_width, measured
from pytest_llmbench.catalog.uses import USES
from pytest_llmbench.errors import UsageError
from pytest_llmbench.metrics.table import METRICS
from tests.fakes.a_catalog import catalog_of, row

FIRST = np.array([0])


def test_each_source_is_a_metric_whose_direction_and_unit_it_has() -> None:
    for criterion in CRITERIA.values():
        for source in criterion.sources:
            metric = METRICS[source.partition(".")[0]]
            assert (metric.better == "lower") == criterion.lower, source
            assert metric.unit == criterion.unit, source


def test_all_weights_that_come_with_the_package_are_of_criteria() -> None:
    for weights in (USUAL, *(use.weights for use in USES.values())):
        assert check_weights(weights) == weights


def test_an_interval_follows_from_the_spread_and_the_number_of_values() -> None:
    catalog = catalog_of([row(0)], noise=0.1, n=25, ttft=[2.0])
    mean = half_width(catalog, "ttft.mean", FIRST)[0]
    assert mean == pytest.approx(1.959964 * 0.2 / 5)
    assert half_width(catalog, "ttft.p95", FIRST)[0] / mean == pytest.approx(SPREADS["p95"])
    assert math.isnan(half_width(catalog, "tpot.p95", FIRST)[0])


def test_the_spread_of_a_quantile_is_that_of_normal_values() -> None:
    """By drawing: the standard error of a quantile of 2,000 values, by sigma / sqrt(n)."""
    drawn = np.random.default_rng(1).normal(size=(1500, 2000))
    for name, share in (("median", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
        seen = np.percentile(drawn, share, axis=1).std() * math.sqrt(2000)
        assert seen == pytest.approx(SPREADS[name], rel=0.1), name


def test_the_first_source_that_a_row_has_counts_with_its_own_interval() -> None:
    catalog = catalog_of(
        [row(0), row(1), row(2)],
        noise=0.1,
        system_throughput=[np.nan, 4.0, np.nan],
        output_throughput=[2.0, 9.0, np.nan],
    )
    values, half = measured(catalog, CRITERIA["throughput"].sources, np.arange(3))
    assert values[:2].tolist() == [2.0, 4.0]
    assert half[1] == pytest.approx(2 * half[0])
    assert np.isnan([values[2], half[2]]).all()


def test_weights_of_zero_are_left_out_and_not_all_may_be() -> None:
    assert check_weights({"cost": 2, "latency": 0}) == {"cost": 2}
    with pytest.raises(UsageError, match="all are 0"):
        check_weights({"cost": 0.0})
    with pytest.raises(UsageError, match="a weight is a number from 0 on"):
        check_weights({"cost": math.nan})

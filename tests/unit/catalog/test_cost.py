"""The costs against figures worked out by hand: a slip of 1000, 60 or 3600 is seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.catalog.cost import (
    Floats,
    blended_per_million,
    energy_per_million,
    known,
    per_million_tokens,
    spot_price,
)
from pytest_llmbench.errors import UsageError

positive = st.floats(1e-6, 1e6)


def test_an_hour_of_1000_tokens_a_second_is_3_6_million_tokens() -> None:
    # 3.60 dollars for 3,600,000 tokens.
    assert known(per_million_tokens(3.6, 1000.0)) == pytest.approx(1.0)
    # 2.50 dollars an hour, 500 tokens/s: 1,800,000 tokens an hour, so 2.5 / 1.8.
    assert known(per_million_tokens(2.5, 500.0)) == pytest.approx(1.388889, rel=1e-6)


def test_a_machine_that_is_asked_for_something_half_of_the_time_costs_twice_as_much() -> None:
    assert known(per_million_tokens(3.6, 1000.0, utilization=0.5)) == pytest.approx(2.0)
    assert known(blended_per_million(3.6, 900.0, 100.0, utilization=0.25)) == pytest.approx(4.0)


def test_the_blended_cost_is_that_of_all_tokens_read_and_written() -> None:
    # 7.20 dollars an hour; 1500 read and 500 written a second are 7,200,000 tokens an hour.
    assert known(blended_per_million(7.2, 1500.0, 500.0)) == pytest.approx(1.0)
    assert known(per_million_tokens(7.2, 500.0)) == pytest.approx(4.0)
    assert known(per_million_tokens(7.2, 1500.0)) == pytest.approx(4.0 / 3.0)


def test_a_mix_of_one_kind_alone_costs_what_that_kind_does() -> None:
    assert known(blended_per_million(3.6, 0.0, 1000.0)) == known(per_million_tokens(3.6, 1000.0))


@given(positive, positive, positive)
def test_the_tokens_of_an_hour_cost_its_price(price: float, read: float, written: float) -> None:
    per_token = known(blended_per_million(price, read, written)) or 0.0
    assert per_token / 1e6 * (read + written) * 3600.0 == pytest.approx(price)


def test_energy_is_paid_by_the_kilowatt_hour() -> None:
    # 0.72 J/token: 720,000 J for a million, which is 0.2 kWh; at 0.30 dollars 6 cents.
    assert known(energy_per_million(0.72, 0.30)) == pytest.approx(0.06)
    # 700 W at 1000 tokens/s are 0.7 J/token; a million takes 1000 s, so 0.19444 kWh.
    assert known(energy_per_million(700.0 / 1000.0, 0.20)) == pytest.approx(0.0388889, rel=1e-6)


def test_work_that_is_done_again_is_paid_again() -> None:
    assert known(spot_price(2.0, 0.1)) == pytest.approx(2.2)
    assert known(spot_price(2.0, 0.0)) == 2.0


@pytest.mark.parametrize(
    "cost",
    [
        per_million_tokens(None, 1000.0),
        per_million_tokens(3.6, None),
        per_million_tokens(3.6, 0.0),
        per_million_tokens(0.0, 0.0),
        per_million_tokens(3.6, -1.0),
        per_million_tokens(-3.6, 1000.0),
        per_million_tokens(np.nan, 1000.0),
        per_million_tokens(np.inf, 1000.0),
        per_million_tokens(3.6, np.inf),
        per_million_tokens(1e300, 1e-300),
        blended_per_million(3.6, None, 100.0),
        blended_per_million(3.6, 100.0, None),
        blended_per_million(3.6, -1000.0, 2000.0),
        blended_per_million(3.6, 0.0, 0.0),
        energy_per_million(None, 0.3),
        energy_per_million(0.7, None),
        energy_per_million(-0.7, 0.3),
        spot_price(None, 0.1),
        spot_price(2.0, None),
        spot_price(2.0, -0.1),
    ],
)
def test_what_depends_on_something_unknown_or_impossible_is_unknown(cost: Floats) -> None:
    assert known(cost) is None


def test_what_is_free_costs_nothing() -> None:
    assert known(per_million_tokens(0.0, 1000.0)) == 0.0
    assert known(energy_per_million(0.7, 0.0)) == 0.0


def test_arrays_are_broadcast_and_keep_what_is_unknown_to_itself() -> None:
    prices = np.array([[3.6], [7.2], [np.nan]])
    throughput = np.array([1000.0, 0.0, 500.0])
    nan = np.nan
    np.testing.assert_allclose(
        per_million_tokens(prices, throughput), [[1.0, nan, 2.0], [2.0, nan, 4.0], [nan, nan, nan]]
    )
    np.testing.assert_allclose(spot_price(np.array([1.0, nan]), np.array([0.5, 0.5])), [1.5, nan])
    np.testing.assert_allclose(energy_per_million(np.array([3.6, nan]), 0.25), [0.25, nan])
    np.testing.assert_allclose(
        blended_per_million(3.6, np.array([900.0, nan]), np.array([100.0, 100.0])), [1.0, nan]
    )


@pytest.mark.parametrize("utilization", [0.0, -0.5, 1.01, 60.0, np.nan])
def test_a_utilization_is_a_share(utilization: float) -> None:
    with pytest.raises(UsageError, match="is not a valid utilization; use a share above 0 and up to 1"):
        per_million_tokens(3.6, 1000.0, utilization)

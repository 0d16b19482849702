"""Does a person read the right number, with its unit?"""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.metrics import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (0, "0 s"),
        (31e-9, "31.0 ns"),
        (85.04e-6, "85.0 µs"),
        (0.0009996, "1.00 ms"),
        (0.412, "412 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.2345, "1.23 s"),
        (75.25, "75.2 s"),
        (1234.5, "1230 s"),
    ],
)
def test_a_duration_has_three_digits_and_a_unit(value: float | None, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (12345, "3 h 26 min")],
)
def test_a_time_to_wait_is_rough(value: float, text: str) -> None:
    assert units.span(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (512, "512 B"),
        (1024, "1.00 KiB"),
        (1.5 * 2**20, "1.50 MiB"),
        (1023.9 * 2**20, "1.00 GiB"),
        (13.52 * 2**30, "13.5 GiB"),
        (3 * 2**40, "3.00 TiB"),
    ],
)
def test_a_size_counts_in_powers_of_1024(value: float | None, text: str) -> None:
    assert units.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.0034, "3.40 mJ"), (12.34, "12.3 J"), (1500, "1.50 kJ"), (2e-6, "2.00 µJ")],
)
def test_an_energy_has_three_digits_and_a_unit(value: float | None, text: str) -> None:
    assert units.joules(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (7.123, "7.12"),
        (80.46, "80.5"),
        (1376, "1380"),
        (9994, "9990"),
        (9996, "10.0k"),
        (23456, "23.5k"),
    ],
)
def test_a_rate_is_a_bare_number(value: float | None, text: str) -> None:
    assert units.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0, "0%"), (0.001, "<1%"), (0.034, "3%"), (1.2, "120%")]
)
def test_a_ratio_is_whole_per_cent(value: float | None, text: str) -> None:
    assert units.percent(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1, "s", "100 ms"),
        (2**30, "bytes", "1.00 GiB"),
        (3.0, "J", "3.00 J"),
        (0.5, "J/token", "500 mJ/token"),
        (80.46, "tokens/s", "80.5 tokens/s"),
        (None, "tokens/s", "-"),
        (None, "J/token", "-"),
    ],
)
def test_every_unit_of_the_metric_table_is_known(value: float | None, unit: str, text: str) -> None:
    assert units.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("unit", "values", "factor", "name"),
    [
        ("s", [0.0005, 0.004], 1e3, "ms"),
        ("s", [0.004, 2.0], 1, "s"),
        ("s", [], 1, "s"),
        ("s", [0.0], 1, "s"),
        ("bytes", [3 * 2.0**30], 2.0**-30, "GiB"),
        ("J/token", [0.02], 1e3, "mJ/token"),
        ("share", [0.5], 100, "%"),
        ("tokens/s", [20000.0], 1, "tokens/s"),
        (None, [3.0], 1, None),
    ],
)
def test_an_axis_is_scaled_by_its_largest_value(
    unit: str | None, values: list[float], factor: float, name: str | None
) -> None:
    assert units.scale(unit, values) == (pytest.approx(factor), name)


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_a_number_is_within_half_a_unit_of_its_third_digit(value: float) -> None:
    shown = float(units.number(value))
    assert math.isclose(shown, value, rel_tol=0.00501)
    assert "e" not in units.number(value)

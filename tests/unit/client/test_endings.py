"""Is a request's end told as it was, and when may it go out again?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pytest_llmbench.client.endings import retry_after


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("3", 3, 3),
        ("", 1, 1),
        ("soon", 1, 1),
        ("-3", 1, 1),
        ("Sun Nov  6 08:49:37 1994", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 1e9, 1e12),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0, 0),
        ("Sun, 06 Nov 1994 08:49:37 +99999999999999999999", 1, 1),
        ("9" * 400, float("inf"), float("inf")),
        ("1e999", 1, 1),
        ("9" * 400 + " Nov 1994 08:49:37 GMT", 1, 1),
        ("\u0663", 1, 1),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, least: float, most: float) -> None:
    assert least <= retry_after(value) <= most


@pytest.mark.parametrize(("hours", "least", "most"), [(1, 3500, 3600), (-1, 0, 0)])
def test_retry_after_may_be_a_date(hours: int, least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    assert least <= retry_after(date) <= most

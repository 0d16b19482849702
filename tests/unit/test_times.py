"""Is a point in time read back as it was written?"""

from __future__ import annotations

import time

import pytest

from pytest_llmbench import times

MOMENT = 1767323045.0


def test_a_date_is_in_utc_whatever_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        assert times.iso(MOMENT) == "2026-01-02T03:04:05Z"
        assert times.iso(MOMENT + 0.25, "microseconds") == "2026-01-02T03:04:05.250000Z"
        assert times.stamp(MOMENT) == "20260102T030405Z"
        assert times.read_iso("2026-01-02T03:04:05") == MOMENT
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_written_is_read_back() -> None:
    assert times.read_iso(times.iso(MOMENT)) == MOMENT
    assert times.read_stamp(times.stamp(MOMENT)) == MOMENT
    assert len(times.stamp(MOMENT)) == times.STAMP_LENGTH
    assert times.read_iso("2026-01-02T04:04:05+01:00") == MOMENT


def test_now_is_between_before_and_after() -> None:
    before = int(time.time())
    assert before <= times.read_iso(times.now()) <= time.time()


def test_a_reading_of_the_monotonic_clock_becomes_its_date() -> None:
    before = time.time()
    read = times.read_iso(times.iso_of_reading(time.perf_counter_ns()))
    assert before - 1 <= read <= time.time() + 1


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_a_date_of_http_is_read(zone: str) -> None:
    assert times.read_http(f"Fri, 02 Jan 2026 03:04:05 {zone}") == MOMENT


@pytest.mark.parametrize("text", ["", "soon", "Fri, 99 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 99999 03:04:05"])
def test_what_is_not_a_date_of_http_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        times.read_http(text)


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05Z", "20260102T030405", "x" * 16])
def test_what_is_not_a_stamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not match"):
        times.read_stamp(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5m", 90), ("12h", 43200), ("30d", 2592000), (" 2 w ", 1209600)]
)
def test_a_span_is_read_as_a_person_writes_it(text: str, seconds: float) -> None:
    assert times.read_span(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1e9d", "30 days", "9" * 5000 + "d"])
def test_a_span_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30d"):
        times.read_span(text)

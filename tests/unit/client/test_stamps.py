"""Is an arrival the kernel's, and the reading's where the kernel's cannot be believed?"""

from __future__ import annotations

import struct
import sys
import time

import pytest

from pytest_llmbench.client import stamps
from pytest_llmbench.client.stamps import REFRESH, Clock

MS = 1_000_000


class Clocks:
    """A machine's two clocks, as a test sets them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 5_000_000_000
        self.offset = 1_700_000_000_000_000_000
        monkeypatch.setattr(stamps, "_compare", lambda: (100, self.offset, self.now))

    def stamp(self, time_ns: int) -> bytes:
        """What the kernel says of a segment that arrives at a time of the monotonic clock."""
        return struct.pack("=qq", *divmod(time_ns + self.offset, 1_000_000_000))

    def pass_looks(self, clock: Clock, count: int) -> None:
        for _ in range(count):
            self.now += REFRESH
            clock.look()


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def test_a_late_reading_does_not_make_an_arrival_late(clocks: Clocks) -> None:
    clock = Clock()
    read = clocks.now + 30 * MS
    stamp = clocks.stamp(clocks.now + 2 * MS)
    clocks.pass_looks(clock, 1)
    assert clock.arrival(stamp, read, sent=clocks.now - REFRESH) == read - 28 * MS
    assert clock.explain() is None


@pytest.mark.parametrize("error", [-60 * MS, 5 * MS])
def test_a_stamp_from_before_the_request_or_after_the_reading_is_not_believed(
    clocks: Clocks, error: int
) -> None:
    clock = Clock()
    sent, read = clocks.now, clocks.now + 50 * MS
    clocks.pass_looks(clock, 1)
    assert clock.arrival(clocks.stamp(read + error), read, sent) == read
    assert clock.unstamped == 1
    assert "1 of 1 segments" in (clock.explain() or "")


def test_how_late_the_client_read_is_known_by_the_stamps(clocks: Clocks) -> None:
    clock = Clock()
    assert clock.read_lag() is None
    start, read = clocks.now, clocks.now + 90 * MS
    clocks.pass_looks(clock, 1)
    for number in range(999):
        clock.arrival(clocks.stamp(read - number % 50 * MS), read, sent=start)
    clock.arrival(None, read, sent=start)
    assert clock.read_lag() is None
    clock.arrival(clocks.stamp(read), read, sent=start)
    assert clock.read_lag() == pytest.approx(0.049)


@pytest.mark.parametrize("stamp", [None, b"", b"short"])
def test_a_segment_without_a_stamp_arrived_when_it_was_read(clocks: Clocks, stamp: bytes | None) -> None:
    clock = Clock()
    assert clock.arrival(stamp, clocks.now, clocks.now) == clocks.now


def test_the_comparisons_own_error_does_not_put_an_arrival_after_its_reading(clocks: Clocks) -> None:
    clock = Clock()
    assert clock.arrival(clocks.stamp(clocks.now + 1000), clocks.now, clocks.now) == clocks.now
    assert clock.stamped == 1


@pytest.mark.parametrize("step", [-3 * MS, 3 * MS, 3_600_000 * MS])
def test_a_wall_clock_that_is_set_is_followed(clocks: Clocks, step: int) -> None:
    clock = Clock()
    start = clocks.now
    clocks.pass_looks(clock, 2)
    before = [(clocks.stamp(read - 5 * MS), read) for read in (start + 50 * MS, start + 150 * MS)]
    late = clocks.stamp(clocks.now + REFRESH - MS), clocks.now + REFRESH + MS
    clocks.offset += step
    around = [(clocks.stamp(clocks.now + at * MS), clocks.now + at * MS + MS) for at in (10, 90)]
    clocks.pass_looks(clock, 4)
    after = [(clocks.stamp(clocks.now - at * MS - 5 * MS), clocks.now - at * MS) for at in (50, 150)]
    for stamp, read in (*before, *after):
        assert clock.arrival(stamp, read, sent=start) == read - 5 * MS
    for stamp, read in (*around, late):
        assert clock.arrival(stamp, read, sent=start) == read
    assert (clock.steps, clock.stamped, clock.unstamped) == (1, 4, 3)
    assert "the wall clock was set 1 times" in (clock.explain() or "")


def test_a_wall_clock_that_is_set_twice_at_once_is_followed(clocks: Clocks) -> None:
    clock = Clock()
    start = clocks.now
    clocks.offset += 5 * MS
    clocks.pass_looks(clock, 1)
    clocks.offset += 5 * MS
    clocks.pass_looks(clock, 3)
    assert clock.steps == 2
    assert clock.arrival(clocks.stamp(clocks.now - 5 * MS), clocks.now, start) == clocks.now - 5 * MS


def test_the_real_clocks_keep_their_distance() -> None:
    clock = Clock()
    for _ in range(200):
        clock.look()
    assert clock.steps == 0
    sent, wall, read = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
    clock.look()
    assert (
        sent <= clock.arrival(struct.pack("=qq", *divmod(wall, 1_000_000_000)), read, sent - 20_000) <= read
    )
    assert clock.stamped == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps what TCP receives")
def test_a_system_that_refuses_stamps_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as sock:
        assert stamps.stamp_arrivals(sock) is None
        monkeypatch.setattr(stamps, "_OPTION", 0x7FFF)
        assert "does not stamp" in (stamps.stamp_arrivals(sock) or "")
        monkeypatch.setattr(stamps.platform, "machine", lambda: "sparc64")
        assert "sparc64" in (stamps.stamp_arrivals(sock) or "")

"""When did a segment arrive, on the clock that everything else is measured by?

Linux stamps each TCP segment as it comes in (``SO_TIMESTAMPNS``, socket(7)) and hands the stamp over with
the data, so that a client that reads late does not make the server look slow. Where one read takes
several segments together, the stamp is the last one's: the others count as later than they were, by as
much as the client was late, and never as earlier.

The stamps are of the wall clock. Its distance to the monotonic clock is looked at all through a level.
Slewing moves both clocks alike, so the distance changes only where the wall clock is set; around
such a step the time of the reading is taken in place of the stamp.
"""

from __future__ import annotations

import platform
import socket
import struct
import sys
import time
from bisect import bisect_right
from dataclasses import dataclass

from pytest_llmbench.metrics.timeline import NANO

_TIMESTAMPNS, _TIMESTAMPNS_NEW = 35, 64
"""``SO_TIMESTAMPNS_OLD`` and ``_NEW`` (asm-generic/socket.h); the module socket does not name them. The old
one has a 64-bit time wherever C's long has 64 bits."""
_OPTION = _TIMESTAMPNS if sys.maxsize > 2**32 else _TIMESTAMPNS_NEW
_OTHER_NUMBERS = ("parisc", "sparc")
"""Machines whose socket options have numbers of their own."""
_TIMESPEC = struct.Struct("=qq")
SPACE = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
"""Bytes of ancillary data that a stamp needs in ``recvmsg``."""

REFRESH = 100_000_000
"""ns between two looks at the clocks."""
ENOUGH = 1000
"""Segments for a 99th percentile: with ten beyond it, it is not a single mishap."""
_READINGS = 9
_TOLERANCE = 5_000
"""ns by which two looks may differ beyond what their own readings took."""


def stamp_arrivals(sock: socket.socket) -> str | None:
    """Have the kernel stamp what *sock* receives; returns why it does not, or None.

    The ancillary data of each ``recvmsg`` is then one stamp.
    """
    if not sys.platform.startswith("linux") or platform.machine().startswith(_OTHER_NUMBERS):
        return f"stamps of {sys.platform} on {platform.machine()} are not known"
    try:
        sock.setsockopt(socket.SOL_SOCKET, _OPTION, 1)
    except OSError as error:
        return f"the kernel does not stamp what TCP receives: {error.strerror}"
    return None


@dataclass(slots=True)
class _Span:
    """A time in which the wall clock was not set."""

    first: int
    """ns: from here on it is believed."""
    last: int
    offset: int
    """ns from the monotonic clock to the wall clock, by the narrowest look."""
    doubt: int
    """ns that this look took."""


class Clock:
    """Turns stamps into times of ``perf_counter_ns``."""

    def __init__(self) -> None:
        self._spans: list[_Span] = []
        self.steps = 0
        """How often the wall clock was set."""
        self.unstamped = 0
        """Segments that had no stamp, or an impossible one."""
        self._lags: list[int] = []
        """ns from arrival to reading, of each segment whose stamp was believed."""
        self.look()

    @property
    def stamped(self) -> int:
        """Segments whose stamp was believed."""
        return len(self._lags)

    def look(self) -> int:
        """Compare the clocks; returns the time."""
        doubt, offset, now = _compare()
        if not self._spans:
            self._spans.append(_Span(now, now, offset, doubt))
            return now
        span = self._spans[-1]
        if abs(offset - span.offset) > doubt + span.doubt + _TOLERANCE:
            self.steps += 1
            if span.first > span.last:
                self._spans.pop()
            self._spans.append(_Span(sys.maxsize, now, offset, doubt))
            return now
        if span.first > span.last:
            # What arrived before the step and was read after it has been read by now.
            span.first = now
        span.last = now
        if doubt < span.doubt:
            span.offset, span.doubt = offset, doubt
        return now

    def arrival(self, stamp: bytes | None, read: int, sent: int) -> int:
        """When a segment arrived: by its *stamp*, or, where that cannot be believed, when it was *read*.

        :param sent: ns; what came before the request was sent does not answer it.
        """
        offset = self._offset(read)
        if stamp is not None and offset is not None and len(stamp) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(stamp)
            arrived: int = seconds * 1_000_000_000 + nanoseconds - offset
            # Clocks are compared with an error of their own: a stamp in the near future is of just now.
            if sent <= arrived <= read + _TOLERANCE:
                self._lags.append(max(0, read - arrived))
                return min(arrived, read)
        self.unstamped += 1
        return read

    def _offset(self, read: int) -> int | None:
        """The distance that held when a segment was read; None around a step."""
        spans = self._spans
        span = spans[0]
        if len(spans) > 1:
            span = spans[max(0, bisect_right([one.first for one in spans], read) - 1)]
        return span.offset if span.first <= read <= span.last else None

    def read_lag(self) -> float | None:
        """Seconds from the arrival of a segment to its reading, the 99th percentile over those whose stamp
        was believed; None where there are fewer than :data:`ENOUGH`.

        Of segments that are read together, the last one's: the lag is no less.
        """
        if len(self._lags) < ENOUGH:
            return None
        self._lags.sort()
        return self._lags[len(self._lags) * 99 // 100] * NANO

    def explain(self) -> str | None:
        """Why not all arrivals are the kernel's; None if they are."""
        if not self.unstamped:
            return None
        some = f"{self.unstamped} of {self.stamped + self.unstamped} segments have the time of their reading"
        if self.steps:
            return f"{some}: the wall clock was set {self.steps} times during the level"
        return f"{some}: their stamps were missing, or cannot be right"


def _compare() -> tuple[int, int, int]:
    """The distance from the monotonic clock to the wall clock: how long reading it took, itself, and when."""
    best = sys.maxsize, 0, 0
    for _ in range(_READINGS):
        before = time.perf_counter_ns()
        wall = time.time_ns()
        after = time.perf_counter_ns()
        best = min(best, (after - before, wall - (before + after) // 2, after))
    return best[0], best[1], time.perf_counter_ns()

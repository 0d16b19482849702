"""What is known of a request while it is on its way?"""

from __future__ import annotations

from itertools import accumulate

from pytest_llmbench.client.http import Response, body_of, may_end
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.client.segments import Segment
from pytest_llmbench.client.stamps import Clock


class PendingRequest:
    """A request that was sent, and whose response is not read yet."""

    __slots__ = (
        "_followed",
        "fd",
        "inside",
        "raw",
        "repeated",
        "resent",
        "response",
        "segments",
    )

    def __init__(self, raw: RawResponse) -> None:
        self.raw = raw
        self.fd: int | None = None
        """Of the connection that it is on, if any."""
        self.resent = False
        """Whether it went out again because the server had closed the connection before."""
        self.repeated = 0
        """How often it went out again because the server was busy."""
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what came, if anything: it goes out once more."""
        self.response = Response()
        self.segments: list[Segment] = []
        self.inside = False
        """Whether segments need only be stored until one :func:`may_end` the response."""
        self._followed = 0
        """How many segments the response has read."""

    def take(self, segment: Segment) -> bool:
        """Store what came; returns whether the response has ended.

        :raises MalformedError: for what HTTP does not allow; inside a chunked body not before its end.
        """
        self.segments.append(segment)
        return not (self.inside and not may_end(segment[2])) and self.follow()

    def follow(self) -> bool:
        """Read the framing of all that is stored; returns whether the response has ended.

        :raises MalformedError: for what HTTP does not allow.
        """
        pieces = [data for _, _, data in self.segments[self._followed :]]
        self._followed = len(self.segments)
        ended = self.response.feed(b"".join(pieces))
        self.inside = not ended and self.response.inside_chunks
        return ended

    def shorten(self, most: int) -> list[Segment]:
        """Store the first *most* bytes or less of what came; returns the other segments.

        For one that has failed: what is gone cannot be followed any more.
        """
        ends = accumulate(len(data) for _, _, data in self.segments)
        kept = sum(end <= most for end in ends)
        dropped, self.segments[kept:] = self.segments[kept:], []
        return dropped

    def read(self, clock: Clock) -> None:
        """Read what came into the raw response; after the level."""
        raw, response = self.raw, self.response
        latest = raw.sent
        arrivals, lags = [], []
        for read, stamp, data in self.segments:
            arrival = clock.arrival(stamp, read, raw.sent)
            lags.append(read - arrival)
            latest = max(latest, arrival)
            arrivals.append((latest, data))
        self.segments.clear()
        raw.status, raw.headers = response.status, response.headers
        raw.body = body_of(arrivals)
        raw.read_lag = sorted(lags)[len(lags) // 2] if lags else None
        raw.complete = response.ended
        if response.ended and not response.until_close:
            raw.ended = latest

"""What is known of a request while it is on its way?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmbench.measure.load.exchange import Exchange
from pytest_llmbench.measure.load.http import Response, body_of
from pytest_llmbench.measure.load.stamps import Clock

if TYPE_CHECKING:
    from pytest_llmbench.measure.load.connection import Connection

Segment = tuple[int, bytes | None, bytes]
"""When it was read (ns), the kernel's stamp, and its bytes; TLS is removed, HTTP's framing is not."""


class Flight:
    """An exchange that is not read yet."""

    __slots__ = ("connection", "exchange", "repeated", "resent", "response", "segments")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.connection: Connection | None = None
        """While it is on one."""
        self.resent = False
        """Whether it went out again because the server had closed the connection before."""
        self.repeated = 0
        """How often it went out again because the server was busy."""
        self.response = Response()
        self.segments: list[Segment] = []

    def begin_again(self) -> None:
        """Forget what came: it goes out once more."""
        self.response = Response()
        self.segments = []

    def land(self, clock: Clock) -> None:
        """Read what came into the exchange; after the level."""
        exchange, response = self.exchange, self.response
        latest = exchange.sent
        arrivals = []
        for read, stamp, data in self.segments:
            latest = max(latest, clock.arrival(stamp, read, exchange.sent))
            arrivals.append((latest, data))
        self.segments.clear()
        exchange.status, exchange.headers = response.status, response.headers
        exchange.body = body_of(arrivals)
        exchange.complete = response.ended
        if response.ended and not response.until_close:
            exchange.ended = latest

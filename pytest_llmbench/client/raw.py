"""What did the wire carry for one request?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_llmbench.client.plan import Failure


@dataclass(slots=True)
class RawResponse:
    """One request and its response, as the hot path kept them; all times in ns."""

    number: int
    """The request's place in the plan."""
    warmup: bool
    scheduled: int | None
    sent: int
    """Just before its first byte was handed to the kernel."""
    ended: int = 0
    attempts: int = 1
    new_connection: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the response; names in lower case."""
    body: list[tuple[int, bytes]] = field(default_factory=list)
    """The body in the pieces in which it arrived, each with its arrival; framing and TLS removed."""
    read_lag: int | None = None
    """ns from the arrival of a segment to its reading, the median; None where there was none."""
    complete: bool = False
    """Whether the body came to its end by HTTP's own rules."""
    failure: Failure | None = None
    """What went wrong below the body: connection, TLS, framing, time; None if nothing did."""

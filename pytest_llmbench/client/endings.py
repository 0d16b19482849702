"""How did a request end that was not answered as it should be?"""

from __future__ import annotations

import time

from pytest_llmbench.client.http import MalformedError
from pytest_llmbench.client.pending import PendingRequest
from pytest_llmbench.client.plan import Failure
from pytest_llmbench.times import read_http

_PAUSE = 1.0
"""Seconds before a request is sent again, where a busy server does not say."""


def malformed(pending: PendingRequest) -> Failure | None:
    """What was wrong with that of a response which was only stored until now; None if nothing was."""
    try:
        pending.follow()
    except MalformedError as error:
        return Failure("malformed", str(error))
    return None


def cut(pending: PendingRequest) -> Failure:
    """The server closed the connection too soon."""
    if not pending.segments:
        return Failure("truncated", "the server closed the connection without an answer")
    return Failure("truncated", "the server closed the connection in the middle of its answer")


def too_late(pending: PendingRequest, timeout: float) -> Failure:
    """It did not end within *timeout*, in seconds."""
    came = "the response had begun" if pending.segments else "no answer had begun"
    return Failure("timeout", f"after {timeout:g} s {came}")


def retry_after(value: str) -> float:
    """Seconds to wait (RFC 9110, section 10.2.3)."""
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, read_http(value) - time.time())
    except ValueError:
        return _PAUSE

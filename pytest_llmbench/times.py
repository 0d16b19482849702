"""How is a point in time written, and read back?

One way for all that is kept: UTC in ISO 8601 with ``Z`` at its end (RFC 3339). Inside the program a point in
time is seconds since 1970; what is measured uses the monotonic clock and is turned into a date here alone.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

_STAMP = "%Y%m%dT%H%M%SZ"
STAMP_LENGTH = 16
"""Characters of :func:`stamp`."""


def now() -> str:
    """This moment, to the second: ``2026-01-02T03:04:05Z``."""
    return iso(time.time())


def iso(seconds: float, timespec: Literal["seconds", "microseconds"] = "seconds") -> str:
    """*seconds* since 1970 as a date: ``2026-01-02T03:04:05Z``, or ``...05.678901Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def iso_of_reading(nanoseconds: int) -> str:
    """The date, to the microsecond, of a reading of this machine's ``time.perf_counter_ns``."""
    return iso((time.time_ns() - time.perf_counter_ns() + nanoseconds) / 1e9, "microseconds")


def stamp(seconds: float) -> str:
    """*seconds* since 1970 as part of a file's name, which sorts by time: ``20260102T030405Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_STAMP)


def read_stamp(text: str) -> float:
    """The seconds since 1970 of what :func:`stamp` wrote.

    :raises ValueError: if *text* has another form.
    """
    return datetime.strptime(text, _STAMP).replace(tzinfo=UTC).timestamp()


def read_iso(text: str) -> float:
    """The seconds since 1970 of a date in ISO 8601; one without a zone is taken as UTC.

    :raises ValueError: if *text* has another form.
    """
    return _seconds(datetime.fromisoformat(text))


_SPAN = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def read_span(text: str) -> float:
    """The seconds of a span as a person writes it: ``90s``, ``30m``, ``12h``, ``30d``, ``2w``.

    :raises ValueError: if *text* has another form.
    """
    if (found := _SPAN.fullmatch(text.strip())) is None:
        msg = f"{text!r} is not a valid span of time; use a number and s, m, h, d or w, such as 30d"
        raise ValueError(msg)
    return float(found[1]) * _SECONDS[found[2]]


def read_http(text: str) -> float:
    """The seconds since 1970 of a date in a header of HTTP (RFC 9110, section 5.6.7).

    :raises ValueError: if *text* has another form.
    """
    try:
        return _seconds(parsedate_to_datetime(text))
    except (ArithmeticError, LookupError, TypeError) as error:
        # The library raises many kinds of errors for a text in another form.
        msg = f"{text!r} is not a date of HTTP"
        raise ValueError(msg) from error


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()

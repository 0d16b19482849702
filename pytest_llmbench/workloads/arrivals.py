"""When do requests come, if they do not wait for the answers?

At a rate, requests are sent whether or not earlier ones were answered, as independent users would.
Users who know nothing of each other make a Poisson process; ``constant`` is its quietest form, a
``burst`` its worst, and a ``ramp`` shows where a server gives in.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate

from pytest_llmbench.errors import UsageError, suggest

_FORMS = "constant, poisson, burst[:SIZE] such as burst:10, or ramp[:START] such as ramp:0.5"
_KINDS = ("constant", "poisson", "burst", "ramp")


def level_label(concurrency: int | None, conversations: int | None, rate: float | None) -> str | None:
    """What a load level is called: ``c8`` for 8 requests at once, ``conv32`` for 32 conversations,
    ``conv32c8`` for these with 8 requests at once at most, ``r2.5`` for 2.5 a second; None for neither."""
    if concurrency is None and conversations is None:
        return None if rate is None else f"r{rate:g}"
    talks = "" if conversations is None else f"conv{conversations}"
    return talks + ("" if concurrency is None else f"c{concurrency}")


@dataclass(frozen=True, slots=True)
class Arrivals(ABC):
    """A pattern in which requests come; ``str()`` of it is what :func:`parse_arrivals` takes."""

    def schedule(self, rate: float, count: int, seed: int = 0) -> tuple[float, ...]:
        """When each of *count* requests is due: seconds since the start, ascending, the first at 0.

        The same arguments give the same times.

        :param rate: requests a second.
        :raises UsageError: for a rate that is not above 0.
        """
        _check(rate)
        return self._times(rate, count, seed) if count > 0 else ()

    def count_for(self, duration: float, rate: float) -> int:
        """How many requests are due in *duration* seconds, on average; at least 1.

        :raises UsageError: for a rate that is not above 0.
        """
        _check(rate)
        # Less what rounding adds: 0.1 of a second at 30 a second are 3 requests, not 4.
        return max(1, math.ceil(self._mean_rate(rate) * duration - 1e-9))

    @abstractmethod
    def _times(self, rate: float, count: int, seed: int) -> tuple[float, ...]:
        """See :meth:`schedule`."""

    def _mean_rate(self, rate: float) -> float:
        return rate


@dataclass(frozen=True, slots=True)
class Constant(Arrivals):
    """Equal gaps."""

    def _times(self, rate: float, count: int, seed: int) -> tuple[float, ...]:
        return tuple(number / rate for number in range(count))

    def __str__(self) -> str:
        return "constant"


@dataclass(frozen=True, slots=True)
class Poisson(Arrivals):
    """Independent gaps, exponentially distributed: a Poisson process, seen from one of its requests."""

    def _times(self, rate: float, count: int, seed: int) -> tuple[float, ...]:
        # Of the generators of numbers only random() is promised to stay as it is.
        draw = random.Random(f"arrivals/{seed}").random
        gaps = (-math.log(1 - draw()) / rate for _ in range(count - 1))
        return tuple(accumulate(gaps, initial=0.0))

    def __str__(self) -> str:
        return "poisson"


@dataclass(frozen=True, slots=True)
class Burst(Arrivals):
    """Groups of *size* requests at once, in equal gaps that keep the mean rate."""

    size: int = 10

    def _times(self, rate: float, count: int, seed: int) -> tuple[float, ...]:
        return tuple(number // self.size * self.size / rate for number in range(count))

    def __str__(self) -> str:
        return f"burst:{self.size}"


@dataclass(frozen=True, slots=True)
class Ramp(Arrivals):
    """The rate goes linearly from *start* to the rate that was asked for, over the whole schedule."""

    start: float = 0.0
    """Requests a second."""

    def _times(self, rate: float, count: int, seed: int) -> tuple[float, ...]:
        # The expected number until t is start·t + slope·t²/2; request k is due where it is k. This form
        # of the root has no difference of nearly equal numbers, and holds for a slope of 0 as well.
        slope = (rate - self.start) * self._mean_rate(rate) / count
        due = [0.0]
        due += (2 * k / (self.start + math.sqrt(self.start**2 + 2 * slope * k)) for k in range(1, count))
        return tuple(due)

    def _mean_rate(self, rate: float) -> float:
        return (self.start + rate) / 2

    def __str__(self) -> str:
        return f"ramp:{int(self.start) if self.start.is_integer() else self.start}"


def parse_arrivals(text: str) -> Arrivals:
    """What *text* stands for.

    :raises UsageError: listing the forms, for anything else.
    """
    kind, *numbers = (part.strip() for part in str(text).split(":"))
    try:
        match kind, numbers:
            case "constant", []:
                return Constant()
            case "poisson", []:
                return Poisson()
            case "burst", []:
                return Burst()
            case "burst", [size] if int(size) >= 1:
                return Burst(int(size))
            case "ramp", []:
                return Ramp()
            case "ramp", [start] if 0 <= float(start) < math.inf:
                return Ramp(float(start))
    except ValueError:
        pass
    meant = "" if kind in _KINDS else suggest(kind, _KINDS)
    msg = (
        f"{text!r} is not a valid arrival pattern{meant}; use {_FORMS}, with SIZE from 1 and START from 0 on"
    )
    raise UsageError(msg)


def _check(rate: float) -> None:
    if not 0 < rate < math.inf:
        msg = f"a request rate of {rate:g} is not valid; use a number above 0"
        raise UsageError(msg)

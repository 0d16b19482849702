"""How many tokens long are the prompts and answers of a load?

Written ``128``, ``uniform:64:256``, ``normal:512:128`` or ``lognormal:128:0.5:1024``. Lengths of real prompts
and answers are skewed to the right, for which the log-normal distribution is the usual model; workloads that
others publish as 512±128 are normal ones.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from statistics import NormalDist

from pytest_llmbench.errors import UsageError

_FORMS = "a number of tokens such as 128, uniform:MIN:MAX such as uniform:64:256, "
_FORMS += "normal:MEAN:STDDEV[:MAX] such as normal:512:128, or "
_FORMS += "lognormal:MEDIAN:SIGMA[:MAX] such as lognormal:128:0.5:1024"
_LARGEST_SIGMA = 5.0
LONGEST = 10_000_000
"""Tokens of a text: longer than any model's context."""


@dataclass(frozen=True, slots=True)
class Length(ABC):
    """A distribution of lengths, in tokens; ``str()`` of it is what :func:`parse_length` takes."""

    def sample(self, n: int, seed: int) -> list[int]:
        """*n* lengths of at least 1 token each; the same arguments give the same lengths.

        Two distributions with one seed give lengths that rise and fall together: give each its own.
        """
        # Of the generators of numbers only random() is promised to stay as it is.
        draw = random.Random(f"lengths/{seed}").random
        return [self._quantile(draw()) for _ in range(n)]

    @property
    def middle(self) -> int:
        """The median, tokens."""
        return self._quantile(0.5)

    @property
    def longest(self) -> int | None:
        """The length that none exceeds, tokens; None where there is no such length."""
        return None

    @abstractmethod
    def _quantile(self, probability: float) -> int:
        """The length that is not exceeded with *probability*, from 0 to below 1."""


@dataclass(frozen=True, slots=True)
class Fixed(Length):
    """Always the same length."""

    tokens: int

    @property
    def longest(self) -> int:
        return self.tokens

    def _quantile(self, probability: float) -> int:
        return self.tokens

    def __str__(self) -> str:
        return str(self.tokens)


@dataclass(frozen=True, slots=True)
class Uniform(Length):
    """Any length from *least* to *most*, both included, equally often."""

    least: int
    most: int

    @property
    def longest(self) -> int:
        return self.most

    def _quantile(self, probability: float) -> int:
        return self.least + int(probability * (self.most - self.least + 1))

    def __str__(self) -> str:
        return f"uniform:{self.least}:{self.most}"


@dataclass(frozen=True, slots=True)
class Normal(Length):
    """Normally distributed lengths, rounded to whole tokens; those below 1 are cut to it."""

    mean: int
    deviation: int
    """Standard deviation, in tokens."""
    most: int | None = None
    """Longer ones are cut to it."""

    @property
    def longest(self) -> int | None:
        return self.most

    def _quantile(self, probability: float) -> int:
        z = NormalDist().inv_cdf(probability or 0.5)
        return min(max(1, round(self.mean + self.deviation * z)), self.most or LONGEST)

    def __str__(self) -> str:
        end = "" if self.most is None else f":{self.most}"
        return f"normal:{self.mean}:{self.deviation}{end}"


@dataclass(frozen=True, slots=True)
class LogNormal(Length):
    """Lengths whose logarithms are normally distributed, rounded to whole tokens."""

    median: int
    sigma: float
    """Standard deviation of the natural logarithm: two thirds lie within a factor of exp(sigma)."""
    most: int | None = None
    """Longer ones are cut to it, so that the median stays."""

    @property
    def longest(self) -> int | None:
        return self.most

    def _quantile(self, probability: float) -> int:
        # The normal distribution has no quantile at 0, which is drawn once in 2**53 times.
        z = NormalDist().inv_cdf(probability or 0.5)
        tokens = max(1, round(self.median * math.exp(self.sigma * z)))
        return min(tokens, self.most or LONGEST)

    def __str__(self) -> str:
        end = "" if self.most is None else f":{self.most}"
        sigma = int(self.sigma) if self.sigma.is_integer() else self.sigma
        return f"lognormal:{self.median}:{sigma}{end}"


def parse_length(text: str | int) -> Length:
    """What *text* stands for.

    :raises UsageError: listing the forms, for anything else.
    """
    try:
        match [part.strip() for part in str(text).split(":")]:
            case [tokens]:
                return Fixed(_tokens(tokens))
            case ["uniform", least, most]:
                return _uniform(_tokens(least), _tokens(most))
            case ["normal", mean, deviation]:
                return _normal(_tokens(mean), _tokens(deviation), None)
            case ["normal", mean, deviation, most]:
                return _normal(_tokens(mean), _tokens(deviation), _tokens(most))
            case ["lognormal", median, sigma]:
                return _lognormal(_tokens(median), float(sigma), None)
            case ["lognormal", median, sigma, most]:
                return _lognormal(_tokens(median), float(sigma), _tokens(most))
    except ValueError as error:
        reason = f" ({error})" if isinstance(error, _OutOfRangeError) else ""
        msg = f"{text!r} is not a valid length{reason}; use {_FORMS}"
        raise UsageError(msg) from None
    msg = f"{text!r} is not a valid length; use {_FORMS}"
    raise UsageError(msg)


class _OutOfRangeError(ValueError):
    """A number that is not valid as a length."""


def _tokens(text: str) -> int:
    number = int(text)
    if not 1 <= number <= LONGEST:
        msg = f"a length is at least 1 token, at most {LONGEST}"
        raise _OutOfRangeError(msg)
    return number


def _uniform(least: int, most: int) -> Uniform:
    if least > most:
        msg = f"MIN is {least} and above MAX"
        raise _OutOfRangeError(msg)
    return Uniform(least, most)


def _normal(mean: int, deviation: int, most: int | None) -> Normal:
    if most is not None and most < mean:
        msg = f"MAX is below the mean of {mean}"
        raise _OutOfRangeError(msg)
    return Normal(mean, deviation, most)


def _lognormal(median: int, sigma: float, most: int | None) -> LogNormal:
    if not 0 < sigma <= _LARGEST_SIGMA:
        msg = f"SIGMA is that of the logarithm, above 0 and at most {_LARGEST_SIGMA:g}"
        raise _OutOfRangeError(msg)
    if most is not None and most < median:
        msg = f"MAX is below the median of {median}"
        raise _OutOfRangeError(msg)
    return LogNormal(median, sigma, most)

"""Which values can a setting have, and how is one read?

A reader takes what a marker, an ini file or the command line gives, as a text or as a value of
Python. Its docstring says what it takes, in the words of a message. It raises ValueError, TypeError
or OverflowError for anything else; :meth:`pytest_llmbench.settings.case.Setting.read` tells the user.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pytest_llmbench.backends.options import truth

TRACE = "trace"
"""Arrivals at the times of a data set."""

MANY = 10_000_000
"""Of what is counted: more than any measurement has, and what a slip of the keyboard gives."""
AT_ONCE = 100_000
"""Requests: more than one machine has ports for, and than any client of ours can hold."""
FAST = 10_000
"""Requests a second: more than one process can send."""
LONG = 1_000_000
"""Seconds, and other numbers: eleven days, which every clock and timer of the system takes."""


def says_nothing(value: Any) -> bool:
    """Whether a text, a list or a table is there, and names nothing, or has such a part."""
    if isinstance(value, str):
        return not value.strip(", \t\r\n")
    if isinstance(value, Mapping):
        return not value
    return isinstance(value, Collection) and (not len(value) or any(map(says_nothing, value)))


def whole(minimum: int, maximum: int = MANY) -> Callable[[Any], int]:
    """A reader of whole numbers within these bounds."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        number = int(value)
        if not minimum <= number <= maximum:
            raise ValueError
        return number

    parse.__doc__ = f"a whole number of at least {minimum}, at most {maximum}"
    return parse


def real(minimum: float, maximum: float = LONG) -> Callable[[Any], float]:
    """A reader of numbers within these bounds."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not minimum <= number <= maximum:
            raise ValueError
        return number

    parse.__doc__ = f"a number of at least {minimum:g}, at most {maximum:.0f}"
    return parse


def fraction(value: Any) -> float:
    """a number above 0, at most 1"""
    number = real(0)(value)
    if not 0 < number <= 1:
        raise ValueError
    return number


def flag(value: Any) -> bool:
    """True or False"""
    if isinstance(value, bool):
        return value
    told = truth(str(value))
    if told is None:
        raise ValueError
    return told


def isolation(value: Any) -> str:
    """one of test, model, none"""
    if value not in ("test", "model", "none"):
        raise ValueError
    return str(value)


def names(value: Any) -> tuple[str, ...]:
    """a name or a list of names"""
    values = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(v, str) for v in values):
        raise ValueError
    return tuple(name for v in values for part in v.split(",") if (name := part.strip()))


def backend_options(value: Any) -> dict[str, dict[str, Any]]:
    """{"BACKEND": {"NAME": VALUE}}, or BACKEND.NAME=VALUE once or several times"""
    from pytest_llmbench.backends.options import backend_of, parse_option

    merged: dict[str, dict[str, Any]] = {}
    if isinstance(value, Mapping):
        if not all(isinstance(options, Mapping) for options in value.values()):
            raise ValueError
        for backend, options in value.items():
            merged.setdefault(backend_of(str(backend)), {}).update(options)
        return merged
    for line in [value] if isinstance(value, str) else value:
        backend, name, text = parse_option(line)
        merged.setdefault(backend, {})[name] = text
    return merged


def several(one: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    """A reader of a list, or of a text with commas, that reads each part with *one*."""

    def parse(value: Any) -> tuple[Any, ...]:
        values = [value] if isinstance(value, int | float | str) else list(value)
        parts = [part for v in values for part in (v.split(",") if isinstance(v, str) else [v])]
        return tuple(one(part) for part in parts)

    parse.__doc__ = f"{one.__doc__}, or a list of such"
    return parse


def above(maximum: float) -> Callable[[Any], float]:
    """A reader of numbers above 0, up to *maximum*."""

    def parse(value: Any) -> float:
        number = real(0, maximum)(value)
        if not number:
            raise ValueError
        return number

    parse.__doc__ = f"a number above 0, at most {maximum:.0f}"
    return parse


def length(value: Any) -> str:
    """a number of tokens, uniform:MIN:MAX or lognormal:MEDIAN:SIGMA[:MAX]"""
    from pytest_llmbench.workloads.lengths import parse_length

    return str(parse_length(value))


def arrivals(value: Any) -> str:
    """one of constant, poisson, burst[:SIZE], ramp[:START], trace"""
    from pytest_llmbench.workloads.arrivals import parse_arrivals

    return TRACE if value == TRACE else str(parse_arrivals(value))


def time_unit(value: Any) -> str:
    """one of s, ms, us, ns"""
    if value not in ("s", "ms", "us", "ns"):
        raise ValueError
    return str(value)


def text(value: Any) -> str:
    """a text"""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def slo(value: Any) -> dict[str, float]:
    """{"ttft": 0.5} in seconds, or METRIC:TIME such as ttft:500ms; the metrics are ttft, tpot, e2e_latency"""
    from pytest_llmbench.measure.level import SLO_METRICS

    if not isinstance(value, Mapping):
        texts = [value] if isinstance(value, str) else list(value)
        value = dict(text.split(":") for part in texts for text in part.split(","))
    found = {}
    for metric, limit in value.items():
        name = metric.strip()
        if name not in SLO_METRICS:
            raise ValueError
        scale = 1.0
        if isinstance(limit, str):
            limit = limit.strip()
            scale = 1e-3 if limit.endswith("ms") else 1.0
            limit = limit.removesuffix("ms").removesuffix("s")
        found[name] = above(LONG)(limit) * scale
    return found


def failures(value: Any) -> str:
    """a share such as 1% or 0.01, or a number of requests such as 0 or 3"""
    from pytest_llmbench.gate.failures import parse_allowed

    return str(parse_allowed(value))


def thresholds(value: Any) -> Mapping[str, Any]:
    """{"METRIC": "5%"}, with limits such as "<300ms"; one or a list of them"""
    if not isinstance(value, Mapping):
        raise ValueError
    from pytest_llmbench.gate.thresholds import read_thresholds

    read_thresholds(value, "thresholds")
    return value

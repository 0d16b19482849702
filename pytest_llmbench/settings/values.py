"""Which values can a setting have, and how is one read?

A reader takes what a marker, a suite, an ini file or the command line gives, as a text or as a value of
Python. It says in words and as a JSON Schema what it takes, and raises ValueError, TypeError, OverflowError
or UsageError for anything else; :meth:`pytest_llmbench.settings.rows.Setting.read` adds where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.rows import Reader, Schema

if TYPE_CHECKING:
    from pytest_llmbench.gate.ab import BaseSide
    from pytest_llmbench.gate.budget import Budget
    from pytest_llmbench.gate.thresholds import Threshold
    from pytest_llmbench.servers.starts import Starts
    from pytest_llmbench.settings.options import BackendOptions

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

T = TypeVar("T")


def reader(takes: str, schema: Callable[[], Schema]) -> Callable[[Callable[[object], T]], Reader[T]]:
    """Make a function a reader, which *takes* so much."""

    def make(read: Callable[[object], T]) -> Reader[T]:
        return Reader(read, takes, schema)

    return make


def whole(minimum: int, maximum: int = MANY) -> Reader[int]:
    """A reader of whole numbers within these bounds."""

    @reader(
        f"a whole number of at least {minimum}, at most {maximum}",
        lambda: {"type": "integer", "minimum": minimum, "maximum": maximum},
    )
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        number = int(value)
        if not minimum <= number <= maximum:
            raise ValueError
        return number

    return read


def real(minimum: float, maximum: float = LONG) -> Reader[float]:
    """A reader of numbers within these bounds."""

    @reader(
        f"a number of at least {minimum:g}, at most {maximum:.0f}",
        lambda: {"type": "number", "minimum": minimum, "maximum": maximum},
    )
    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not minimum <= number <= maximum:
            raise ValueError
        return number

    return read


def above(maximum: float) -> Reader[float]:
    """A reader of numbers above 0, up to *maximum*."""

    @reader(
        f"a number above 0, at most {maximum:.0f}",
        lambda: {"type": "number", "exclusiveMinimum": 0, "maximum": maximum},
    )
    def read(value: object) -> float:
        number = real(0, maximum)(value)
        if not number:
            raise ValueError
        return number

    return read


fraction = above(1)
share = real(0, 1)


@reader(
    "a number of samples a second from 0 to 1000",
    lambda: {"type": "number", "minimum": 0, "maximum": 1000},
)
def sampling_rate(value: object) -> float:
    """A reader of how often the hardware is sampled."""
    return real(0, 1000)(value)


@reader("True or False", lambda: {"type": "boolean"})
def yes_or_no(value: object) -> bool:
    """A reader of truth values."""
    from pytest_llmbench.backends.options import truth

    if isinstance(value, bool):
        return value
    told = truth(str(value))
    if told is None:
        raise ValueError
    return told


def one_of(*words: T) -> Reader[T]:
    """A reader of one of these *words*."""

    @reader(f"one of {', '.join(map(str, words))}", lambda: {"enum": list(words)})
    def read(value: object) -> T:
        return words[words.index(value)]

    return read


def several(one: Reader[T]) -> Reader[tuple[T, ...]]:
    """A reader of a list, or of a text with commas, that reads each part with *one*."""

    @reader(f"{one.takes}, or a list of such", lambda: _one_or_several(one.schema()))
    def read(value: object) -> tuple[T, ...]:
        values = [value] if isinstance(value, int | float) else _listed(value)
        parts = [part for v in values for part in (v.split(",") if isinstance(v, str) else [v])]
        return tuple(one(part) for part in parts)

    return read


@reader("a text", lambda: {"type": "string", "minLength": 1})
def text(value: object) -> str:
    """A reader of any text."""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


@reader("a text or a list of texts", lambda: _one_or_several({"type": "string", "minLength": 1}))
def texts(value: object) -> tuple[str, ...]:
    """A reader of texts that may have commas in them."""
    return tuple(map(text, _listed(value)))


@reader("a path", lambda: {"type": "string", "minLength": 1})
def file(value: object) -> Path:
    """A reader of paths of files and folders."""
    return Path(text(value))


@reader("a name or a list of names", lambda: _one_or_several({"type": "string", "minLength": 1}))
def names(value: object) -> tuple[str, ...]:
    """A reader of names."""
    values = _listed(value)
    lines = [line for line in values if isinstance(line, str)]
    if len(lines) < len(values):
        raise ValueError
    return tuple(name for line in lines for part in line.split(",") if (name := part.strip()))


@reader("a name or a list of names", names.schema)
def backends(value: object) -> tuple[str, ...]:
    """A reader of the names of backends, and of ``server``."""
    from pytest_llmbench.backends.options import backend_of

    return tuple(backend_of(name) for name in names(value))


@reader(
    '{"BACKEND": {"NAME": VALUE}}, or BACKEND.NAME=VALUE once or several times',
    lambda: {
        "anyOf": [
            {"type": "object", "additionalProperties": {"type": "object"}},
            _one_or_several({"type": "string", "pattern": r"^[^.=]+\.[^=]+="}),
        ]
    },
)
def backend_options(value: object) -> BackendOptions:
    """A reader of options of backends; whether a backend has them, it says itself."""
    from pytest_llmbench.backends.options import backend_of, parse_option
    from pytest_llmbench.settings.options import BackendOptions

    merged: dict[str, dict[str, Any]] = {}
    if isinstance(value, Mapping):
        if not all(isinstance(options, Mapping) for options in value.values()):
            raise ValueError
        for backend, options in value.items():
            merged.setdefault(backend_of(str(backend)), {}).update(options)
        return BackendOptions(merged)
    for line in texts(value):
        backend, name, written = parse_option(line)
        merged.setdefault(backend, {})[name] = written
    return BackendOptions(merged)


@reader(
    "a number of tokens, uniform:MIN:MAX, normal:MEAN:STDDEV[:MAX] or lognormal:MEDIAN:SIGMA[:MAX]",
    lambda: {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": MANY},
            {
                "type": "string",
                "pattern": r"^\s*([0-9]+|uniform(:[^:]+){2}|(normal|lognormal)(:[^:]+){2,3})\s*$",
            },
        ]
    },
)
def length(value: object) -> str:
    """A reader of lengths; see :mod:`pytest_llmbench.workloads.lengths`."""
    from pytest_llmbench.workloads.lengths import parse_length

    return str(parse_length(str(value)))


@reader(
    "one of constant, poisson, burst[:SIZE], ramp[:START], trace",
    lambda: {"type": "string", "pattern": r"^(constant|poisson|burst(:[0-9]+)?|ramp(:[0-9.]+)?|trace)$"},
)
def arrivals(value: object) -> str:
    """A reader of arrival patterns; see :mod:`pytest_llmbench.workloads.arrivals`."""
    from pytest_llmbench.workloads.arrivals import parse_arrivals

    return TRACE if value == TRACE else str(parse_arrivals(str(value)))


_TIME = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": LONG},
        {"type": "string", "pattern": r"^\s*[0-9.eE+-]+\s*(ms|s)?\s*$"},
    ]
}


def _slo_schema() -> Schema:
    from pytest_llmbench.metrics.table import slo_metrics

    known = "|".join(slo_metrics())
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": dict.fromkeys(slo_metrics(), _TIME),
                "additionalProperties": False,
            },
            _one_or_several({"type": "string", "pattern": rf"^\s*({known})\s*:"}),
        ]
    }


@reader('{"ttft": 0.5} in seconds, or METRIC:TIME such as ttft:500ms', _slo_schema)
def slo(value: object) -> Mapping[str, float]:
    """A reader of service-level objectives, in seconds by metric."""
    from pytest_llmbench.metrics.table import slo_metrics

    if not isinstance(value, Mapping):
        value = dict(one.split(":") for line in texts(value) for one in line.split(","))
    found = {}
    for metric, limit in value.items():
        name = metric.strip()
        if name not in slo_metrics():
            msg = f"{name!r} cannot be an objective; there are {', '.join(slo_metrics())}"
            raise UsageError(msg)
        scale = 1.0
        if isinstance(limit, str):
            limit = limit.strip()
            scale = 1e-3 if limit.endswith("ms") else 1.0
            limit = limit.removesuffix("ms").removesuffix("s")
        found[name] = above(LONG)(limit) * scale
    return found


@reader(
    "a share such as 1% or 0.01, or a number of requests such as 0 or 3",
    lambda: {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "number", "minimum": 0, "maximum": 1},
            {"type": "string", "pattern": r"^\s*([0-9]+|[0-9.]+%?)\s*$"},
        ]
    },
)
def failures(value: object) -> str:
    """A reader of how many requests may fail; see :mod:`pytest_llmbench.gate.failures`."""
    from pytest_llmbench.gate.failures import parse_allowed

    return str(parse_allowed(value))


def _thresholds_schema() -> Schema:
    from pytest_llmbench.metrics.table import METRICS

    value = {"type": ["string", "number"]}
    return {
        "type": "object",
        "patternProperties": {
            rf"^({'|'.join(METRICS)})(\.p[0-9.]+)?$": {
                "anyOf": [value, {"type": "array", "items": value, "minItems": 1}]
            }
        },
        "additionalProperties": False,
    }


@reader('{"METRIC": "5%"}, with limits such as "<300ms"; one or a list of them', _thresholds_schema)
def thresholds(value: object) -> tuple[Threshold, ...]:
    """A reader of what the gate allows; see :mod:`pytest_llmbench.gate.thresholds`."""
    if not isinstance(value, Mapping):
        raise ValueError
    from pytest_llmbench.gate.thresholds import read_thresholds

    return read_thresholds(value)


@reader("METRIC:VALUE, once or several times", lambda: _one_or_several({"type": "string", "pattern": ":"}))
def threshold_lines(value: object) -> tuple[Threshold, ...]:
    """A reader of what the gate allows, as the command line has it."""
    from pytest_llmbench.gate.thresholds import parse_thresholds

    return tuple(one for line in texts(value) for one in parse_thresholds(line))


@reader("a metric or a list of metrics", lambda: names.schema())
def gated(value: object) -> tuple[str, ...]:
    """A reader of metrics that gate."""
    from pytest_llmbench.gate.thresholds import default_thresholds

    found = names(value)
    default_thresholds(found)  # refuses a metric that there is not
    return found


@reader("a name of a column or a list of such", lambda: names.schema())
def columns(value: object) -> tuple[str, ...]:
    """A reader of further columns of the table."""
    from pytest_llmbench.report.rows import requested

    found = tuple(word for name in names(value) for word in name.split())
    requested(found)  # refuses one that there is not
    return found


@reader("KEY=VALUE, several with blanks between them", lambda: {"type": "string", "minLength": 1})
def base_side(value: object) -> BaseSide:
    """A reader of the base side of an A/B session."""
    from pytest_llmbench.gate.ab import parse_base_side

    return parse_base_side(text(value))


@reader(
    "ENGINE:PRESET.OPTION=VALUE, once or several times",
    lambda: _one_or_several({"type": "string", "pattern": "="}),
)
def starts(value: object) -> Starts:
    """A reader of presets of servers' starts."""
    from pytest_llmbench.servers.starts import read_starts

    return read_starts(texts(value))


@reader("a number of pairs (20) or a time (90s, 10min, 2h)", lambda: {"type": ["string", "integer"]})
def budget(value: object) -> Budget:
    """A reader of what a case of an A/B session may cost."""
    from pytest_llmbench.gate.budget import parse_budget

    return parse_budget(str(value))


@reader("a name of a baseline", lambda: {"type": "string", "minLength": 1})
def baseline(value: object) -> str:
    """A reader of a name for a baseline."""
    from pytest_llmbench.results.baselines import check_name

    name = text(value)
    check_name(name)
    return name


@reader(
    "text or json: write --llm-list=text before a path, or --llm-list after it",
    lambda: {"enum": ["text", "json"]},
)
def listing(value: object) -> Literal["text", "json"]:
    """A reader of how tests are listed."""
    if value not in ("text", "json"):
        raise ValueError
    return "text" if value == "text" else "json"


def _listed(value: object) -> list[object]:
    """A text as the only one of its list; a list as it is.

    :raises ValueError: for anything else.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise ValueError
    return list(value)


def _one_or_several(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "array", "items": one}]}

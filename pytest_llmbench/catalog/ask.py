"""What can be asked of a catalog: which limits hold, and what matters beyond them?

Limits that hold, and weights of what matters beyond them. A limit is written as conditions are elsewhere:
``p95<500ms``; a budget as ``2.5/h`` or ``0.4/Mtok``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_llmbench.catalog.uses import USES, UseName
from pytest_llmbench.errors import UsageError, one_line, suggest
from pytest_llmbench.metrics.reading import NUMBER, factors
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.records import Market

_Text = Annotated[str, Field(min_length=1, max_length=200)]
_Names = Annotated[list[_Text], Field(max_length=100)]
_Share = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]

SHORT: Mapping[str, str] = {"e2e": "e2e_latency"}
"""How metrics may be called in a limit, beside their names."""
QUANTILES = ("median", "p90", "p95", "p99", "mean")
"""What a limit may be of; by default p95 where less is better, else the median."""
_CONDITION = re.compile(rf"\s*(?:({'|'.join((*QUANTILES, 'p50'))})\s*)?(<=|>=|<|>)\s*({NUMBER})\s*(.*?)\s*")
_BUDGET = re.compile(
    rf"\s*(?:\$|USD)?\s*({NUMBER})\s*(?:\$|USD)?\s*/\s*(h|hour|Mtok|Mtokens)\s*", re.IGNORECASE
)
_QUALITY = re.compile(rf"\s*(?:>=?)?\s*({NUMBER})\s*(%?)\s*")


class Ask(BaseModel):
    """What is asked of a catalog."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    use: UseName | None = Field(
        default=None, description="use case whose limits and weights hold where nothing else is said"
    )
    slo: Annotated[dict[_Text, _Text], Field(max_length=20)] = Field(
        default_factory=dict, description="limits by metric, such as {'ttft': 'p95<500ms'}"
    )
    budget: _Text | None = Field(default=None, description="USD: '2.5/h', '0.4/Mtok', or both with a comma")
    min_quality: _Text | None = Field(default=None, description="least quality: 0.8 or 80%")
    workload: _Text | None = Field(
        default=None, description="what was asked of the models: a test's name, or a workload's hash"
    )
    models: _Names = Field(default_factory=list, description="names; * stands for anything")
    hardware: _Names = Field(default_factory=list, description="labels or products; * stands for anything")
    engines: _Names = Field(default_factory=list, description="backends or servers")
    quantizations: _Names = Field(default_factory=list)
    loads: _Names = Field(default_factory=list, description="load levels, such as c8")
    weights: Annotated[dict[_Text, float], Field(max_length=20)] = Field(
        default_factory=dict, description="by criterion, such as {'cost': 2, 'latency': 1}"
    )
    market: Market = Field(default="on_demand", description="whose prices hold")
    top: Annotated[int, Field(ge=1, le=1000)] = Field(default=5, description="entries of the ranking")
    every: bool = Field(
        default=False,
        description="several entries of a model too, and those that another one beats in everything",
    )
    usd_per_kwh: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)] | None = Field(
        default=None, description="price of energy, for its part of the costs"
    )
    lost_share: _Share = Field(
        default=0.0, description="work lost on spot and done again, for each part that was kept"
    )
    utilization: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="share of the paid time in which the machine works"
    )

    @classmethod
    def of(cls, **given: Any) -> Ask:
        """What is asked, of values that a person gave; None is as if it were not given.

        :raises UsageError: in one line, naming what cannot be.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            msg = f"{place}: {one_line(first['msg'], 200)}"
            raise UsageError(msg) from None

    def limits(self) -> tuple[Limit, ...]:
        """All that has to hold of numbers: those of the use case, and over them what is said here.

        :raises UsageError: for one that is not valid.
        """
        written = dict(USES[self.use].slo) if self.use else {}
        written |= {SHORT.get(name, name): text for name, text in self.slo.items()}
        found = [read_limit(name, text) for name, text in written.items()]
        found += read_budget(self.budget) if self.budget is not None else []
        found += [read_quality(self.min_quality)] if self.min_quality is not None else []
        return tuple(found)

    def given_weights(self) -> Mapping[str, float] | None:
        """The weights that are said, here or by the use case; None for the usual ones."""
        return self.weights or (USES[self.use].weights if self.use else None)


@dataclass(frozen=True, slots=True)
class Limit:
    """What a number of a configuration has to be."""

    what: str
    """A metric with its statistic, or ``usd_per_hour``, ``cost``, ``quality``."""
    at_most: bool
    """Whether more is too much; else less is too little."""
    value: float
    """In the metric's unit, or USD an hour, or USD a million tokens."""
    strict: bool
    """Whether the value itself is beyond it."""
    unit: str
    text: str
    """For a person."""

    @property
    def sign(self) -> str:
        """``<``, ``<=``, ``>``, ``>=``."""
        return ("<" if self.at_most else ">") + ("" if self.strict else "=")


def read_limit(name: str, text: str) -> Limit:
    """A limit of a metric.

    :raises UsageError: for a metric that there is not, or a text of another form.
    """
    name = SHORT.get(name, name)
    if name not in METRICS:
        msg = f"there is no metric {name[:80]!r}{suggest(name, [*METRICS, *SHORT])}"
        raise UsageError(msg)
    metric = METRICS[name]
    found = _CONDITION.fullmatch(text)
    factor = None if found is None else {"": 1.0, **factors(metric.unit)}.get(found[4])
    if found is None or factor is None or not math.isfinite(value := float(found[3]) * factor):
        usual = "p95<500ms" if metric.unit == "s" else f"median{'<' if metric.sign > 0 else '>'}10"
        msg = f"{name}: {text[:80]!r} is not a limit in {metric.unit}; write it as {usual}"
        raise UsageError(msg)
    at_most = found[2].startswith("<")
    if at_most != (metric.better == "lower"):
        other = "less" if metric.better == "lower" else "more"
        msg = f"{name}: {text[:80]!r} is the wrong way around: of {name}, {other} is better"
        raise UsageError(msg)
    statistic = {None: "p95" if at_most else "median", "p50": "median"}.get(found[1], found[1])
    shown = f"{name} {statistic} {found[2]} {found[3]}{found[4] and ' ' + found[4]}"
    return Limit(f"{name}.{statistic}", at_most, value, len(found[2]) == 1, metric.unit, shown)


def read_budget(text: str) -> list[Limit]:
    """The limits of ``2.5/h``, ``0.4/Mtok``, or both.

    :raises UsageError: for a text of another form.
    """
    limits = {}
    for part in text.split(","):
        found = _BUDGET.fullmatch(part)
        if found is None or not math.isfinite(value := float(found[1])):
            msg = f"budget: {part[:80]!r} is not valid; write USD as 2.5/h, or 0.4/Mtok of output tokens"
            raise UsageError(msg)
        hourly = found[2].lower().startswith("h")
        what, unit = ("usd_per_hour", "USD/h") if hourly else ("cost", "USD/Mtok")
        limits[what] = Limit(what, True, value, False, unit, f"{found[1]} {unit} at most")
    return list(limits.values())


def read_quality(text: str) -> Limit:
    """The limit of ``0.8`` or ``80%``.

    :raises UsageError: for what is not a share.
    """
    found = _QUALITY.fullmatch(text)
    value = math.nan if found is None else float(found[1]) * (0.01 if found[2] else 1.0)
    if not 0 <= value <= 1:
        msg = f"min_quality: {text[:80]!r} is not a share; write 0.8 or 80%"
        raise UsageError(msg)
    return Limit("quality", False, value, False, "share", f"quality of {text.strip()} at least")

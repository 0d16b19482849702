"""What is answered to the question which configuration to take, and how is it written as JSON?"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmbench.catalog.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One configuration, as an answer names it."""

    label: str
    model: str
    quantization: str | None
    engine: str
    engine_version: str | None
    hardware: str | None
    count: int
    load: str | None
    test: str
    session: str
    position: int
    """Of the case in its document."""
    nodeid: str
    machine: str | None
    measured: datetime.datetime
    days: int
    """Since it was measured."""

    @classmethod
    def of(cls, row: Row, today: datetime.date) -> Configuration:
        """The configuration of a row."""
        return cls(
            label=row.label,
            days=max((today - row.measured.date()).days, 0),
            **{name: getattr(row, name) for name in _OF_ROW},
        )


_OF_ROW = (
    "model", "quantization", "engine", "engine_version", "hardware", "count", "load", "test", "session",
    "position", "nodeid", "machine", "measured",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceUsed:
    """The price that a cost is made of."""

    usd_per_hour: float
    """For all of the configuration's devices."""
    market: str
    provider: str
    region: str | None
    instance: str | None
    source: str
    date: datetime.date
    days: int
    old: bool
    """Whether it is so old that it has to be looked up again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """USD for a million tokens; None where a part of it is not known."""

    output: float | None
    """All that is paid, by the tokens that came out."""
    input: float | None
    """The same money, by the tokens that were read. The two are not added."""
    blended: float | None
    """By both together."""
    energy: float | None
    """Energy alone, by the tokens that came out: a part of what a rented machine costs."""
    prompt_tokens: int | None
    output_tokens: int | None
    """The lengths at which this holds."""
    price: PriceUsed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How far a configuration is from a limit."""

    limit: str
    value: float | None
    unit: str
    margin: float | None
    """The share of the limit that is left; negative beyond it."""
    sure: bool
    """Whether the 95% interval of the value is within the limit as well, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One configuration of the ranking."""

    rank: int
    score: float
    """Closeness to the best there is, 0 to 1; see :mod:`pytest_llmbench.catalog.topsis`."""
    interval: tuple[float, float]
    """The score with all values at the one or the other end of their 95% intervals."""
    parts: Mapping[str, float]
    """What each criterion gives to the score."""
    values: Mapping[str, float | None]
    """All criteria, weighed or not, in their units."""
    configuration: Configuration
    costs: Costs
    margins: Sequence[Margin]
    front: str | None
    """``certain`` or ``possible``: whether no other one beats it in everything; None where one does."""
    ties: Sequence[int]
    """Ranks from which noise alone tells it apart."""
    why: str
    """In a sentence."""
    unknown: Sequence[str]
    """What is not known of it, or not sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """What one limit leaves out."""

    limit: str
    count: int
    """Configurations that are beyond it."""
    alone: int
    """Those that only this one leaves out, since they are beyond it or it is not known: so many more there
    would be without it."""
    unknown: int
    """Those of which it is not known."""
    needed: float | None
    """What the limit would have to be, so that the best of those that meet the others meets it too; None
    where it is known of none of these."""
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A configuration that is near to meeting all limits."""

    configuration: Configuration
    beyond: float
    """The largest share of a limit by which it is beyond."""
    margins: Sequence[Margin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incomplete:
    """A configuration that has no place, since something of it is not known."""

    configuration: Configuration
    reason: str
    front: str | None
    """``possible``, if it may be one that no other beats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a catalog answers."""

    version: str
    """Of the catalog."""
    workload: str = ""
    test: str = ""
    """The workload's name, for a person."""
    others: Sequence[str] = ()
    """Other workloads that were measured, by their tests."""
    evaluated: int = 0
    """Configurations that the constraints leave."""
    meeting: int = 0
    """Those of them that are known to meet every limit."""
    beaten: int = 0
    """Those of them that another one beats in everything that counts."""
    shown_once: int = 0
    """Those that are left out since their model has a better place."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of the criteria that count, their total is 1."""
    ranked: Sequence[Entry] = ()
    excluded: Sequence[Excluded] = ()
    near_misses: Sequence[Miss] = ()
    incomplete: Sequence[Incomplete] = ()
    incomplete_count: int = 0
    """Of which the first few are named."""
    lists: Mapping[str, Configuration | None] = field(default_factory=dict)
    """The best by one thing alone: quality, cost, latency, simplicity; and by all alike."""
    never_measured: Sequence[str] = ()
    never_measured_count: int = 0
    notes: Sequence[str] = ()
    """What a person should know of the answer as a whole."""

    def as_json(self) -> dict[str, Any]:
        """Values that JSON has; what is not known is null."""
        return {one.name: _plain(getattr(self, one.name)) for one in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value

"""What is known of a metric, and what can be a row of the table?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from pytest_llmbench.metrics.parts import MeasuredCase, MeasuredProcess, MeasuredRound
from pytest_llmbench.metrics.timeline import Timeline

Better = Literal["lower", "higher"]
Scope = Literal["gap", "round", "process", "level", "case"]
"""What one value belongs to: the time between two tokens, a round, a process, a load level, a whole case."""
Clock = Literal["wall", "cpu"]
"""What a time is: of the clock on the wall, or of the CPUs that a process had."""
Judged = Literal["noisy", "exact", "never"]
"""``noisy``: by a statistical test. ``exact``: it repeats itself, and no other load on the machine disturbs
it, so that it compares with a tolerance. ``never``: it is told, and no test fails by it."""
Statistic = Literal["median", "p50", "p90", "p95", "p99"]
ResultsTable = Literal["cases", "levels", "turns"]
"""That of cases that measured a model, that of load levels, or that of a conversation's turns."""
When = Literal["always", "measured", "above 0"]
"""Which cases give a metric its column: any, one that has a value or is known to have none for a reason, or
one whose median is above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Where a metric stands in a results table without being asked for."""

    table: ResultsTable
    place: int = 100
    """Columns stand by rising places."""
    head: str = ""
    """Of the column, where the metric's own head does not do."""
    statistics: tuple[Statistic, ...] = ("median",)
    wide: tuple[Statistic, ...] | None = None
    """Instead of ``statistics`` where the terminal is wide; None for the same."""
    spread: bool = False
    """Whether a wide table says how far the values lie apart, instead of a mark where they do."""
    when: When = "always"
    """Whether it has a column at all."""
    instead: str | None = None
    """The metric whose value stands there where a case has none of this one."""
    both: bool = False
    """Whether turns that were asked with an empty cache have a column of their own, beside the warm ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One row of the table: everything that is known of a metric.

    At most one of ``compute``, ``of_round``, ``of_process`` and ``of_case`` is set. Without one the value is
    put into ``measured`` of what has it, by whoever measures it.
    """

    name: str
    unit: str
    better: Better
    scope: Scope
    formula: str
    source: str
    limits: str = ""
    """Where it does not say what it seems to, for a person; empty where it always does."""
    clock: Clock = "wall"
    """``cpu``: where an engine's CPU time says how much work it did
    (:mod:`pytest_llmbench.backends.cpu_time`), others on the machine hardly change it."""
    on_cpu: str | None = None
    """The metric that tells the same of the CPU's clock; None where there is none."""
    compute: Callable[[Timeline], float | None] | None = None
    """The value of a round, from its timeline alone."""
    of_round: Callable[[MeasuredRound], float | None] | None = None
    """The value of a round, from what was counted in it too."""
    of_process: Callable[[MeasuredProcess], float | None] | None = None
    """The value of a process or a level, asked for when it is over."""
    of_case: Callable[[MeasuredCase], float | None] | None = None
    """The value of a case, likewise."""
    needs_gaps: bool = False
    """Whether it needs the times between tokens: a generation without them does not have it."""
    judged: Judged = "noisy"
    gates: bool = False
    """Whether it fails a test by default."""
    allowed: float = 0.05
    """How much worse than the baseline it may be by default: 0.05 is 5%."""
    reciprocal_of: str | None = None
    """The metric of which it is the reciprocal: they are wrong together."""
    slo: bool = False
    """Whether a service-level objective may limit it: each request has one value of it, in seconds."""
    head: str = ""
    """Its short name, at the head of a column; by default its name."""
    shown: tuple[Shown, ...] = ()

    def of(self, timeline: Timeline) -> float | None:
        """Its value of a generation; None where it has none, or is not a function of the timeline."""
        if self.compute is None or (self.needs_gaps and timeline.untimed is not None):
            return None
        return self.compute(timeline)

    @property
    def exact(self) -> bool:
        """Whether it repeats itself."""
        return self.judged == "exact"

    @property
    def sign(self) -> int:
        """What makes a larger number a worse one: 1 or -1."""
        return 1 if self.better == "lower" else -1


_COMPUTED: dict[str, tuple[Scope, ...]] = {
    "compute": ("round",),
    "of_round": ("round",),
    "of_process": ("process", "level"),
    "of_case": ("case",),
}
"""Of which scopes each kind of computing gives a value."""


LONGEST_NAME = 80
"""Characters of a metric's name or unit: a table has room for no more."""


def problem_of(row: object) -> str | None:
    """Why *row* cannot be added to the table; None if it can."""
    if not isinstance(row, Metric):
        return "it is not a pytest_llmbench.Metric"
    if not isinstance(row.name, str) or not row.name.isidentifier() or row.name.startswith("_"):
        return "its name has to be an identifier that does not begin with '_', such as time_to_think"
    if len(row.name) > LONGEST_NAME or len(str(row.unit)) > LONGEST_NAME:
        return f"its name and its unit may have {LONGEST_NAME} characters each"
    for key in ("unit", "formula", "source"):
        if not isinstance(text := getattr(row, key), str) or not text.strip():
            return f"{key} is {text!r}; it has to say what it is"
    if row.unit.split() != [row.unit]:
        return f"unit is {row.unit!r}; it may not contain spaces"
    for key, choices in (("better", Better), ("scope", Scope), ("judged", Judged)):
        if (value := getattr(row, key)) not in get_args(choices):
            return f"{key} is {value!r}; it has to be one of {', '.join(get_args(choices))}"
    if not isinstance(row.allowed, int | float) or not 0 <= row.allowed < 1:
        return f"allowed is {row.allowed!r}; it has to be a share from 0 to below 1, such as 0.05"
    if row.gates and row.judged == "never":
        return "it cannot gate and be judged never"
    if row.clock not in get_args(Clock):
        return f"clock is {row.clock!r}; it has to be one of {', '.join(get_args(Clock))}"
    if row.on_cpu is not None and row.clock == "cpu":
        return "on_cpu names what tells the same of the CPU's clock, and it is of that clock itself"
    return _problem_of_computing(row) or _problem_of_showing(row)


def _problem_of_computing(row: Metric) -> str | None:
    if row.scope == "gap":
        return "of the time between two tokens there is itl alone; it has to be one of a round"
    given = [key for key in _COMPUTED if getattr(row, key) is not None]
    if len(given) > 1:
        return f"it has {' and '.join(given)}; one of them has to go"
    for key in given:
        if not callable(getattr(row, key)):
            return f"{key} has to be a function"
        if row.scope not in _COMPUTED[key]:
            return f"{key} gives the value of a {' or '.join(_COMPUTED[key])}, and its scope is {row.scope!r}"
    if row.slo and (row.compute is None or row.unit != "s"):
        return "an SLO limits what a timeline gives in seconds; it needs compute, and the unit s"
    return None


def _problem_of_showing(row: Metric) -> str | None:
    for shown in row.shown:
        if not isinstance(shown, Shown):
            return f"shown has {shown!r}, which is not a pytest_llmbench.Shown"
        for key, choices in (("table", ResultsTable), ("when", When)):
            if (value := getattr(shown, key)) not in get_args(choices):
                return f"shown: {key} is {value!r}; it has to be one of {', '.join(get_args(choices))}"
        for name in (*shown.statistics, *(shown.wide or ())):
            if name not in get_args(Statistic):
                return f"shown: there is no statistic {name!r}; there are {', '.join(get_args(Statistic))}"
    return None

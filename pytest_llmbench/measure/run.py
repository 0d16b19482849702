"""What did one measurement yield: its processes, their rounds, and the metrics over them?"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_llmbench.backends.cpu_time import comparable
from pytest_llmbench.client.facts import RequestFacts
from pytest_llmbench.hardware.disturbance import slows_cpu
from pytest_llmbench.hardware.facts import HardwareSummary
from pytest_llmbench.measure.facts import CacheFacts, FailedRequest, Level, TurnFacts
from pytest_llmbench.metrics.row import Scope
from pytest_llmbench.metrics.summary import Summary, summarize
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import (
    UNTIMED,
    Timeline,
    Untimed,
    by_reason,
    common_untimed,
    explain_untimed,
    gaps,
)
from pytest_llmbench.metrics.units import UNKNOWN, percent, quantity
from pytest_llmbench.metrics.values import ByName, case_values, computed
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

MAX_DISTURBED = 0.2
"""The share of rounds that may be left out: with more, what is left was chosen by the disturbance."""
MAX_FAILED = 0.01
"""The share of failed requests above which the others' times were taken under another load."""


def too_many_disturbed(disturbed: int, rounds: int) -> bool:
    """Whether so many of some rounds were disturbed that the others say nothing of them all."""
    return disturbed > MAX_DISTURBED * rounds


def too_many_failed(failed: int, answered: int) -> bool:
    """Whether the times of requests that were answered say nothing of the load that was asked for."""
    return failed > MAX_FAILED * (failed + answered)


_LINES = 10
"""How many a run has at most when it is printed."""

UNWATCHED = "unwatched"
"""Stands among the reason codes for a round that the monitor should have watched and did not."""
MONITOR_OFF = "the hardware monitor is off"


def marks(disturbance: Sequence[str] | None, watch_lost: bool, *, cpu_time: bool = False) -> Sequence[str]:
    """Why a round is left out of comparisons, as reason codes; empty if it counts.

    It is not known of a round whose watch was lost that it was undisturbed. Who turns the monitor off does
    without that knowledge.

    :param disturbance: of the round; *watch_lost* is its process's.
    :param cpu_time: whether its CPU time is asked for and compares (:func:`keeps_cpu_time`): it does not
        matter then that others had the CPUs.
    """
    if disturbance is None:
        return (UNWATCHED,) if watch_lost else ()
    return [code for code in disturbance if slows_cpu(code)] if cpu_time else disturbance


def keeps_cpu_time(metric: str, engine: Mapping[str, object]) -> bool:
    """Whether a metric is of the CPU's clock, and of an engine whose CPU time others hardly change."""
    row = METRICS.get(metric)
    return row is not None and row.clock == "cpu" and comparable(engine)


class _Measured(ByName):
    """What is measured: its metrics by their names, as attributes and in ``values``."""

    __slots__ = ()
    measured: dict[str, float | None]
    """Values that were measured as such, by the metric's name; None where that was not possible."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> float | None: ...

    @property
    def values(self) -> dict[str, float]:
        """Metric name to value, in the units of the metric table; of those that it has."""
        names = [name for name, row in METRICS.items() if row.scope in self._scopes]
        # What was measured without a row is kept, too, and of a process what stands for its rounds.
        names += [name for name in self.measured if name not in names]
        return {name: value for name in names if (value := self.value(name)) is not None}

    @property
    @abstractmethod
    def _scopes(self) -> tuple[Scope, ...]:
        """Of which scopes it has metrics."""


@dataclass(slots=True, repr=False)
class Round(_Measured):
    """One measured repetition."""

    timeline: Timeline
    instructions: int | None = None
    """That the engine's process ran in user space; None where nothing counts them."""
    cpu_wait: float | None = None
    """Seconds that the engine's threads were ready to run and had no CPU, together; None where that is not
    known."""
    disturbance: tuple[str, ...] | None = None
    """Reason codes of what else the machine did meanwhile; decided without the timing. None where it was not
    watched: why, is in its process's ``unwatched``."""
    request: RequestFacts | None = None
    """Under load: what is known of the request beside its timeline."""
    cache: CacheFacts | None = None
    """What of its prompt lay in a prefix cache; None where nothing was to."""
    turn: TurnFacts | None = None
    """Which turn of a conversation it is."""
    own_words: bool = False
    """Whether its prompt began with words of its own, so that a server's cache did not have it: it has a few
    tokens more or less than another round's, and its answer is another."""
    invalid: str | None = None
    """Why its figures cannot be right; None if they can."""
    counted: bool = True
    """Whether it is part of the metrics: under load, whether it was sent in the steady window."""
    measured: dict[str, float | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        marks = f", disturbed by {', '.join(self.disturbance)}" if self.disturbance else ""
        return f"<Round: {_shown(self.values)}{marks}>"

    @property
    def gaps(self) -> list[float]:
        """Seconds between successive token times; see :func:`.gaps`."""
        return gaps(self.timeline)

    def value(self, metric: str) -> float | None:
        """Its value of *metric*, in the metric's unit; None where it has none."""
        row = METRICS.get(metric)
        if row is None or metric in self.measured:
            return self.measured.get(metric)
        return (
            computed(row, row.of, self.timeline)
            if row.of_round is None
            else computed(row, row.of_round, self)
        )

    @property
    def _scopes(self) -> tuple[Scope, ...]:
        return ("round",)


@dataclass(slots=True, repr=False)
class ProcessRun(_Measured):
    """One engine process and the rounds that were measured in it."""

    pid: int
    engine: Mapping[str, object]
    """What the engine said of its load: threads, device, dtype, context, ..."""
    versions: Mapping[str, str]
    rounds: list[Round] = field(default_factory=list)
    measured: dict[str, float | None] = field(default_factory=dict)
    """Values that were measured as such; without ``load_time`` where an earlier case loaded the process. Of a
    level, ``cpu_time_per_token`` too, which stands for its requests."""
    hardware: HardwareSummary | None = None
    """Summary of the hardware samples over the process's rounds; None without a monitor."""
    unwatched: str | None = None
    """Why rounds have no ``disturbance``, where they have none."""
    watch_lost: bool = False
    """Whether that is because the monitor failed, and not because it is off."""
    load: Level | None = None
    """Under load: the level."""
    failures: list[FailedRequest] = field(default_factory=list)
    """Under load: the requests that failed; they are not rounds."""

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<ProcessRun {self.pid}: {len(self.rounds)} rounds{failed}>"

    def value(self, metric: str) -> float | None:
        """Its value of *metric*, in the metric's unit; None where it has none."""
        row = METRICS.get(metric)
        if row is None or row.of_process is None or metric in self.measured:
            return self.measured.get(metric)
        return computed(row, row.of_process, self) if row.scope in self._scopes else None

    @property
    def _scopes(self) -> tuple[Scope, ...]:
        return ("process", "level") if self.load is not None else ("process",)

    def marks(self, measured: Round, metric: str = "") -> Sequence[str]:
        """Why one of its rounds is left out of comparisons; see :func:`marks`.

        :param metric: which is compared; what is a reason for none is none for it.
        """
        cpu_time = keeps_cpu_time(metric, self.engine)
        return marks(measured.disturbance, self.watch_lost, cpu_time=cpu_time)

    def settle(self) -> None:
        """Have no times between tokens in any round where too many have none; see :func:`.common_untimed`."""
        reason = common_untimed(r.timeline for r in self.rounds if r.counted)
        if reason is not None:
            for measured in self.rounds:
                measured.timeline = replace(measured.timeline, untimed=measured.timeline.untimed or reason)

    @property
    def unknown(self) -> dict[str, Untimed]:
        """Metrics without a value, and why, as a key of :data:`.UNTIMED`."""
        counted = [r for r in self.rounds if r.counted]
        reasons = Counter(why for r in counted if (why := r.timeline.untimed) is not None)
        found: dict[str, Untimed] = {}
        if reasons and all(r.value("tpot") is None for r in counted):
            lost = (name for name, row in METRICS.items() if row.needs_gaps)
            found = dict.fromkeys(lost, reasons.most_common(1)[0][0])
        said = None if self.load is None or self.goodput is not None else self.load.goodput_unknown
        if (known := next((one for one in UNTIMED if one == said), None)) is not None:
            found["goodput"] = known
        return found


@dataclass(slots=True, repr=False)
class Run:
    """What ``llm_model.measure`` returns; a metric is an attribute: ``run.ttft.median``."""

    label: str
    protocol: Mapping[str, object]
    """How it was measured: rounds, warm-up rounds, processes, tokens, seed, isolation, ..."""
    processes: list[ProcessRun] = field(default_factory=list)
    text: str | None = None
    """The first round's output."""
    model: ResolvedModel | ModelSpec | None = None
    """The model, where it is not the test's own: the base side of an A/B session."""
    measured: dict[str, float | None] = field(default_factory=dict)
    """Values of metrics of which a case has one, that were measured as such."""

    def __repr__(self) -> str:
        medians = {name: summary.median for name, summary in self.metrics.items()}
        return f"<Run {self._title}; {_shown(medians)}>"

    def __str__(self) -> str:
        """A table of ten lines at most: a metric a line, with its median, spread and range."""
        metrics = list(self.metrics.values())
        notes = [f"not valid: {self.invalid}"] if self.invalid is not None else []
        notes += [f"no {', '.join(names)}: {UNTIMED[why]}" for why, names in by_reason(self.unknown).items()]
        room = _LINES - 1 - len(notes)
        if len(metrics) > room:
            rest = metrics[room - 1 :]
            metrics = metrics[: room - 1]
            notes.insert(0, f"and {', '.join(summary.metric for summary in rest)}")
        rows = [
            (self._title, "median", "spread", "min", "max", "n"),
            *(
                (
                    summary.metric,
                    quantity(summary.median, summary.unit),
                    UNKNOWN if summary.spread is None else f"±{percent(summary.spread)}",
                    quantity(summary.min, summary.unit),
                    quantity(summary.max, summary.unit),
                    str(summary.n),
                )
                for summary in metrics
            ),
        ]
        first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            name.ljust(first)
            + "".join(f"  {cell.rjust(width)}" for cell, width in zip(cells, others, strict=True))
            for name, *cells in rows
        ]
        return "\n".join([*lines, *notes])

    @property
    def _title(self) -> str:
        """``default: 3 processes, 15 rounds``."""
        processes = f"{n} processes, " if (n := len(self.processes)) > 1 else ""
        what = "requests" if any(p.load is not None for p in self.processes) else "rounds"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.label}: {processes}{len(self.rounds)} {what}{failed}"

    @property
    def rounds(self) -> list[Round]:
        """The rounds of all processes."""
        return [r for p in self.processes for r in p.rounds]

    @property
    def failed(self) -> int:
        """Under load: how many requests failed."""
        return sum(len(p.failures) for p in self.processes)

    @property
    def invalid(self) -> str | None:
        """Why the figures of a load level, or of a round, are not valid; None if they are."""
        levels = (p.load.invalid for p in self.processes if p.load is not None)
        rounds = (r.invalid for r in self.rounds)
        return next((why for why in (*levels, *rounds) if why is not None), None)

    @property
    def doubts(self) -> list[str]:
        """What a person should know of the figures that is wrong with the server, or with the way to it."""
        told = [
            f"no {', '.join(names)}: {explain_untimed(why)}"
            for why, names in by_reason(self.unknown).items()
            if why == "buffered"
        ]
        if any(r.cache is not None and r.cache.cold and r.value("cached_tokens") for r in self.rounds):
            told.append(
                "rounds that were to be cold had a part of their prompt from the cache, as cached_tokens in "
                "the results says: their TTFT is not cold"
            )
        ignored = {kind for p in self.processes if p.load for kind in p.load.ignored_parts}
        if ignored:
            told.append(f"answers have parts without text, which were left out: {', '.join(sorted(ignored))}")
        return told

    @property
    def disturbance(self) -> tuple[str, ...] | None:
        """The reason codes of all rounds that were watched, each once; None if none was."""
        watched = [r.disturbance for r in self.rounds if r.disturbance is not None]
        return tuple(sorted({code for codes in watched for code in codes})) if watched else None

    @property
    def unknown(self) -> dict[str, Untimed]:
        """Metrics that no process has, and why, as a key of :data:`.UNTIMED`."""
        found = [process.unknown for process in self.processes if process.rounds]
        shared = set(found[0]).intersection(*found) if found else set()
        return {name: found[0][name] for name in sorted(shared)}

    def value(self, metric: str) -> float | None:
        """Its value of a *metric* of which a case has one, in the metric's unit; None where it has none."""
        row = METRICS.get(metric)
        if row is None or row.of_case is None or metric in self.measured:
            return self.measured.get(metric)
        return computed(row, row.of_case, self)

    @property
    def values(self) -> dict[str, float]:
        """The metrics of which a case has one value, by their names."""
        names = [name for name, row in METRICS.items() if row.scope == "case"]
        return {name: value for name in names if (value := self.value(name)) is not None}

    def metric(self, name: str) -> Summary:
        """The summary of one metric of the table over everything this run measured."""
        found = summarize(name, case_values(name, self))
        if not found.n and (why := self.unknown.get(name)) is not None:
            found = replace(found, unknown=explain_untimed(why))
        return found

    @property
    def metrics(self) -> dict[str, Summary]:
        """Every metric that has at least one value."""
        summaries = {name: self.metric(name) for name in METRICS}
        return {name: summary for name, summary in summaries.items() if summary.n}

    def __getattr__(self, name: str) -> Summary:
        if name in METRICS:
            return self.metric(name)
        msg = f"a run has no metric {name!r}; it has {', '.join(METRICS)}"
        raise AttributeError(msg)

    def __iter__(self) -> Iterator[Round]:
        return iter(self.rounds)


def unknown_of(sides: Iterable[ProcessRun], metric: str) -> Untimed | None:
    """Why the first of *sides* that has a reason has no value of *metric*."""
    return next((why for side in sides if (why := side.unknown.get(metric)) is not None), None)


def _shown(values: Mapping[str, float | None]) -> str:
    """The first of the known values, as a person reads them: ``ttft 6.40 ms, tpot 617 µs``."""
    known = [f"{name} {quantity(v, METRICS[name].unit)}" for name, v in values.items() if v is not None]
    return ", ".join(known[:3]) or "nothing measured"

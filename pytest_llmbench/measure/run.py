"""What did one measurement yield: its processes, their rounds, and the metrics over them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_llmbench.measure.metrics import METRICS, Summary, gaps, summarize, timeline_metrics
from pytest_llmbench.measure.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

MAX_DISTURBED = 0.2
"""The share of rounds that may be left out: with more, what is left was chosen by the disturbance."""
MAX_FAILED = 0.01
"""The share of failed requests above which the others' times were taken under another load."""


@dataclass(slots=True)
class Round:
    """One measured repetition."""

    timeline: Timeline
    energy: float | None = None
    """Joules between the round's edges; None where no counter can be read."""
    instructions: int | None = None
    """That the engine's process ran in user space; None where nothing counts them."""
    disturbance: tuple[str, ...] = ()
    """Reason codes of what else the machine did meanwhile; decided without the timing."""
    request: Mapping[str, Any] | None = None
    """Under load: what the request was beside its timeline; see :mod:`.measure.load.bench`."""
    counted: bool = True
    """Whether it is part of the metrics: under load, whether it was sent in the steady window."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """Metric name to value, in the units of the metric table."""
        values = timeline_metrics(self.timeline)
        tokens = self.timeline.output_tokens
        values["energy"] = self.energy
        values["energy_per_token"] = self.energy / tokens if self.energy is not None and tokens else None
        counted = self.instructions
        values["instructions_per_token"] = counted / tokens if counted is not None and tokens else None
        return values


@dataclass(slots=True)
class ProcessRun:
    """One engine process and the rounds that were measured in it."""

    pid: int
    load_time: float | None
    """Seconds; None where the process was shared and loaded by an earlier case."""
    engine: Mapping[str, Any]
    """What the engine said of its load: threads, device, dtype, context, ..."""
    versions: Mapping[str, str]
    rounds: list[Round] = field(default_factory=list)
    hardware: Mapping[str, Any] | None = None
    """Summary of the hardware samples over the process's rounds; None without a monitor."""
    peak_rss: int | None = None
    """Bytes."""
    peak_vram: int | None = None
    """Bytes."""
    load: Mapping[str, Any] | None = None
    """Under load: the level as :class:`.measure.load.level.Level` sums it up."""
    failures: list[Mapping[str, Any]] = field(default_factory=list)
    """Under load: the requests that failed; they are no rounds."""
    request_throughput: float | None = None
    """Requests a second, of a load level; likewise the two below."""
    system_throughput: float | None = None
    goodput: float | None = None


@dataclass(slots=True)
class Run:
    """What ``llm_model.measure`` returns; a metric is an attribute: ``run.ttft.median``."""

    label: str
    protocol: Mapping[str, Any]
    """How it was measured: rounds, warm-up rounds, processes, tokens, seed, isolation, ..."""
    processes: list[ProcessRun] = field(default_factory=list)
    text: str | None = None
    """The first round's output."""
    model: ResolvedModel | ModelSpec | None = None
    """The model, where it is not the test's own: the base side of an A/B session."""
    verdict: str | None = None
    """Of the gate; None where nothing was compared."""
    judgements: tuple[Any, ...] = ()
    """Of the gate, one a metric."""

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
        """Under load: why the figures are not to be believed; None if they are."""
        return next((why for p in self.processes if p.load and (why := p.load.get("invalid"))), None)

    @property
    def disturbance(self) -> tuple[str, ...]:
        """The reason codes of all rounds, each once."""
        return tuple(sorted({code for r in self.rounds for code in r.disturbance}))

    def metric(self, name: str) -> Summary:
        """The summary of one metric of the table over everything this run measured."""
        scope = METRICS[name].scope
        counted = (r for r in self.rounds if r.counted)
        if scope == "gap":
            return summarize(name, (gap for r in counted for gap in gaps(r.timeline)))
        if scope == "round":
            return summarize(name, (r.metrics.get(name) for r in counted))
        return summarize(name, (getattr(p, name) for p in self.processes))

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

"""What did one measurement yield: its processes, their rounds, and the metrics over them?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_llmbench.measure.metrics import METRICS, Summary, gaps, summarize, timeline_metrics
from pytest_llmbench.measure.timeline import Timeline
from pytest_llmbench.models.spec import ResolvedModel


@dataclass(slots=True)
class Round:
    """One measured repetition."""

    timeline: Timeline
    energy: float | None = None
    """Joules between the round's edges; None where no counter can be read."""
    disturbance: tuple[str, ...] = ()
    """Reason codes of what else the machine did meanwhile; decided without the timing."""

    @property
    def metrics(self) -> dict[str, float | None]:
        """Metric name to value, in the units of the metric table."""
        values = timeline_metrics(self.timeline)
        tokens = self.timeline.output_tokens
        values["energy"] = self.energy
        values["energy_per_token"] = self.energy / tokens if self.energy is not None and tokens else None
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


@dataclass(slots=True)
class Run:
    """What ``llm_model.measure`` returns; a metric is an attribute: ``run.ttft.median``."""

    label: str
    protocol: Mapping[str, Any]
    """How it was measured: rounds, warm-up rounds, processes, tokens, seed, isolation, ..."""
    processes: list[ProcessRun] = field(default_factory=list)
    text: str | None = None
    """The first round's output."""
    model: ResolvedModel | None = None
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
    def disturbance(self) -> tuple[str, ...]:
        """The reason codes of all rounds, each once."""
        return tuple(sorted({code for r in self.rounds for code in r.disturbance}))

    def metric(self, name: str) -> Summary:
        """The summary of one metric of the table over everything this run measured."""
        scope = METRICS[name].scope
        if scope == "gap":
            return summarize(name, (gap for r in self.rounds for gap in gaps(r.timeline)))
        if scope == "round":
            return summarize(name, (r.metrics.get(name) for r in self.rounds))
        if scope == "process":
            return summarize(name, (getattr(p, name) for p in self.processes))
        return Summary(name, ())

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

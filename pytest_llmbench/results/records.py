"""What does a results document hold?

One document a session: a header (which session, on which machine, at which commit, with which
versions) and the cases, each with every raw sample. SI units throughout. Keys that this version
does not know are kept, so that a document of a newer minor version survives being rewritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_llmbench.client.facts import ClientFacts, RequestFacts
from pytest_llmbench.hardware.facts import Assessment, Energy, HardwareSummary
from pytest_llmbench.measure.facts import CacheFacts, FailedRequest, Level, TurnFacts
from pytest_llmbench.metrics.row import Better, Clock, Metric, Scope
from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import UNTIMED, Timeline
from pytest_llmbench.metrics.values import ByName, case_values
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.verdict import Judgment

SCHEMA_VERSION = "2.0"
"""``MAJOR.MINOR``: a minor version adds keys, a major one changes the meaning of a key."""

Outcome = Literal["passed", "failed", "skipped", "error", "interrupted"]

DEFAULT_MEASUREMENT = "default"
"""The label of a test's first measurement that was given none."""


def label_of(name: str, measurement: str) -> str:
    """*name*, with the measurement in parentheses where a test makes several."""
    return name if measurement == DEFAULT_MEASUREMENT else f"{name} ({measurement})"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


def _values(*scopes: Scope, more: str = "") -> Any:
    """A field of values by the names of metrics of *scopes*; those without a value are left out.

    :param more: follows its description.
    """

    def tell(schema: Json) -> None:
        schema["properties"] = {
            row.name: {"type": "number", "description": f"{row.unit}: {row.formula}"}
            for row in METRICS.values()
            if row.scope in scopes
        }

    description = f"metric: its value in the metric's unit; what was not measured is left out{more}"
    return Field(default_factory=dict, description=description, json_schema_extra=tell)


class Stored(ByName):
    """What a document has values of: its metrics by their names, as attributes and in ``values``."""

    __slots__ = ()
    values: Mapping[str, float]

    def value(self, metric: str) -> float | None:
        """Its value of *metric*, in the metric's unit; None where it has none."""
        return self.values.get(metric)


LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$"
"""What a matrix and hardware can be called: it can be a folder's name."""


Market = Literal["on_demand", "spot"]


class CellRecord(_Part):
    """The cell of a matrix that a session measures."""

    matrix: str = Field(pattern=LABEL, description="its name")
    id: str = Field(pattern=r"^[0-9a-f]{16}$", description="hash of what the cell asks")
    key: str = Field(
        pattern=r"^[0-9a-f]{16}$", description="the same, with what measured it: product, versions"
    )
    hardware: str = Field(pattern=LABEL, description="label of the hardware")
    count: int = Field(ge=1, le=1024, description="devices")
    market: Market | None = None


class Session(_Part):
    """One pytest run."""

    id: str
    """``YYYYMMDDTHHMMSSZ-HEX``: the names of sessions sort by their start."""
    started: str = Field(description="ISO 8601, UTC")
    ended: str | None = Field(default=None, description="ISO 8601, UTC")
    state: Literal["running", "finished", "interrupted", "recovered"] = "running"
    exit_status: int | None = None
    host: str | None = None
    pid: int | None = None
    process_started: float | None = Field(default=None, description="s since 1970; tells a reused pid")
    command: list[str] = Field(default_factory=list, description="secrets are masked")
    rootdir: str | None = None
    outcomes: dict[str, int] = Field(default_factory=dict, description="how many cases ended how")
    cell: CellRecord | None = Field(default=None, description="of a matrix, where the session is part of one")


class Machine(_Part):
    """What the session ran on. A field that could not be read is null, with its reason in ``unknown``."""

    id: str = Field(description="fingerprint of the hardware: equal ids, comparable machines")
    cpu: Json = Field(default_factory=dict)
    memory: Json = Field(default_factory=dict, description="bytes")
    gpus: list[Json] = Field(default_factory=list)
    os: Json = Field(default_factory=dict)
    python: Json = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict, description="variables that steer an engine")
    unknown: dict[str, str] = Field(default_factory=dict, description="dotted field: why it is null")


class Commit(_Part):
    """The git commit of the folder that the session ran in."""

    id: str | None = None
    branch: str | None = None
    dirty: bool | None = Field(default=None, description="whether a tracked file differs from the commit")
    time: str | None = Field(default=None, description="ISO 8601")
    author_time: str | None = Field(default=None, description="ISO 8601")
    reason: str | None = Field(default=None, description="why the commit is not known")

    @property
    def short(self) -> str | None:
        """Nine digits, and a ``+`` where a tracked file differs from it; None if it is not known."""
        return None if self.id is None else f"{self.id[:9]}{'+' if self.dirty else ''}"


class ModelRecord(_Part):
    """The model of one case."""

    name: str
    alias: str | None = Field(default=None, description="what the user's aliases file calls it")
    backend: str
    quantization: str | None = None
    revision: str | None = None
    digest: str | None = Field(default=None, description="sha256:HEX over the weights; null: never resolved")
    parameters: int | None = None
    size: int | None = Field(default=None, description="bytes of all weight files")


class MetricRecord(_Part):
    """One metric of one case, summarized; all numbers in ``unit``."""

    unit: str
    better: Better
    n: int
    median: float
    mean: float
    stddev: float | None = Field(description="n - 1 in the denominator; null for one value")
    min: float
    max: float
    p50: float
    p90: float | None = None
    p95: float
    p99: float
    intervals: dict[str, tuple[float, float]] | None = Field(
        default=None, description="95% confidence intervals of percentiles, under load"
    )
    unsupported: list[str] = Field(
        default_factory=list, description="percentiles that n values cannot support"
    )


class _Facts(BaseModel, frozen=True, extra="allow"):
    """What was measured is kept as it was known: such a record has the fields of its second base."""


class RequestRecord(_Facts, RequestFacts, frozen=True):
    """What a round under load was beside its timeline."""


class ClientRecord(_Facts, ClientFacts, frozen=True):
    """The load client itself at one level."""


class CacheRecord(_Facts, CacheFacts, frozen=True):
    """What of a round's prompt lay in a prefix cache."""


class TurnRecord(_Facts, TurnFacts, frozen=True):
    """Which turn of a conversation a round is."""


class FailureRecord(_Facts, FailedRequest, frozen=True):
    """A request that failed; it is not a round."""

    request: RequestRecord


class LoadRecord(_Facts, Level, frozen=True):
    """One load level."""

    client: ClientRecord


class EnergyRecord(_Facts, Energy, frozen=True):
    """Energy over a span."""


class DisturbanceRecord(_Facts, Assessment, frozen=True):
    """Whether the load of others disturbed a span."""


class HardwareRecord(_Facts, HardwareSummary, frozen=True):
    """What the machine did over a span."""

    energy: EnergyRecord
    disturbance: DisturbanceRecord


class JudgmentRecord(_Facts, Judgment, frozen=True):
    """What the gate made of one metric."""

    details: Json = Field(default_factory=dict)


FACTS: tuple[type[BaseModel], ...] = (
    RequestRecord,
    ClientRecord,
    CacheRecord,
    TurnRecord,
    FailureRecord,
    LoadRecord,
    EnergyRecord,
    DisturbanceRecord,
    HardwareRecord,
    JudgmentRecord,
)


class RoundRecord(Stored, _Part):
    """One measured repetition. Times are seconds since the call with text (``sent``)."""

    started: str | None = Field(default=None, description="ISO 8601, UTC: when the call was made")
    values: dict[str, float] = _values("round")
    instructions: int | None = Field(
        default=None, description="of the engine's process in user space, from before the call to after it"
    )
    cpu_wait: float | None = Field(
        default=None,
        description="s: how long the engine's threads were ready to run and had no CPU, all together",
    )
    prompt_tokens: int | None = Field(description="null: the server did not tell")
    output_tokens: int
    prompt_hash: str
    output_hash: str
    finish_reason: str
    tokenized: float = Field(description="s: prompt token ids known")
    prefilled: float | None = Field(default=None, description="s: prompt evaluated, nothing sampled yet")
    token_times: list[float] = Field(
        description="s: when the host knew each token; of a server, when each chunk with tokens arrived"
    )
    first_tokens: int = Field(default=1, description="how many tokens came at the first of token_times")
    hidden_tokens: int = Field(
        default=0, description="of output_tokens: counted by the server and never sent"
    )
    untimed: str | None = Field(
        default=None, description="why it has no tpot although tokens came: buffered, or one_arrival"
    )
    done: float = Field(description="s: the call returned")
    disturbance: list[str] | None = Field(
        default=None,
        description="reason codes; null: it was not watched, and the process's unwatched says why",
    )
    request: RequestRecord | None = Field(default=None, description="null: not under load")
    cache: CacheRecord | None = Field(default=None, description="null: nothing was to lie in a prefix cache")
    turn: TurnRecord | None = Field(default=None, description="null: not of a conversation")
    own_words: bool = Field(
        default=False,
        description="whether its prompt began with words of its own, which prompt_hash leaves out: no cache "
        "of the server had it, its tokens are a few more or less, and its answer is another",
    )
    invalid: str | None = Field(default=None, description="why its figures cannot be right; null if they can")
    counted: bool = Field(default=True, description="whether it is part of the metrics")

    def timeline(self) -> Timeline:
        """The timeline that was measured, with ``sent`` at 0 and times in nanoseconds."""
        return Timeline(
            sent=0,
            tokenized=_nanoseconds(self.tokenized),
            prefilled=None if self.prefilled is None else _nanoseconds(self.prefilled),
            token_times=tuple(_nanoseconds(t) for t in self.token_times),
            done=_nanoseconds(self.done),
            prompt_tokens=self.prompt_tokens or 0,
            output_tokens=self.output_tokens,
            output_hash=self.output_hash,
            prompt_hash=self.prompt_hash,
            finish_reason=self.finish_reason,
            hidden_tokens=self.hidden_tokens,
            first_tokens=self.first_tokens,
            untimed=next((known for known in UNTIMED if known == self.untimed), None),
        )

    @property
    def gaps(self) -> list[float]:
        """Seconds between successive token times; shape (token times - 1,), or (0,) where ``untimed``."""
        times = self.token_times if self.untimed is None else ()
        return [round(b - a, 9) for a, b in pairwise(times)]


class ProcessRecord(Stored, _Part):
    """One engine process and the rounds that were measured in it."""

    pid: int
    engine: Json = Field(default_factory=dict, description="what the engine said of its load")
    versions: dict[str, str] = Field(default_factory=dict)
    values: dict[str, float] = _values(
        "process", "level", more="; of a metric of rounds, one value that stands for all of them"
    )
    hardware: HardwareRecord | None = None
    unwatched: str | None = Field(
        default=None, description="why rounds have no disturbance, where they have none"
    )
    watch_lost: bool = Field(
        default=False, description="whether that is because the monitor failed: comparisons leave them out"
    )
    load: LoadRecord | None = Field(default=None, description="the load level; null: not under load")
    failures: list[FailureRecord] = Field(default_factory=list, description="requests that failed")
    rounds: list[RoundRecord] = Field(default_factory=list)


class ProtocolRecord(_Part):
    """How a case was measured: what is read of it here, and every other setting beside. Null: not set."""

    max_new_tokens: int | None = None
    temperature: float | None = Field(
        default=0.0, description="null: the server was asked without one, and has one of its own"
    )
    concurrency: int | None = None
    conversations: int | None = Field(
        default=None, description="at once; with concurrency the most requests of theirs on their way"
    )
    request_rate: float | None = Field(default=None, description="requests/s")
    arrivals: str | None = Field(default=None, description="how requests are spread; null: a closed loop")
    prompts: str | None = Field(default=None, description="sha256:HEX of what was given; null: made")
    prompt_length: str | None = None
    output_length: str | None = None
    shared_prefix: int | None = Field(default=None, description="tokens")
    prefix_cache: bool | None = Field(
        default=None, description="whether what lay in the cache before stayed there"
    )
    depth: int | None = Field(default=None, description="tokens that lie in the KV cache before the prompt")
    conversation: str | None = Field(default=None, description="of which the case is a turn")
    turn: int | None = Field(default=None, description="from 1")
    turns: int | None = Field(default=None, description="that the conversation has")
    cache: str | None = Field(default=None, description="how its turns were asked: cold, warm or paired")
    history: str | None = Field(default=None, description="whose answers it has: live or recorded")
    placement: str | None = Field(default=None, description="of its documents: system, inline or last")
    think_time: float | None = Field(default=None, description="s before the turn was sent")
    slo: dict[str, float] | None = Field(default=None, description="s by metric: what a good request meets")
    options: Json = Field(default_factory=dict, description="of the backend or the server")

    @property
    def way(self) -> str | None:
        """How a turn of a conversation was asked: ``warm`` or ``cold``; None of what is not one."""
        if self.turn is None:
            return None
        return "warm" if self.prefix_cache else "cold"


class CaseRecord(_Part):
    """One measurement of one parametrized test; ``(nodeid, measurement)`` is unique in a document."""

    nodeid: str
    measurement: str = DEFAULT_MEASUREMENT
    name: str
    file: str
    params: dict[str, str] = Field(default_factory=dict, description="the user's own parametrize values")
    model: ModelRecord
    protocol: ProtocolRecord = Field(default_factory=ProtocolRecord)
    processes: list[ProcessRecord] = Field(default_factory=list)
    case_values: dict[str, float] = _values("case")
    metrics: dict[str, MetricRecord] = Field(default_factory=dict)
    unknown: dict[str, str] = Field(
        default_factory=dict,
        description="metrics that are null for a reason: buffered, or one_arrival (all tokens came at once)",
    )
    hardware: HardwareRecord | None = None
    disturbance: list[str] | None = Field(
        default=None, description="reason codes of all rounds, each once; null: no round was watched"
    )
    outcome: Outcome
    error: str | None = None
    thresholds: Json | None = Field(default=None, description="what the test's marker allows")
    clock: Clock | None = Field(
        default=None, description="by which the gate was to judge it; null: auto, both"
    )
    verdict: str | None = Field(default=None, description="of the gate; null where nothing was compared")
    verdict_reason: str | None = Field(
        default=None, description="why the whole case is what it is, where no single metric says it"
    )
    compared_with: list[str] = Field(
        default_factory=list, description="sessions of the baseline, the newest first"
    )
    judgments: list[JudgmentRecord] = Field(default_factory=list, description="of the gate, one a metric")

    @property
    def key(self) -> tuple[str, str]:
        """What tells this case from the others of its document, and finds it in another one."""
        return (self.nodeid, self.measurement)

    @property
    def rounds(self) -> list[RoundRecord]:
        """The rounds of all processes, in order."""
        return [r for p in self.processes for r in p.rounds]

    def values(self, metric: str) -> list[float]:
        """The raw values of *metric* in its unit, in the order in which they were measured.

        One value a round, a gap or a process, as the metric's scope says; what was not measured
        is left out.
        """
        return case_values(metric, self)

    def value(self, metric: str) -> float | None:
        """Its value of a *metric* of which a case has one; None where it has none."""
        return self.case_values.get(metric)

    def summary(self, metric: str) -> Summary:
        """The summary of *metric*, computed anew from the raw values."""
        return Summary(metric, tuple(self.values(metric)))


class MetricRow(_Part):
    """What a metric of the document is, by the table of the session that measured it.

    A reader that does not know the metric shows, exports and compares it by this.
    """

    unit: str
    better: str
    scope: str = Field(description="what one value belongs to: gap, round, process, level or case")
    formula: str = ""
    source: str = ""
    judged: str = Field(default="noisy", description="noisy: by a test; exact: by a tolerance; or never")
    gates: bool = Field(default=False, description="whether it fails a test by default")
    allowed: float = Field(default=0.05, description="how much worse it may be by default, as a share")
    reciprocal_of: str | None = None
    clock: str = Field(default="wall", description="wall, or cpu: the time that a process had of the CPUs")
    on_cpu: str | None = Field(default=None, description="the metric that tells the same of the CPU's clock")
    limits: str = Field(default="", description="where it does not say what it seems to")
    head: str = Field(default="", description="at the head of a column")

    @classmethod
    def of(cls, metric: Metric) -> MetricRow:
        """The row of the table."""
        return cls(**{name: getattr(metric, name) for name in cls.model_fields})

    def metric(self, name: str) -> Metric:
        """It as a row of the table, which cannot be computed anew."""
        return Metric(name=name, **{key: getattr(self, key) for key in type(self).model_fields})


class Header(_Part):
    """Everything of a document but its cases."""

    schema_version: str = SCHEMA_VERSION
    session: Session
    machine: Machine | None = None
    commit: Commit = Field(default_factory=Commit)
    versions: dict[str, str] = Field(default_factory=dict, description="distribution: version")
    metrics: dict[str, MetricRow] = Field(default_factory=dict, description="what was known of each metric")

    def model_post_init(self, context: Any, /) -> None:
        """Have the table know the metrics that it does not: whatever is made of the document reads it."""
        for name, row in self.metrics.items():
            if name not in METRICS:
                METRICS.learn(row.metric(name))


class ResultsDocument(Header):
    """What one session measured."""

    # Last, so that the header can be read without the cases.
    cases: list[CaseRecord] = Field(default_factory=list)


def merge_cases(*groups: list[CaseRecord]) -> list[CaseRecord]:
    """All cases in order of first appearance; of two with one key the later one holds."""
    merged: dict[tuple[str, str], CaseRecord] = {}
    for group in groups:
        for case in group:
            merged[case.key] = case
    return list(merged.values())


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)

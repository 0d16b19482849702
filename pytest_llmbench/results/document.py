"""What does a results document hold, and how is it read and written?

One document a session: a header (which session, on which machine, at which commit, with which
versions) and the cases, each with every raw sample. SI units throughout. Keys that this version
does not know are kept, so that a document of a newer minor version survives being rewritten.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.metrics.table import METRICS, Better, Summary
from pytest_llmbench.metrics.timeline import UNTIMED, Timeline
from pytest_llmbench.results.files import atomic_write, read_bounded, results_error
from pytest_llmbench.secrets import mask_json

SCHEMA_VERSION = "1.0"
"""``MAJOR.MINOR``: a minor version adds keys, a major one changes the meaning of a key."""

Outcome = Literal["passed", "failed", "skipped", "error", "interrupted"]

DEFAULT_MEASUREMENT = "default"
"""The label of a test's first measurement that was given none."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


def _metric(name: str) -> Any:
    metric = METRICS[name]
    return Field(default=None, description=f"{metric.unit}: {metric.formula}; null: not measured")


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


class Machine(_Part):
    """What the session ran on. A field that could not be read is null, with its reason in ``unknown``."""

    id: str = Field(description="fingerprint of the hardware: equal ids, comparable machines")
    cpu: dict[str, Any] = Field(default_factory=dict)
    memory: dict[str, Any] = Field(default_factory=dict, description="bytes")
    gpus: list[dict[str, Any]] = Field(default_factory=list)
    os: dict[str, Any] = Field(default_factory=dict)
    python: dict[str, Any] = Field(default_factory=dict)
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
        default=None, description="95 % confidence intervals of percentiles, under load"
    )
    unsupported: list[str] = Field(
        default_factory=list, description="percentiles that n values cannot support"
    )


class RequestRecord(_Part):
    """What a round under load was beside its timeline. Times are seconds since ``sent`` of the round,
    which at a request rate is when the request was due."""

    number: int
    at: float = Field(description="s since the level's start: when it was sent")
    send_lag: float | None = Field(default=None, description="s: sent - due; null at a concurrency")
    chunks: int = Field(description="chunks that brought tokens; token_times has one time for each")
    reasoning_chunks: int = 0
    reasoning_tokens: int | None = None
    first_content: float | None = Field(default=None, description="s: the first chunk that was no reasoning")
    token_source: str = Field(description="who counted the tokens: usage, tokenizer or (nobody) chunks")
    attempts: int = 1
    new_connection: bool = False


class RoundRecord(_Part):
    """One measured repetition. Times are seconds since the call with text (``sent``)."""

    started: str | None = Field(default=None, description="ISO 8601, UTC: when the call was made")
    ttft: float | None = _metric("ttft")
    tpot: float | None = _metric("tpot")
    e2e_latency: float | None = _metric("e2e_latency")
    prefill_throughput: float | None = _metric("prefill_throughput")
    decode_throughput: float | None = _metric("decode_throughput")
    output_throughput: float | None = _metric("output_throughput")
    tpot_all_tokens: float | None = _metric("tpot_all_tokens")
    energy: float | None = _metric("energy")
    instructions: int | None = Field(
        default=None, description="of the engine's process in user space, from before the call to after it"
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
        default=None, description="why tpot is null although tokens came: buffered, or one_arrival"
    )
    done: float = Field(description="s: the call returned")
    disturbance: list[str] | None = Field(
        default=None,
        description="reason codes; null: nobody watched, and the process's unwatched says why",
    )
    request: RequestRecord | None = Field(default=None, description="null: not under load")
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

    @property
    def energy_per_token(self) -> float | None:
        """Joules a token; None without an energy counter."""
        if self.energy is None or not self.output_tokens:
            return None
        return self.energy / self.output_tokens

    @property
    def instructions_per_token(self) -> float | None:
        """Instructions a token; None where nothing counts them."""
        if self.instructions is None or not self.output_tokens:
            return None
        return self.instructions / self.output_tokens


class ProcessRecord(_Part):
    """One engine process and the rounds that were measured in it."""

    pid: int
    load_time: float | None = _metric("load_time")
    engine: dict[str, Any] = Field(default_factory=dict, description="what the engine said of its load")
    versions: dict[str, str] = Field(default_factory=dict)
    peak_rss: int | None = _metric("peak_rss")
    peak_vram: int | None = _metric("peak_vram")
    hardware: dict[str, Any] | None = None
    unwatched: str | None = Field(
        default=None, description="why rounds have no disturbance, where they have none"
    )
    watch_lost: bool = Field(
        default=False, description="whether that is because the monitor failed: comparisons leave them out"
    )
    request_throughput: float | None = _metric("request_throughput")
    system_throughput: float | None = _metric("system_throughput")
    goodput: float | None = _metric("goodput")
    load: dict[str, Any] | None = Field(default=None, description="the load level; null: not under load")
    failures: list[dict[str, Any]] = Field(default_factory=list, description="requests that failed")
    rounds: list[RoundRecord] = Field(default_factory=list)


class Case(_Part):
    """One measurement of one parametrized test; ``(nodeid, measurement)`` is unique in a document."""

    nodeid: str
    measurement: str = DEFAULT_MEASUREMENT
    name: str
    file: str
    params: dict[str, str] = Field(default_factory=dict, description="the user's own parametrize values")
    model: ModelRecord
    protocol: dict[str, Any] = Field(default_factory=dict, description="how it was measured")
    processes: list[ProcessRecord] = Field(default_factory=list)
    metrics: dict[str, MetricRecord] = Field(default_factory=dict)
    unknown: dict[str, str] = Field(
        default_factory=dict,
        description="metrics that are null for a reason: buffered, or one_arrival (all tokens came at once)",
    )
    hardware: dict[str, Any] | None = None
    disturbance: list[str] | None = Field(
        default=None, description="reason codes of all rounds, each once; null: no round was watched"
    )
    outcome: Outcome
    error: str | None = None
    thresholds: dict[str, Any] | None = Field(default=None, description="what the test's marker allows")
    verdict: str | None = Field(default=None, description="of the gate; null where nothing was compared")
    verdict_reason: str | None = Field(
        default=None, description="why the whole case is what it is, where no single metric says it"
    )
    compared_with: list[str] = Field(
        default_factory=list, description="sessions of the baseline, the newest first"
    )
    judgements: list[dict[str, Any]] = Field(default_factory=list, description="of the gate, one a metric")

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
        row = METRICS.get(metric)
        counted = [r for r in self.rounds if r.counted]
        if row is not None and row.scope == "gap":
            return [gap for r in counted for gap in r.gaps]
        owners = self.processes if row is not None and row.scope in ("process", "load") else counted
        found = (getattr(owner, metric, None) for owner in owners)
        return [float(value) for value in found if value is not None]

    def summary(self, metric: str) -> Summary:
        """The summary of *metric*, computed anew from the raw values."""
        return Summary(metric, tuple(self.values(metric)))


class Header(_Part):
    """Everything of a document but its cases."""

    schema_version: str = SCHEMA_VERSION
    session: Session
    machine: Machine | None = None
    commit: Commit = Field(default_factory=Commit)
    versions: dict[str, str] = Field(default_factory=dict, description="distribution: version")


class ResultsDocument(Header):
    """What one session measured."""

    # Last, so that the header can be read without the cases.
    cases: list[Case] = Field(default_factory=list)


def merge_cases(*groups: list[Case]) -> list[Case]:
    """All cases in order of first appearance; of two with one key the later one holds."""
    merged: dict[tuple[str, str], Case] = {}
    for group in groups:
        for case in group:
            merged[case.key] = case
    return list(merged.values())


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a results document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-llmbench results document {SCHEMA_VERSION}",
        **{k: v for k, v in ResultsDocument.model_json_schema().items() if k != "title"},
    }


def to_json(part: BaseModel) -> bytes:
    """Compact JSON in UTF-8; a value that JSON does not know (a path, a numpy number) is converted."""
    return mask_json(pydantic_core.to_json(part, fallback=_plain))


# A document is one JSON object with a line for the header and one for each case: it can be read
# case by case, which takes half the time and memory, a diff shows cases, and one that was cut off
# is known by its end.
CASES = b',"cases":[\n'
END = b"]}\n"


def write_document(path: Path | str, document: ResultsDocument) -> Path:
    """Write *document* to *path*: whole, or not at all. Returns the path.

    :raises ResultsError: if it cannot be written; what was at *path* before is still there.
    """
    path = Path(path)
    head = mask_json(pydantic_core.to_json(document, exclude={"cases"}, fallback=_plain))
    cases = b",\n".join(to_json(case) for case in document.cases)
    atomic_write(path, b"".join((head[:-1], CASES, cases, b"\n" if cases else b"", END)))
    return path


def read_document(path: Path | str) -> ResultsDocument:
    """Read a results document, however its JSON is laid out.

    :raises ResultsError: if it cannot be read, is damaged, is no results document, or is one of
        another major version.
    """
    path = Path(path)
    # Collecting garbage amid a million new objects, none of which is garbage, takes longer than
    # making them.
    try:
        with path.open("rb") as file, gc_paused():
            _check_version(path, _peek(file.read(_HEADER_BYTES)))
            file.seek(0)
            document = _read_by_lines(file)
            if document is None:
                file.seek(0)
                document = ResultsDocument.model_validate_json(read_bounded(path, "the document"))
            return document
    except FileNotFoundError as error:
        msg = f"there is no results document {path}"
        raise ResultsError(msg) from error
    except OSError as error:
        raise results_error("read", path, error) from error
    except ValidationError as error:
        raise ResultsError(f"{path} {_explain(error)}") from error


def _read_by_lines(file: BinaryIO) -> ResultsDocument | None:
    """The document if it is laid out as we write it; None if it is not, or is damaged."""
    head = file.readline()
    if not head.endswith(CASES):
        return None
    try:
        document = ResultsDocument.model_validate_json(head + END)
        for line in file:
            if line == END:
                return None if file.read(1) else document
            document.cases.append(Case.model_validate_json(line.removesuffix(b"\n").removesuffix(b",")))
    except ValidationError:
        pass
    return None


_HEADER_BYTES = 1 << 16


def read_header(path: Path | str) -> Header:
    """Read a document's header alone, in a time that does not grow with its cases.

    A document that was cut off is noticed by its end; damage amid the cases is not.

    :raises ResultsError: as :func:`read_document`.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            size = file.seek(0, 2)
            # With the end of the line before: a case's line may end like the document.
            file.seek(max(0, size - len(END) - 1))
            tail = file.read()
    except OSError as error:
        raise results_error("read", path, error) from error
    peeked = _peek(head)
    if tail == b"\n" + END and "cases" in peeked:
        _check_version(path, peeked)
        try:
            return Header.model_validate({k: v for k, v in peeked.items() if k != "cases"})
        except ValidationError as error:
            raise ResultsError(f"{path} {_explain(error)}") from error
    # Another program's spacing, or a header longer than usual: the whole file tells.
    document = read_document(path)
    return Header.model_validate(document.model_dump(exclude={"cases"}))


def check_version(path: Path, schema_version: object, versions: object) -> None:
    """Refuse a document or journal whose major version is another than ours.

    :raises ResultsError: saying which version wrote it.
    """
    if not isinstance(schema_version, str) or not re.fullmatch(r"\d+(\.\d+)*", schema_version):
        msg = f"{path} is not a results document of pytest-llmbench: it has no schema_version"
        raise ResultsError(msg)
    if schema_version.split(".")[0] == SCHEMA_VERSION.split(".")[0]:
        return
    writer = versions.get("pytest-llmbench") if isinstance(versions, dict) else None
    msg = (
        f"{path} has schema version {schema_version}, written by pytest-llmbench "
        f"{writer or 'of an unknown version'}; this one reads {SCHEMA_VERSION.split('.')[0]}.x: "
        "read it with the version that wrote it, or measure anew"
    )
    raise ResultsError(msg)


def _check_version(path: Path, peeked: dict[str, Any]) -> None:
    if not peeked:
        msg = f"{path} is not a results document of pytest-llmbench, or is damaged at its beginning"
        raise ResultsError(msg)
    check_version(path, peeked.get("schema_version"), peeked.get("versions"))


def _peek(data: bytes) -> dict[str, Any]:
    """The top-level keys that the first bytes of *data* hold; empty if they are no JSON object."""
    text = data[:_HEADER_BYTES].decode("utf-8", "ignore")
    try:
        parsed = pydantic_core.from_json(text, allow_partial=True)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _explain(error: ValidationError) -> str:
    """The first thing that is wrong, with where it is."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"is damaged, or was cut off: {first['msg']}"
    where = ".".join(str(part) for part in first["loc"])
    return f"is damaged, or no results document: {where}: {first['msg']}"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """No garbage collection meanwhile, for what makes or reads very many objects that all stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()

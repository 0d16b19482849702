"""What is one case, and one round, as a flat row for a table?

CSV, Parquet, JSON Lines and the pandas frames have these columns; those of CSV end with their unit, which
a spreadsheet does not know otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median_low
from typing import Literal

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.records import CaseRecord, Header, ProcessRecord, ResultsDocument, RoundRecord
from pytest_llmbench.servers.urls import stored_url

STATISTICS = ("median", "mean", "stddev", "min", "max", "p50", "p90", "p95", "p99", "n")


Kind = Literal["text", "count", "number"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row, and what its column is."""

    name: str
    value: object
    """None where it is not known."""
    kind: Kind = "text"
    unit: str | None = None
    """Of a metric's table; None where there is none, or the name says it."""

    @property
    def head(self) -> str:
        """The column's name with its unit at the end: ``ttft_median_s``."""
        return self.name if self.unit is None else f"{self.name}_{self.unit.replace('/', '_per_')}"


def case_cells(header: Header, case: CaseRecord) -> Iterator[Cell]:
    """One case: what it is, how it ended, ``METRIC_STATISTIC`` in the metric's unit, the parameters."""
    machine = header.machine
    yield Cell("session", header.session.id)
    yield from _identity(case)
    yield Cell("outcome", case.outcome)
    yield Cell("error", case.error)
    yield Cell("model_digest", case.model.digest)
    yield Cell("model_revision", case.model.revision)
    yield Cell("model_parameters", case.model.parameters, "count")
    yield Cell("model_size", case.model.size, "count", "bytes")
    yield Cell("processes", len(case.processes), "count")
    yield Cell("rounds", len(case.rounds), "count")
    yield Cell("failed", sum(len(process.failures) for process in case.processes), "count")
    yield from _load(case, "requests/s")
    yield from _settings(case)
    for name, limit in (case.protocol.slo or {}).items():
        if name in METRICS:
            yield Cell(f"slo_{name}", limit, "number", METRICS[name].unit)
    yield Cell("disturbance", None if case.disturbance is None else " ".join(case.disturbance))
    yield Cell("hidden_tokens", sum(one.hidden_tokens for one in case.rounds), "count")
    yield Cell("unknown", " ".join(f"{metric}:{why}" for metric, why in case.unknown.items()))
    yield Cell("commit", header.commit.id)
    yield Cell("machine", machine.id if machine else None)
    yield Cell("cpu", machine.cpu.get("model") if machine else None)
    yield Cell("gpus", ", ".join(str(gpu.get("name")) for gpu in machine.gpus) if machine else None)
    for name, metric in case.metrics.items():
        for statistic in STATISTICS:
            value = getattr(metric, statistic)
            if statistic == "n":
                yield Cell(f"{name}_n", value, "count")
            else:
                yield Cell(f"{name}_{statistic}", value, "number", metric.unit or None)
    for name, given in case.params.items():
        yield Cell(f"param_{name}", given)


def long_cells(header: Header, case: CaseRecord) -> Iterator[list[Cell]]:
    """One case as rows of one number each: which metric, which statistic of it, its value and unit."""
    about = [
        Cell("session", header.session.id),
        *_identity(case),
        Cell("outcome", case.outcome),
        *_load(case, None),
        *(Cell(f"param_{name}", value) for name, value in case.params.items()),
    ]
    for name, metric in case.metrics.items():
        for statistic in STATISTICS:
            if (value := getattr(metric, statistic)) is not None:
                yield [
                    *about,
                    Cell("metric", name),
                    Cell("statistic", statistic),
                    Cell("value", value, "number"),
                    Cell("unit", "values" if statistic == "n" else metric.unit),
                ]


def case_row(header: Header, case: CaseRecord) -> dict[str, object]:
    """One case as :func:`case_cells` has it, by the names of its columns."""
    return {cell.name: cell.value for cell in case_cells(header, case)}


def round_row(
    case: CaseRecord, process: ProcessRecord, process_index: int, round_index: int
) -> dict[str, object]:
    """One round: which case and process it belongs to, and everything that was measured of it.

    Each metric of a round has a key, and each of its process or level, which is the same in all its rounds;
    None where it was not measured.
    """
    measured: RoundRecord = process.rounds[round_index]
    about = {
        **{cell.name: cell.value for cell in _identity(case)},
        "process": process_index,
        "pid": process.pid,
        "round": round_index,
    }
    facts = measured.model_dump(exclude={"request", "values", "turn", "cache"})
    own = [name for name, row in METRICS.items() if row.scope in ("round", "process", "level")]
    values = {**dict.fromkeys(own), **process.values, **measured.values}
    # A metric that is called as a fact of the round keeps apart from it.
    taken = about.keys() | facts.keys()
    return {
        **about,
        **{f"metric_{name}" if name in taken else name: value for name, value in values.items()},
        **facts,
        **_turn_facts(measured),
        **({} if measured.request is None else _prefixed("request", measured.request.model_dump())),
    }


def per_run_row(
    document: ResultsDocument, case: CaseRecord, process: ProcessRecord, process_index: int, round_index: int
) -> dict[str, object]:
    """One round with the names that scripts for ``per_run.jsonl`` know.

    Seconds, tokens, tokens a second and 10⁹ bytes; the prompt's length is in tokens. None where something was
    not measured: without a GPU there is no memory of one.
    """
    measured = process.rounds[round_index]
    values, engine = {**process.values, **measured.values}, process.engine
    gpus = [] if document.machine is None else document.machine.gpus
    vram = values.get("peak_vram")
    return {
        "run_id": document.session.id,
        "case": case.nodeid,
        "model": case.model.alias or case.model.name,
        "backend": case.model.backend,
        "dtype": engine.get("dtype") or case.model.quantization,
        "process": process_index,
        "repeat": round_index,
        "conversation": case.protocol.conversation,
        "turn": case.protocol.turn,
        "cache": case.protocol.way,
        "cached_tokens": values.get("cached_tokens"),
        "cached_possible": values.get("cached_possible"),
        "prompt_len": measured.prompt_tokens,
        "new_tokens": measured.output_tokens,
        "ttft_s": values.get("ttft"),
        "tpot_s": values.get("tpot"),
        "dt_full_s": values.get("e2e_latency"),
        "tok_s": values.get("output_throughput"),
        "peak_memory_allocated_gb": None if vram is None else vram / 1e9,
        "disturbed": bool(measured.disturbance),
        "gpu": engine.get("device_name") or (gpus[0].get("name") if gpus else None),
        "cuda_version": engine.get("cuda") or (gpus[0].get("cuda") if gpus else None),
        "versions": {**document.versions, **process.versions},
    }


def _turn_facts(measured: RoundRecord) -> dict[str, object]:
    """What a round was as a turn of a conversation, and what is known of the cache; None where nothing is."""
    turn, cache = measured.turn, measured.cache
    return {
        "repetition": None if turn is None else turn.repetition,
        "think_time": None if turn is None else turn.think_time,
        "same_output": None if turn is None else turn.same_output,
        "tie": None if turn is None else turn.tie,
        "cached_source": None if cache is None else cache.source,
        "cached_unknown": None if cache is None else cache.unknown,
        "break_at": None if cache is None else cache.break_at,
        "depth": None if cache is None else cache.depth,
    }


def _load(case: CaseRecord, unit: str | None) -> Iterator[Cell]:
    held = case.protocol
    yield Cell("concurrency", held.concurrency, "count")
    yield Cell("conversations", held.conversations, "count")
    yield Cell("request_rate", held.request_rate, "number", unit)


def _settings(case: CaseRecord) -> Iterator[Cell]:
    """What was asked of what: lengths as they were measured, in tokens, and the first process's engine."""
    protocol = case.protocol
    engine = case.processes[0].engine if case.processes else {}
    yield Cell("prompt_tokens", _middle(one.prompt_tokens for one in case.rounds), "count")
    yield Cell("output_tokens", _middle(one.output_tokens for one in case.rounds), "count")
    yield Cell("prompt_length", protocol.prompt_length)
    yield Cell("output_length", protocol.output_length or protocol.max_new_tokens)
    yield Cell("shared_prefix", protocol.shared_prefix, "count")
    yield Cell("depth", protocol.depth, "count")
    yield Cell("history", protocol.history)
    yield Cell("placement", protocol.placement)
    yield Cell("threads", engine.get("n_threads"), "count")
    yield Cell("context", engine.get("context_length"), "count")
    yield Cell("server", engine.get("server"))
    yield Cell("base_url", _address(engine.get("base_url")))


def _middle(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return median_low(known) if known else None


def _address(url: object) -> str | None:
    """Where a server is, without a user, a password or a query."""
    found = stored_url(url)
    return None if found is None else replace(found, query="").text


def _prefixed(prefix: str, values: dict[str, object]) -> dict[str, object]:
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _identity(case: CaseRecord) -> Iterator[Cell]:
    yield Cell("nodeid", case.nodeid)
    yield Cell("measurement", case.measurement)
    yield Cell("file", case.file)
    yield Cell("name", case.name)
    yield Cell("backend", case.model.backend)
    yield Cell("model", case.model.name)
    yield Cell("quantization", case.model.quantization)
    yield Cell("conversation", case.protocol.conversation)
    yield Cell("turn", case.protocol.turn, "count")
    yield Cell("cache", case.protocol.way)

"""What do the engines of one model do at each concurrency, for programs that read such JSON?

``{"metadata": {"model", "engines", "concurrency_levels", "system_info"}, "benchmarks": [{"engine",
"concurrency", "metrics"}]}``, seconds, tokens a second and 10⁶ bytes; null for what was not measured. An
entry also names its case, since two tests may measure one engine at one concurrency.
"""

from __future__ import annotations

from pytest_llmbench.errors import UsageError, few
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.exports.about import system
from pytest_llmbench.results.records import CaseRecord, ResultsDocument, label_of


def to_levels(document: ResultsDocument) -> Json:
    """The JSON of *document*, whose cases have to be of one model.

    :raises UsageError: if they are of several; it names them.
    """
    models = list(dict.fromkeys(map(_model, document.cases)))
    if len(models) > 1:
        msg = (
            f"this form is of one model, and the document has {len(models)}: {few(models)}; "
            "choose one's cases with --case TEXT"
        )
        raise UsageError(msg)
    entries = [_entry(case) for case in document.cases]
    levels = {entry["concurrency"] for entry in entries} - {None}
    return {
        "metadata": {
            "model": models[0] if models else None,
            "engines": list(dict.fromkeys(entry["engine"] for entry in entries)),
            "concurrency_levels": sorted(levels),
            "system_info": system(document),
        },
        "benchmarks": entries,
    }


def _model(case: CaseRecord) -> str:
    model = case.model
    return " ".join(filter(None, (model.alias or model.name, model.quantization)))


def _entry(case: CaseRecord) -> Json:
    ttft = case.metrics.get("ttft")
    memory = _median(case, "peak_rss")
    successful, failed = _requests(case)
    speed = _median(case, "system_throughput")
    return {
        "engine": _engine(case),
        "concurrency": _concurrency(case),
        "case": label_of(case.nodeid, case.measurement),
        "metrics": {
            "ttft_p50": None if ttft is None else ttft.p50,
            "ttft_p95": None if ttft is None else ttft.p95,
            "ttft_p99": None if ttft is None else ttft.p99,
            "tokens_per_sec": _median(case, "output_throughput") if speed is None else speed,
            "memory_mb": None if memory is None else memory / 1e6,
            "successful_requests": successful,
            "failed_requests": failed,
        },
    }


def _requests(case: CaseRecord) -> tuple[int | None, int | None]:
    """How many succeeded and failed, warm-ups left out; null of a case that was not measured."""
    if not case.processes:
        return None, None
    levels = [process.load for process in case.processes if process.load is not None]
    if not levels:
        return len(case.rounds), sum(len(process.failures) for process in case.processes)
    return sum(one.successful for one in levels), sum(sum(one.failed.values()) for one in levels)


def _engine(case: CaseRecord) -> str:
    """The server that answered, where it is known which; the backend otherwise."""
    engine = case.processes[0].engine if case.processes else {}
    return str(engine.get("server") or case.model.backend)


def _concurrency(case: CaseRecord) -> int | None:
    """How many requests were on their way at once; null where a rate said when they were sent."""
    if case.protocol.concurrency is not None:
        return case.protocol.concurrency
    return None if case.protocol.request_rate is not None else 1


def _median(case: CaseRecord, metric: str) -> float | None:
    record = case.metrics.get(metric)
    return None if record is None else record.median

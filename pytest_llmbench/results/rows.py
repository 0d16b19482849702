"""What is one case, and one round, as a flat row for a table?

CSV, JSON Lines and the pandas frames have these columns.
"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.results.document import Case, Header, ProcessRecord, RoundRecord

STATISTICS = ("median", "mean", "stddev", "min", "max", "p50", "p90", "p95", "p99", "n")


def case_row(header: Header, case: Case) -> dict[str, Any]:
    """One case: what it is, how it ended, ``METRIC_STATISTIC`` in the metric's unit, the parameters."""
    row: dict[str, Any] = {
        "session": header.session.id,
        **_identity(case),
        "outcome": case.outcome,
        "error": case.error,
        "model_digest": case.model.digest,
        "model_revision": case.model.revision,
        "model_parameters": case.model.parameters,
        "model_size": case.model.size,
        "processes": len(case.processes),
        "rounds": len(case.rounds),
        "failed": sum(len(process.failures) for process in case.processes),
        "concurrency": case.protocol.get("concurrency"),
        "request_rate": case.protocol.get("request_rate"),
        "disturbance": None if case.disturbance is None else " ".join(case.disturbance),
        "commit": header.commit.id,
        "machine": header.machine.id if header.machine else None,
    }
    for name, metric in case.metrics.items():
        for statistic in STATISTICS:
            row[f"{name}_{statistic}"] = getattr(metric, statistic)
    row.update({f"param_{name}": value for name, value in case.params.items()})
    return row


def round_row(case: Case, process: ProcessRecord, process_index: int, round_index: int) -> dict[str, Any]:
    """One round: which case and process it belongs to, and everything that was measured of it."""
    measured: RoundRecord = process.rounds[round_index]
    return {
        **_identity(case),
        "process": process_index,
        "pid": process.pid,
        "round": round_index,
        **measured.model_dump(exclude={"request"}),
        "energy_per_token": measured.energy_per_token,
        **({} if measured.request is None else _prefixed("request", measured.request.model_dump())),
    }


def _prefixed(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}_{name}": value for name, value in values.items()}


def _identity(case: Case) -> dict[str, Any]:
    return {
        "nodeid": case.nodeid,
        "measurement": case.measurement,
        "file": case.file,
        "name": case.name,
        "backend": case.model.backend,
        "model": case.model.name,
        "quantization": case.model.quantization,
    }

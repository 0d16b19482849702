"""In which texts can a document be written?

CSV has one row a case, or in its long form one row a number, JSON Lines one line a round (``per_run.jsonl``
too, under other names), and pytest-benchmark's JSON one benchmark a case, for the tools that read it
(github-action-benchmark's ``pytest``, Bencher's ``python_pytest``, ``pytest-benchmark compare``).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import pydantic_core

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.records import (
    DEFAULT_MEASUREMENT,
    CaseRecord,
    Commit,
    Machine,
    ResultsDocument,
    Session,
)
from pytest_llmbench.results.rows import case_cells, long_cells, per_run_row, round_row

DEFAULT_METRIC = "e2e_latency"
"""What pytest-benchmark itself measures: how long a call takes."""


def seconds_metrics() -> tuple[str, ...]:
    """What pytest-benchmark's JSON can hold: its readers take every number for seconds, less for better."""
    return tuple(row.name for row in METRICS.values() if row.unit == "s" and row.better == "lower")


def to_csv(document: ResultsDocument) -> str:
    """One row a case, after a line of column names with their units; an unknown value is empty."""
    return csv_text(
        [{cell.head: cell.value for cell in case_cells(document, case)} for case in document.cases]
    )


def to_long_csv(document: ResultsDocument) -> str:
    """One row for each statistic of each metric of each case, for tools that pivot."""
    return csv_text(
        [
            {cell.head: cell.value for cell in cells}
            for case in document.cases
            for cells in long_cells(document, case)
        ]
    )


def csv_text(rows: Sequence[Json]) -> str:
    """*rows* below the names of their columns; a value that a row does not have, or None, is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    if columns:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def to_jsonl(document: ResultsDocument) -> Iterator[str]:
    """One JSON object a round, each with its line end."""
    for case in document.cases:
        for index, process in enumerate(case.processes):
            for number in range(len(process.rounds)):
                yield pydantic_core.to_json(round_row(case, process, index, number)).decode() + "\n"


def to_per_run(document: ResultsDocument) -> Iterator[str]:
    """``per_run.jsonl``: one JSON object a round under the names of scripts that read such files."""
    for case in document.cases:
        for index, process in enumerate(case.processes):
            for number in range(len(process.rounds)):
                row = per_run_row(document, case, process, index, number)
                yield pydantic_core.to_json(row).decode() + "\n"


def to_pytest_benchmark(document: ResultsDocument, metric: str = DEFAULT_METRIC) -> Json:
    """The document as ``--benchmark-json`` writes it, with the values of *metric* as the timings.

    The medians of all metrics are in each benchmark's ``extra_info``. Cases without a value of
    *metric* are left out.

    :raises UsageError: if *metric* is not a duration. For tokens per second take ``tpot``: its
        ``ops`` are tokens per second.
    """
    from pytest_benchmark import __version__ as version

    if metric not in (durations := seconds_metrics()):
        known = "unknown" if metric not in METRICS else f"in {METRICS[metric].unit}"
        msg = (
            f"pytest-benchmark's JSON holds seconds, and {metric!r} is {known}"
            f"{suggest(metric, durations)}; choose one of {', '.join(durations)} "
            "(the 'ops' of tpot are tokens/s)"
        )
        raise UsageError(msg)
    session = document.session
    return {
        "machine_info": _machine_info(document.machine, session),
        "commit_info": _commit_info(document.commit, session),
        "benchmarks": [_benchmark(case, metric) for case in document.cases if case.values(metric)],
        "datetime": session.started,
        "version": version,
    }


def _benchmark(case: CaseRecord, metric: str) -> Json:
    from pytest_benchmark.stats import Stats

    stats = Stats()
    stats.data = case.values(metric)
    # The readers chart by name: another measurement or metric must not fall into the same series.
    marks = [] if case.measurement == DEFAULT_MEASUREMENT else [case.measurement]
    marks += [] if metric == DEFAULT_METRIC else [metric]
    suffix = f" ({', '.join(marks)})" if marks else ""
    return {
        "group": None,
        "name": case.name + suffix,
        "fullname": case.nodeid + suffix,
        "params": case.params or None,
        "param": None,
        "extra_info": {
            "metric": metric,
            "model": case.model.model_dump(),
            "disturbance": case.disturbance,
            **{name: record.median for name, record in case.metrics.items()},
        },
        "options": {
            "disable_gc": False,
            "timer": "perf_counter",
            "min_rounds": len(stats.data),
            "max_time": 0.0,
            "min_time": 0.0,
            "warmup": False,
        },
        "stats": {**stats.as_dict(), "data": stats.data, "iterations": 1},
    }


def _machine_info(machine: Machine | None, session: Session) -> Json:
    if machine is None:
        return {"node": session.host}
    return {
        "node": session.host,
        "machine": machine.os.get("architecture"),
        "system": machine.os.get("system"),
        "release": machine.os.get("release"),
        "python_compiler": machine.python.get("compiler"),
        "python_implementation": machine.python.get("implementation"),
        "python_version": machine.python.get("version"),
        "cpu": {
            "brand_raw": machine.cpu.get("model"),
            "count": machine.cpu.get("logical_cores"),
            "flags": machine.cpu.get("flags"),
        },
        "gpus": [gpu.get("name") for gpu in machine.gpus],
        "id": machine.id,
    }


def _commit_info(commit: Commit, session: Session) -> Json:
    root = (session.rootdir or "").replace("\\", "/").rstrip("/")
    info = {
        "id": commit.id or "unversioned",
        "time": commit.time,
        "author_time": commit.author_time,
        "dirty": bool(commit.dirty),
        "project": root.rpartition("/")[2] or None,
        "branch": commit.branch or "(unknown)",
    }
    return info if commit.reason is None else {**info, "error": commit.reason}

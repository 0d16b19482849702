"""What does Prometheus learn of the service and of what was measured?

Everything is read from the index and the jobs, which hold what was measured before this process too:
counters go on over a restart. What is made of the index is kept until that changes, so that a scrape while
something is measured costs two small queries. Labels are model, backend and quantization, and there are
no more of them than :data:`MOST_LABELS`, and of matrices than :data:`MOST_MATRICES`: Prometheus keeps a
series for each.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.index.tables import cases, jobs, metrics, totals
from pytest_llmbench.results.index.totals import BOUNDS, model_label
from pytest_llmbench.results.verdict import Verdict
from pytest_llmbench.service.indexed import version_of
from pytest_llmbench.service.jobs import STATES

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric
    from sqlalchemy import Connection

    from pytest_llmbench.results.index.connection import Database
    from pytest_llmbench.service.matrices import Matrices

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABELS = ("model", "backend", "quantization")
MOST_LABELS = 100
"""Sets of labels; those that were measured last."""
MOST_MATRICES = 8
"""Matrices; those in which something happened last."""
_KEPT = 1.0
"""Seconds for which an answer is given again."""
_JOB_BOUNDS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)
"""Seconds."""
Label = tuple[str, str, str]


class Scrapes:
    """Answers the scrapes of one service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = -_KEPT
        self._answer = b""
        self._version: object = None
        self._measured: list[Metric] = []

    def answer(self, database: Database, matrices: Matrices) -> bytes:
        """Everything in Prometheus' text format.

        :raises ResultsError: if the database does not answer, or the store cannot be read.
        """
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import generate_latest

        with self._lock:
            if time.monotonic() - self._at < _KEPT:
                return self._answer
            with database.reading() as connection:
                version = version_of(connection)
                if version != self._version:
                    self._measured = list(_measured(connection))
                    self._version = version
                families = [*_service(connection), *self._measured, _cells(matrices)]
            registry = CollectorRegistry(auto_describe=False)
            registry.register(_Families(families))
            self._answer = generate_latest(registry)
            self._at = time.monotonic()
            return self._answer


class _Families:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _service(connection: Connection) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

    build = GaugeMetricFamily("llmbench_build_info", "The version of pytest-llmbench.", labels=["version"])
    build.add_metric([__version__], 1)
    yield build
    counted = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    states: dict[str, int] = {row[0]: row[1] for row in counted}
    waiting = GaugeMetricFamily("llmbench_jobs", "Benchmarks in each state.", labels=["state"])
    for state in STATES:
        waiting.add_metric([state], states.get(state, 0))
    yield waiting
    over = select(jobs.c.started, jobs.c.ended).where(jobs.c.started.is_not(None), jobs.c.ended.is_not(None))
    seconds = [(ended - started).total_seconds() for started, ended in connection.execute(over)]
    counts = [sum(one <= bound for one in seconds) for bound in _JOB_BOUNDS]
    lasted = HistogramMetricFamily("llmbench_job_duration_seconds", "How long benchmarks took that are over.")
    bounds = [*map(str, map(float, _JOB_BOUNDS)), "+Inf"]
    lasted.add_metric([], list(zip(bounds, [*counts, len(seconds)], strict=True)), sum(seconds))
    yield lasted


def _cells(matrices: Matrices) -> Metric:
    """How many cells of each matrix are in each state; of those in which something happened last."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily("llmbench_matrix_cells", "Cells of a matrix.", labels=["matrix", "state"])
    for name in matrices.newest(MOST_MATRICES):
        # One whose plan is damaged must not hide what is known of all others.
        with contextlib.suppress(LLMBenchError):
            for state, number in matrices.state(name).counts.items():
                family.add_metric([name, state], number)
    return family


_TOTALS = {
    "output_tokens": "Tokens that were generated.",
    "prompt_tokens": "Tokens of prompts.",
    "cached_prompt_tokens": "Tokens of prompts that a prefix cache had.",
}


def _measured(connection: Connection) -> Iterator[Metric]:
    """What is made of the index."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    added = _added(connection)
    for name, bounds in BOUNDS.items():
        row = METRICS[name]
        family = HistogramMetricFamily(f"llmbench_{name}_seconds", f"{row.formula}.", labels=LABELS)
        for label, known in added.items():
            counts = known[name]["counts"]
            running = [sum(counts[: place + 1]) for place in range(len(counts))]
            upper = [*(str(float(bound)) for bound in bounds), "+Inf"]
            family.add_metric(label, list(zip(upper, running, strict=True)), known[name]["sum"])
        yield family
    for name, says in _TOTALS.items():
        counter = CounterMetricFamily(f"llmbench_{name}", says, labels=LABELS)
        for label, known in added.items():
            counter.add_metric(label, known[name])
        yield counter
    verdicts, last = _cases(connection, added)
    judged = GaugeMetricFamily(
        "llmbench_case_verdict", "Cases by the verdict of their last run.", labels=[*LABELS, "verdict"]
    )
    for label in added:
        for verdict in Verdict:
            judged.add_metric([*label, verdict.value], verdicts[label, verdict.value])
    yield judged
    when = GaugeMetricFamily(
        "llmbench_case_timestamp_seconds", "When the last case of a model was measured.", labels=LABELS
    )
    for label, (_, started) in last.items():
        when.add_metric(label, started)
    yield when
    yield from _medians(connection, last)


def _added(connection: Connection) -> dict[Label, dict[str, Any]]:
    """The totals of all sessions, of the sets of labels that were measured last."""
    columns = (totals.c.model, totals.c.backend, totals.c.quantization)
    newest = (
        select(*columns)
        .group_by(*columns)
        .order_by(func.max(totals.c.session_id).desc(), *columns)
        .limit(MOST_LABELS)
    )
    added: dict[Label, dict[str, Any]] = {tuple(row): {} for row in connection.execute(newest)}
    for *label, one in connection.execute(select(*columns, totals.c.totals).order_by(*columns)):
        known = added.get(tuple(label))
        if known is None:
            continue
        for name in BOUNDS:
            _add_histogram(known, name, one.get(name))
        for name in _TOTALS:
            known[name] = known.get(name, 0) + one.get(name, 0)
    return added


def _add_histogram(known: dict[str, Any], name: str, one: Any) -> None:
    places = len(BOUNDS[name]) + 1
    into = known.setdefault(name, {"counts": [0] * places, "sum": 0.0})
    # A version with other bounds wrote it: a rebuild of the index counts anew.
    if one is not None and len(one["counts"]) == places:
        into["counts"] = [a + b for a, b in zip(into["counts"], one["counts"], strict=True)]
        into["sum"] += one["sum"]


def _cases(
    connection: Connection, labels: dict[Label, dict[str, Any]]
) -> tuple[Counter[tuple[Label, str]], dict[Label, tuple[int, float]]]:
    """How many cases have which verdict in their last run; the last case of each set of labels, and when."""
    about = (cases.c.model, cases.c.alias, cases.c.backend, cases.c.quantization)
    by_test = func.row_number().over(
        partition_by=(cases.c.nodeid, cases.c.measurement), order_by=(cases.c.started.desc(), cases.c.id)
    )
    by_model = func.row_number().over(
        partition_by=about, order_by=(cases.c.started.desc(), cases.c.position.desc())
    )
    columns = (*about, cases.c.id, cases.c.verdict, cases.c.started)
    ranked = select(*columns, by_test.label("test"), by_model.label("place")).subquery()
    verdicts: Counter[tuple[Label, str]] = Counter()
    last: dict[Label, tuple[int, float]] = {}
    for row in connection.execute(select(ranked).where((ranked.c.test == 1) | (ranked.c.place == 1))):
        label = (model_label(row.model, row.alias), row.backend, row.quantization or "")
        if label not in labels:
            continue
        if row.test == 1 and row.verdict is not None:
            verdicts[label, row.verdict] += 1
        started = row.started.timestamp()
        if row.place == 1 and started >= last.get(label, (0, 0.0))[1]:
            last[label] = (row.id, started)
    return verdicts, last


def _medians(connection: Connection, last: dict[Label, tuple[int, float]]) -> Iterator[Metric]:
    """Of the last case of each set of labels: its metrics' medians."""
    from prometheus_client.core import GaugeMetricFamily

    labels = {case: label for label, (case, _) in last.items()}
    wanted = select(metrics.c.case_id, metrics.c.name, metrics.c.median).where(metrics.c.case_id.in_(labels))
    families: dict[str, GaugeMetricFamily] = {}
    for row in connection.execute(wanted.order_by(metrics.c.name, metrics.c.case_id)):
        metric = METRICS.get(row.name)
        if metric is None or row.median is None:
            continue
        unit = "seconds" if metric.unit == "s" else metric.unit.replace("/", "_per_")
        name = f"llmbench_case_{row.name}"
        name = name if name.endswith(unit) else f"{name}_{unit}"
        if row.name not in families:
            says = f"The median of the last case: {metric.formula}."
            families[row.name] = GaugeMetricFamily(name, says, labels=LABELS)
        families[row.name].add_metric(labels[row.case_id], row.median)
    yield from families.values()

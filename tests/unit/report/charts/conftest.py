"""Documents with what each family of charts draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.results.records import CaseRecord, ResultsDocument
from tests.fakes.llmbench_levels import a_load_record

MakeLevel = Callable[..., CaseRecord]
MakeDocument = Callable[[Sequence[CaseRecord]], ResultsDocument]


@pytest.fixture
def document_of(a_session: Any) -> MakeDocument:
    """A session of some cases."""

    def make(cases: Sequence[CaseRecord]) -> ResultsDocument:
        made: ResultsDocument = a_session(cases=cases)
        return made

    return make


@pytest.fixture
def a_level(make_case: Callable[..., CaseRecord]) -> MakeLevel:
    """A load level: requests at once, its throughput in tokens/s, and its E2E latencies in s."""

    def make(
        concurrency: int = 8,
        throughput: float = 800.0,
        latency: float = 1.0,
        *,
        model: str = "tiny",
        **load: Any,
    ) -> CaseRecord:
        case = make_case(
            f"benchmarks/test_s.py::test_load[server-{model}-c{concurrency}]",
            values={
                "system_throughput": [throughput],
                "ttft": [0.05 * latency + n / 1e5 for n in range(200)],
                "tpot": [0.01] * 200,
                "e2e_latency": [latency] * 200,
                "peak_rss": None,
            },
            rounds=(3,),
            backend="server",
        )
        case.model.name = model
        case.protocol.concurrency = concurrency
        case.processes[0].load = a_load_record(**load)
        return case

    return make


def summary(metric: str, *values: float) -> Any:
    """A metric of a case, as a document has it."""
    return Summary(metric, tuple(values)).to_json()

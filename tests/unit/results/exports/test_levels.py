"""Does the JSON of levels have the names and units that its readers know, and null for what is not known?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.exports.levels import to_levels
from pytest_llmbench.results.records import CaseRecord, LoadRecord, ProtocolRecord, ResultsDocument, Session

Maker = Callable[..., Any]


def document(*cases: CaseRecord) -> ResultsDocument:
    session = Session(id="20260102T030405Z-0a1b2c3d", started="2026-01-02T03:04:05Z")
    return ResultsDocument(session=session, cases=list(cases))


def entry(case: CaseRecord) -> Any:
    (found,) = to_levels(document(case))["benchmarks"]
    return found


def load(successful: int, failed: Mapping[str, int]) -> LoadRecord:
    return LoadRecord.model_construct(successful=successful, failed=failed)


def test_it_has_the_names_that_its_readers_know(document_maker: Maker) -> None:
    made = json.loads(json.dumps(to_levels(document_maker())))
    assert set(made) == {"metadata", "benchmarks"}
    assert set(made["metadata"]) == {"model", "engines", "concurrency_levels", "system_info"}
    assert made["metadata"]["model"] == "tiny q8_0"
    assert made["metadata"]["engines"] == ["llamacpp"]
    assert made["metadata"]["concurrency_levels"] == [1]
    assert made["metadata"]["system_info"]["cpu"]["model"] == "A CPU"
    assert set(made["benchmarks"][0]) == {"engine", "concurrency", "case", "metrics"}
    assert set(made["benchmarks"][0]["metrics"]) == {
        "ttft_p50",
        "ttft_p95",
        "ttft_p99",
        "tokens_per_sec",
        "memory_mb",
        "successful_requests",
        "failed_requests",
    }


def test_times_are_in_seconds_and_memory_in_megabytes(case_maker: Maker) -> None:
    case = case_maker()
    metrics = entry(case)["metrics"]
    assert metrics["ttft_p50"] == pytest.approx(0.051)
    assert metrics["ttft_p95"] == case.metrics["ttft"].p95
    assert metrics["memory_mb"] == pytest.approx(1.5)
    assert metrics["tokens_per_sec"] == case.metrics["output_throughput"].median
    assert (metrics["successful_requests"], metrics["failed_requests"]) == (6, 0)


def test_a_load_level_has_the_servers_throughput_and_its_requests(case_maker: Maker) -> None:
    case = case_maker()
    case.protocol = ProtocolRecord(concurrency=8)
    case.processes[0].engine["server"] = "vllm"
    case.processes = case.processes[:1]
    case.processes[0].load = load(50, {"timeout": 2, "refused": 1})
    case.metrics["system_throughput"] = case.metrics["output_throughput"].model_copy(update={"median": 400.0})
    found = entry(case)
    assert (found["engine"], found["concurrency"]) == ("vllm", 8)
    assert found["metrics"]["tokens_per_sec"] == 400.0
    assert (found["metrics"]["successful_requests"], found["metrics"]["failed_requests"]) == (50, 3)


def test_a_request_rate_is_no_concurrency(case_maker: Maker) -> None:
    case = case_maker()
    case.protocol = ProtocolRecord(request_rate=2.5)
    made = to_levels(document(case))
    assert made["benchmarks"][0]["concurrency"] is None
    assert made["metadata"]["concurrency_levels"] == []


def test_what_was_not_measured_is_null(case_maker: Maker) -> None:
    case = case_maker(outcome="error")
    case.processes, case.metrics = [], {}
    assert set(entry(case)["metrics"].values()) == {None}


def test_several_models_are_refused_and_named(case_maker: Maker) -> None:
    other = case_maker("test_b.py::test_y")
    other.model = SimpleNamespace(name="tiny", alias="small", quantization=None)
    with pytest.raises(UsageError, match=r"has 2: tiny q8_0, small; choose one's cases with --case TEXT"):
        to_levels(document(case_maker(), other))


def test_a_document_without_cases_has_no_model() -> None:
    assert to_levels(document())["metadata"]["model"] is None

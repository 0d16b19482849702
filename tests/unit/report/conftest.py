"""Cases with given numbers, as a results document holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.results.records import CaseRecord, ModelRecord, ProcessRecord, RoundRecord

MakeCase = Callable[..., CaseRecord]

VALUES: dict[str, list[float]] = {
    "ttft": [0.0123] * 5,
    "tpot": [0.000724] * 5,
    "decode_throughput": [1381.0] * 5,
    "prefill_throughput": [23456.0] * 5,
    "peak_rss": [89.3 * 2**20],
}


def _round(disturbance: Sequence[str] = ()) -> RoundRecord:
    return RoundRecord(
        prompt_tokens=16,
        output_tokens=2,
        prompt_hash="sha256:0",
        output_hash="sha256:0",
        finish_reason="length",
        tokenized=0.0,
        token_times=[0.1, 0.2],
        done=0.2,
        disturbance=list(disturbance),
    )


@pytest.fixture
def make_case() -> MakeCase:
    """A case by node id; *values* replaces metrics, and None for one leaves it out."""

    def make(
        nodeid: str = "benchmarks/test_a.py::test_x[llamacpp-tiny-q8_0]",
        *,
        values: Mapping[str, Sequence[float] | None] | None = None,
        rounds: Sequence[int] = (5, 5, 5),
        disturbed: Sequence[str] = (),
        backend: str = "llamacpp",
        **fields: Any,
    ) -> CaseRecord:
        chosen = {**VALUES, **(values or {})}
        processes = [
            ProcessRecord(pid=1, rounds=[_round(disturbed if not n else ()) for n in range(count)])
            for count in rounds
        ]
        return CaseRecord(
            nodeid=nodeid,
            name=nodeid.rpartition("::")[2],
            file=nodeid.partition("::")[0],
            model=ModelRecord(name="tiny", backend=backend, quantization="q8_0"),
            processes=processes,
            metrics={name: Summary(name, tuple(v)).to_json() for name, v in chosen.items() if v},
            disturbance=list(disturbed),
            **{"outcome": "passed", **fields},
        )

    return make

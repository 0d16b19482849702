"""Cases with given numbers, as a results document holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.results.records import (
    CacheRecord,
    CaseRecord,
    ModelRecord,
    ProcessRecord,
    ProtocolRecord,
    RoundRecord,
    TurnRecord,
)

MakeCase = Callable[..., CaseRecord]
MakeTurn = Callable[..., CaseRecord]

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


@pytest.fixture
def make_turn(make_case: MakeCase) -> MakeTurn:
    """A turn of a conversation, as it was asked one *way*; *cached* of *possible* tokens of its *prompt*.

    Of a turn whose cache is not told of, *cached* is the reason.
    """

    def make(
        number: int,
        way: str = "warm",
        *,
        prompt: int = 100,
        cached: int | str = 0,
        possible: int | None = 0,
        label: str = "rag",
        turns: int = 2,
        protocol: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> CaseRecord:
        asked = {
            "conversation": "rag",
            "turns": turns,
            "cache": "paired",
            "history": "live",
            **(protocol or {}),
        }
        case = make_case(
            measurement=f"{label} turn {number}{' cold' if way == 'cold' else ''}",
            protocol=ProtocolRecord(turn=number, prefix_cache=way == "warm", **asked),
            **{"rounds": (3,), **fields},
        )
        told = isinstance(cached, int)
        for one in case.rounds:
            one.prompt_tokens = prompt
            one.turn = TurnRecord(conversation="rag", turn=number, repetition=1, cache=way)
            one.cache = CacheRecord(source="cut") if told else CacheRecord(unknown=str(cached))
            known = {"cached_tokens": cached if told else None, "cached_possible": possible}
            one.values = {name: float(value) for name, value in known.items() if value is not None}
        return case

    return make

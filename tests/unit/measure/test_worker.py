"""Does the engine's process count what it runs, around a generation and nothing else?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pytest_llmbench.hardware.instructions import Reading
from pytest_llmbench.measure.kv_cache import CacheWatch
from pytest_llmbench.measure.worker import Host


class Engine:
    context_length = 64
    info: dict[str, Any] = {}  # noqa: RUF012  # as a backend has it

    def __init__(self, happened: list[str]) -> None:
        self.happened = happened

    def tokenize(self, text: str) -> list[int]:
        self.happened.append("tokenize")
        return [1, 2, 3]

    def detokenize(self, tokens: Sequence[int]) -> str:
        self.happened.append("detokenize")
        return "text"

    def generate(self, prompt: Sequence[int], params: Any, sink: Any) -> str:
        self.happened.append("generate")
        if params.top_k:
            sink.prefilled()
        for _ in range(params.max_new_tokens):
            sink.token(7)
        return "length"


class Counter:
    def __init__(self, happened: list[str], readings: Iterator[Reading | None]) -> None:
        self.happened = happened
        self.readings = readings

    def read(self) -> Reading | None:
        self.happened.append("read")
        return next(self.readings)


PARAMS = {"max_new_tokens": 4, "ignore_eos": True, "temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}


def generate(readings: list[Reading | None] | None, **params: int) -> tuple[dict[str, Any], list[str]]:
    happened: list[str] = []
    counter: Any = None if readings is None else Counter(happened, iter(readings))
    host = Host(counter)
    engine: Any = Engine(happened)
    host._engine, host._cache = engine, CacheWatch(engine)
    return host.handle({"op": "generate", "params": {**PARAMS, **params}, "text": "hello"}), happened


def test_the_counter_is_read_around_the_generation_and_not_around_more() -> None:
    answer, happened = generate([Reading(100, 10, 10), Reading(5100, 20, 20)])
    assert answer["instructions"] == 5000
    assert happened == ["read", "tokenize", "generate", "read", "detokenize"]


@pytest.mark.parametrize("told", [True, False], ids=["of its prefill", "not of its prefill"])
def test_cpu_time_is_that_of_the_generation_and_of_its_prefill_if_the_engine_tells_of_it(told: bool) -> None:
    answer, _ = generate(None, top_k=int(told))
    assert answer["cpu_time"] > 0
    assert (answer["prefill_cpu_time"] is not None) is told
    assert (answer["prefill_cpu_time"] or 0) <= answer["cpu_time"]
    assert answer["cpu_wait"] is None or answer["cpu_wait"] >= 0


@pytest.mark.parametrize(
    "readings", [None, [None, None], [Reading(100, 10, 10), None], [Reading(1, 10, 10), Reading(2, 20, 15)]]
)
def test_what_was_not_counted_is_none(readings: list[Reading | None] | None) -> None:
    assert generate(readings)[0]["instructions"] is None

"""What does an engine tell of a generation, in a process of another version and in pytest's own?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.cpu_time import CPU_TIME, OF_PYTEST
from pytest_llmbench.measure import engine as module
from pytest_llmbench.measure.engine import EngineProcess, EngineSpec, Generation, LocalEngine, Prompt
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

PARAMS = GenerationParams(max_new_tokens=2)
LINE = {
    "sent": 0,
    "tokenized": 1,
    "prefilled": 2,
    "token_times": [3, 4],
    "done": 5,
    "prompt_tokens": 3,
    "output_tokens": 2,
    "output_hash": "o",
    "prompt_hash": "p",
    "finish_reason": "length",
}
OF_BEFORE: dict[str, Any] = {
    "load": {"load_time": 0.5, "engine": {"n_threads": 1}, "versions": {"x": "1"}, "peak_rss": 1},
    "generate": {"timeline": LINE, "text": "text", "peak_rss": 2, "instructions": 7},
}
"""What the worker of a version answers that knows nothing of CPU time."""


class Child:
    """A process of another environment."""

    pid = 77

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def ask(self, request: dict[str, Any], *_: Any) -> Any:
        return OF_BEFORE[request["op"]]

    def close(self) -> None: ...


@pytest.fixture
def spec() -> EngineSpec:
    model = ResolvedModel(ModelSpec("tiny"), "hf", Path("nowhere"), "sha256:0", 1, "f16", 1)
    options = {"context": 100, "seconds_per_token": 0.0, "load": ""}
    return EngineSpec("fake", "tests.fakes.llmbench_fake:backend", model, options)


def of_cpu(generation: Generation) -> list[float | None]:
    return [generation.cpu_time, generation.prefill_cpu_time, generation.cpu_wait]


def test_a_worker_of_a_version_that_does_not_count_cpu_time_has_none(
    spec: EngineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Child", Child)
    engine = EngineProcess(spec)
    generation = engine.generate(Prompt(text="a"), PARAMS)
    assert of_cpu(generation) == [None, None, None]
    assert (generation.instructions, generation.timeline.output_tokens) == (7, 2)
    assert CPU_TIME not in engine.loaded.engine


def test_in_pytests_own_process_an_engine_has_no_cpu_time_and_says_why(spec: EngineSpec) -> None:
    engine = LocalEngine(spec)
    generation = engine.generate(Prompt(text="abc"), PARAMS)
    engine.close()
    assert of_cpu(generation) == [None, None, None]
    assert generation.peak_rss is None
    assert engine.loaded.engine[CPU_TIME] == OF_PYTEST

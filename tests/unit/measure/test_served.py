"""Does a depth lie in a server's cache before each round, and is a prompt counted as the server does?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import UsageError
from pytest_llmbench.measure.engine import CacheUse, Depth, Prompt
from pytest_llmbench.measure.loop import EnginePool, Plan, measure
from pytest_llmbench.measure.run import Run
from pytest_llmbench.measure.served import ServedEngine, ServedSpec
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.report.progress import Progress
from tests.fakes.openai_server import FakeServer, fake_server
from tests.fakes.prompt_cache import LLAMA, UNKNOWN, VLLM, CachingServer

PARAMS = GenerationParams(max_new_tokens=4)


@pytest.fixture
def answering() -> Iterator[FakeServer]:
    with fake_server(seconds_per_token=0.0) as server:
        yield server


def measured(server: CachingServer, depth: int, *, prefix_cache: bool = False) -> Run:
    spec = ServedSpec(server, ModelSpec("m"))
    plan = Plan(
        spec,
        PARAMS,
        rounds=2,
        warmup_rounds=1,
        prompt=Prompt(text="one two"),
        depth=depth,
        prefix_cache=prefix_cache,
        timeout=60,
    )
    run = Run("default", plan.protocol())
    measure(plan, run, EnginePool(), None, Progress())
    return run


@pytest.mark.parametrize("row", [VLLM, LLAMA, UNKNOWN])
def test_a_depth_lies_in_the_cache_before_each_round(answering: FakeServer, row: object) -> None:
    server = CachingServer(answering, row, api="completions")  # type: ignore[arg-type]
    run = measured(server, 20)
    for one in run.rounds:
        assert one.invalid is None
        assert one.cache is not None
        assert (one.cache.depth, one.cache.cold, one.cache.source) == (20, False, "usage")
        assert one.value("cached_tokens") == 20
        assert one.timeline.prompt_tokens == 22
        assert one.value("cached_possible") == (None if row is UNKNOWN else 20)
    # A request of one token before the warm-up round and each of the others, which finds nothing.
    filled = [(body["max_tokens"], had) for body, had in zip(server.bodies, server.had, strict=True)][-6:]
    assert filled == [(1, 0), (4, 20)] * 3


def test_a_round_that_keeps_the_cache_finds_the_depth_and_then_what_the_round_before_left(
    answering: FakeServer,
) -> None:
    run = measured(CachingServer(answering, VLLM, api="completions"), 20, prefix_cache=True)
    # The warm-up round found the depth alone; of a prompt, the last token is always evaluated.
    assert [one.value("cached_tokens") for one in run.rounds] == [21, 21]
    assert run.invalid is None


def test_a_depth_that_is_not_found_spoils_the_round(answering: FakeServer) -> None:
    server = CachingServer(answering, VLLM, api="completions")
    answering_had = answering.cached
    assert answering_had is not None
    answering.cached = lambda body: min(7, answering_had(body) or 0)
    run = measured(server, 20)
    assert {one.invalid for one in run.rounds} == {
        "20 tokens were to lie in the cache before the prompt, and 7 came from it (usage)"
    }
    assert run.invalid is not None


def test_a_depth_may_lack_what_fills_no_block(answering: FakeServer) -> None:
    run = measured(CachingServer(answering, VLLM, api="completions", block=8), 20)
    assert [one.value("cached_tokens") for one in run.rounds] == [16, 16]
    assert run.invalid is None


def test_a_depth_is_for_texts_alone(answering: FakeServer) -> None:
    engine = ServedEngine(CachingServer(answering, VLLM, api="chat"), 60)
    with pytest.raises(UsageError, match=r"server\.endpoint=completions"):
        engine.deepen(20, 0, 8)
    assert engine.deepen(0, 0, 8) is None
    engine.close()
    engine = ServedEngine(CachingServer(answering, VLLM, api="completions"), 60)
    found = engine.deepen(20, 0, 8)
    assert isinstance(found, Depth)
    assert (found.tokens, found.size) == (20, None)
    engine.prepare(cold=True)
    with pytest.raises(UsageError, match="a text as its prompt"):
        engine.generate(Prompt(messages=({"role": "user", "content": "one"},)), PARAMS)
    engine.close()


def test_a_server_that_tokenizes_counts_a_prompt_without_generating(answering: FakeServer) -> None:
    server = CachingServer(answering, VLLM)
    engine = ServedEngine(server, 60)
    assert len((engine.prompt_of_tokens(40, 1).text or "").split()) == 40
    assert server.bodies == []
    server.tokenizes = False
    assert len((engine.prompt_of_tokens(40, 1).text or "").split()) == 40
    assert [body["max_tokens"] for body in server.bodies] == [1]
    engine.close()


def test_a_use_of_nothing_is_none(answering: FakeServer) -> None:
    engine = ServedEngine(CachingServer(answering, VLLM), 60)
    engine.prepare(cold=False)
    generation = engine.generate(Prompt(text="one"), PARAMS)
    assert isinstance(engine.reuse(generation), CacheUse)
    assert generation.answer == generation.text
    engine.close()

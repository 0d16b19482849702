"""Does a depth lie before the prompt, exactly as deep as was asked, and only where it was asked?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.registry import Registry, reference_of
from pytest_llmbench.errors import PromptTooLongError
from pytest_llmbench.measure.engine import EngineSpec, Prompt
from pytest_llmbench.measure.loop import EnginePool, Plan, measure
from pytest_llmbench.measure.run import Run
from tests.engines.contract import CHAT, TEXT, Tiny

BACKENDS = {"llamacpp": "f16", "transformers": "f32"}
MODULES = {"llamacpp": "llama_cpp", "transformers": "torch"}


class Silent:
    """Shows nothing."""

    def loading(self, label: str) -> None: ...

    def asking(self, label: str, what: str) -> None: ...

    def round(self, *_: object, **__: object) -> None: ...


@pytest.fixture(scope="module")
def pool() -> Iterator[EnginePool]:
    made = EnginePool()
    yield made
    made.close()


@pytest.fixture(scope="module", params=BACKENDS)
def plan(request: pytest.FixtureRequest, tiny: Tiny) -> Plan:
    pytest.importorskip(MODULES[request.param])
    backend = Registry().get(request.param)
    engine = EngineSpec(
        request.param,
        reference_of(backend),
        tiny(BACKENDS[request.param], backend.form),
        option_values(backend, {"n_threads": 1, "n_ctx": 512}),
    )
    params = GenerationParams(max_new_tokens=4)
    return Plan(engine, params, rounds=2, warmup_rounds=1, isolation="model", prompt_tokens=16)


def measured(plan: Plan, pool: EnginePool) -> Run:
    run = Run("depth", plan.protocol())
    measure(plan, run, pool, None, Silent())
    assert run.invalid is None
    return run


def test_each_round_finds_the_depth_and_evaluates_its_own_tokens(plan: Plan, pool: EnginePool) -> None:
    run = measured(replace(plan, depth=200), pool)
    assert run.protocol["depth"] == 200
    for one in run.rounds:
        assert one.timeline.prompt_tokens == 216
        assert one.value("cached_tokens") == one.value("cached_possible") == 200
        assert one.value("prefill_throughput") is None
        prefilled = one.timeline.prefilled
        assert prefilled is not None
        speed = 16 / (prefilled - one.timeline.tokenized) * 1e9
        assert one.value("uncached_prefill_throughput") == pytest.approx(speed)


def test_one_token_can_be_asked_for_below_a_depth(plan: Plan, pool: EnginePool) -> None:
    run = measured(replace(plan, depth=50, prompt_tokens=1), pool)
    assert [one.timeline.prompt_tokens for one in run.rounds] == [51, 51]


@pytest.mark.parametrize("prompt", [TEXT, CHAT], ids=["text", "chat"])
def test_a_prompt_in_own_words_stands_behind_the_depth(plan: Plan, pool: EnginePool, prompt: str) -> None:
    asked = replace(plan, prompt=Prompt.of(prompt), prompt_tokens=None)
    alone = measured(asked, pool).rounds[0].timeline.prompt_tokens
    below = measured(replace(asked, depth=50), pool).rounds[0]
    assert below.value("cached_tokens") == 50
    # The begin token is the depth's.
    assert below.timeline.prompt_tokens == 50 + alone - 1


def test_nothing_of_a_depth_is_left_for_the_next_test_that_shares_the_engine(
    plan: Plan, pool: EnginePool
) -> None:
    first = measured(plan, pool).rounds[0].timeline
    measured(replace(plan, depth=200), pool)
    after = measured(plan, pool)
    assert [one.timeline.prompt_tokens for one in after.rounds] == [16, 16]
    assert [one.timeline.output_hash for one in after.rounds] == [first.output_hash] * 2
    assert all(one.value("cached_tokens") is None for one in after.rounds)
    kept = measured(replace(plan, prefix_cache=True, warmup_rounds=0), pool)
    assert [one.value("cached_tokens") for one in kept.rounds] == [0, 15]


def test_a_depth_without_room_for_prompt_and_answer_is_refused_before_it_is_evaluated(
    plan: Plan, pool: EnginePool
) -> None:
    with pytest.raises(PromptTooLongError, match=r"500 tokens .*room for 20 behind .*n_ctx=520"):
        measured(replace(plan, depth=500), pool)

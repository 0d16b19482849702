"""What does a backend promise beyond the others, whose engine says what it reuses of its KV cache?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams, GivesLogits, Reuse
from pytest_llmbench.errors import PromptTooLongError
from pytest_llmbench.measure.kv_cache import CacheWatch
from pytest_llmbench.models.spec import ResolvedModel
from pytest_llmbench.workloads.prompts import prompt_of_tokens
from pytest_llmbench.workloads.scenarios.conversation import (
    PLACEMENTS,
    Conversation,
    Made,
    Placement,
    Turn,
    messages_at,
)
from tests.engines.contract import TEXT, EngineContract, InterruptedSink, generated

RAG = Conversation(
    name="rag",
    system="You are a helpful assistant.",
    documents={"manual": Made(64)},
    turns=(
        Turn(user=Made(16)),
        Turn(user=Made(8), add=("manual",)),
        Turn(user=Made(8)),
        Turn(user=Made(8)),
        Turn(user=Made(8), remove=("manual",)),
        Turn(user=Made(4)),
    ),
)
"""A document comes in the second turn and goes in the fifth."""
LEFT: Mapping[Placement, list[int]] = {"system": [2, 5], "inline": [5], "last": [3, 4, 5]}
"""The turns whose prompts do not go on with what the turn before left, by where the document stands."""


class CachingContract(EngineContract):
    """What is promised beyond it by an engine that says what it reuses of its KV cache."""

    def reused(self, engine: Any) -> int:
        """Of the last prompt: what the engine says, which has to be known."""
        told: Reuse = engine.reused()
        assert (told.source, told.reason, told.doubt) == ("cut", None, None)
        assert told.tokens is not None
        return told.tokens

    @pytest.mark.parametrize("placement", PLACEMENTS)
    def test_what_is_reused_of_a_conversation_is_what_its_ids_allow_and_changes_no_answer(
        self, engine: Any, evaluated: list[int], placement: Placement
    ) -> None:
        watch = CacheWatch(engine)
        assert watch.caching is engine
        talk = replace(RAG, placement=placement).fill(
            lambda tokens, number: prompt_of_tokens(tokens, engine.tokenize, engine.detokenize, seed=number)
        )
        texts: list[str] = []
        answers: list[list[int]] = []
        held: list[int] = []
        left: list[int] = []
        for turn in range(1, len(talk.turns) + 1):
            prompt = watch.prompt_of("", messages_at(talk, turn, texts), answers)
            common = next(
                (n for n, pair in enumerate(zip(held, prompt, strict=False)) if len({*pair}) > 1), None
            )
            evaluated.clear()
            answer = generated(engine, prompt, max_new_tokens=8)
            reused = self.reused(engine)
            assert reused == (len(held) if common is None else common)
            assert watch.after(prompt, answer)["possible"] == reused
            assert sum(evaluated) == len(prompt) - reused + len(answer) - 1
            left += [turn] if reused < len(held) else []
            engine.reset()
            assert generated(engine, prompt, max_new_tokens=8) == answer
            assert self.reused(engine) == 0
            held = [*prompt, *answer[:-1]]
            answers.append(answer)
            texts.append(engine.detokenize(answer))
        assert left == LEFT[placement]

    def test_the_last_token_of_a_repeated_prompt_is_evaluated_again(
        self, engine: Any, evaluated: list[int]
    ) -> None:
        prompt = engine.tokenize(TEXT)
        first = generated(engine, prompt, max_new_tokens=1)
        assert generated(engine, prompt, max_new_tokens=1) == first
        assert evaluated == [len(prompt), 1]
        assert self.reused(engine) == len(prompt) - 1

    def test_what_was_generated_is_reused_but_for_its_last_token(self, engine: Any) -> None:
        prompt = engine.tokenize(TEXT)
        answer = generated(engine, prompt, max_new_tokens=4)
        generated(engine, [*prompt, *answer, *engine.tokenize_part(" again")], max_new_tokens=1)
        assert self.reused(engine) == len(prompt) + 3

    def test_nothing_is_reused_after_a_generation_that_was_interrupted(self, engine: Any) -> None:
        prompt = engine.tokenize(TEXT)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(prompt, GenerationParams(max_new_tokens=6), InterruptedSink())
        watch = CacheWatch(engine)
        watch.lost()
        generated(engine, prompt, max_new_tokens=1)
        assert self.reused(engine) <= len(prompt) - 1
        assert watch.after(prompt, [0])["possible"] is None

    def test_what_was_evaluated_is_there_as_often_as_it_is_restored(
        self, engine: Any, evaluated: list[int]
    ) -> None:
        depth = (engine.tokenize(TEXT) * 30)[:150]
        prompt = [*depth, *engine.tokenize_part(" and so on")]
        cold = generated(engine, prompt, max_new_tokens=8)
        engine.evaluate(depth)
        state = engine.save_state()
        assert state.tokens == tuple(depth)
        assert state.size > 0
        for _ in range(2):
            generated(engine, [*depth[:60], *depth], max_new_tokens=4)
            engine.restore_state(state)
            evaluated.clear()
            assert generated(engine, prompt, max_new_tokens=8) == cold
            assert self.reused(engine) == len(depth)
            assert sum(evaluated) == len(prompt) - len(depth) + 7
        engine.reset()
        generated(engine, prompt, max_new_tokens=1)
        assert self.reused(engine) == 0

    @pytest.mark.parametrize("given", [0, 3])
    def test_of_its_logits_the_largest_is_the_token_that_comes_next(
        self, engine: Any, evaluated: list[int], given: int
    ) -> None:
        assert isinstance(engine, GivesLogits)
        prompt, params = engine.tokenize(TEXT), GenerationParams()
        answer = generated(engine, prompt, max_new_tokens=4)
        evaluated.clear()
        logits = engine.logits([*prompt, *answer[:given]], len(prompt), params)
        assert logits.index(max(logits)) == answer[given]
        assert evaluated == [len(prompt), *[1] * given]
        # Nothing is gone on with that it left.
        assert generated(engine, prompt, max_new_tokens=4) == answer

    def test_its_logits_hardly_depend_on_what_is_evaluated_at_once(self, engine: Any) -> None:
        prompt, params = engine.tokenize(TEXT), GenerationParams(ignore_eos=False)
        whole, single = (engine.logits(prompt, at_once, params) for at_once in (len(prompt), 1))
        assert single == pytest.approx(whole, abs=0.1)
        assert max(whole) - min(whole) > 1

    @pytest.mark.parametrize("ignore_eos", [False, True])
    def test_a_token_that_must_not_come_has_no_logit(
        self, engine: Any, monkeypatch: pytest.MonkeyPatch, ignore_eos: bool
    ) -> None:
        prompt = engine.tokenize(TEXT)
        (first,) = generated(engine, prompt, max_new_tokens=1)
        self.end_with(engine, first, monkeypatch)
        logits = engine.logits(prompt, len(prompt), GenerationParams(ignore_eos=ignore_eos))
        assert (logits[first] == float("-inf")) == ignore_eos
        assert (logits.index(max(logits)) == first) != ignore_eos

    def test_a_depth_that_does_not_fit_names_the_option_and_evaluates_nothing(
        self, model: ResolvedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine = self.load(model, **{self.context: 64})
        sizes = self.count_evaluated(engine, monkeypatch)
        depth = (engine.tokenize(TEXT) * 20)[:50]
        told = rf"50 tokens .*depth.* 20 behind them.*holds 64.*{self.backend.name}\.{self.context}=70"
        with pytest.raises(PromptTooLongError, match=told):
            engine.evaluate(depth, 20)
        assert sizes == []
        engine.evaluate(depth, 14)
        engine.close()

    def test_a_part_of_a_chat_has_its_special_tokens_parsed_and_none_before_it(self, engine: Any) -> None:
        begin = self.special_text(engine)
        assert engine.tokenize_part(begin) == engine.tokenize("")
        assert engine.tokenize_part("") == []

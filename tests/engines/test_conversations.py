"""Do real engines have in their caches what a conversation allows, to the token, and say the same for it?"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import pytest

from pytest_llmbench.backends import llama_engine, transformers_cache
from pytest_llmbench.bench.chat import LLMChat
from pytest_llmbench.bench.runtime import Runtime
from pytest_llmbench.measure.same_output import OutputDiffersError
from pytest_llmbench.workloads.scenarios.conversation import PLACEMENTS, Conversation, Made, Placement, Turn

BACKENDS = ["llamacpp", "transformers"]
EXACT = {"llamacpp": {"type_k": "f32", "type_v": "f32", "flash_attn": "off"}}
"""What rounds least: with random weights, two tokens are often nearly as likely."""
RAG = Conversation(
    name="rag",
    system=Made(24),
    documents={"report": Made(120)},
    turns=(
        Turn(user="What is this about?"),
        Turn(user="And what does the report say?", add=("report",)),
        Turn(user=Made(16)),
        Turn(user="Forget the report. What is left?", remove=("report",)),
        Turn(user="Thank you."),
    ),
)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def chat(backend: str) -> Iterator[LLMChat]:
    with Runtime(monitor_rate=0) as runtime:
        settings = {
            "quantizations": "f32",
            "backend_options": {k: v for k, v in EXACT.items() if k == backend},
        }
        chats = LLMChat.each(
            runtime, models="tiny", backends=backend, max_new_tokens=8, rounds=2, warmup_rounds=0, **settings
        )
        yield next(chats)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_hits_are_what_the_ids_allow_to_the_token_and_change_no_output(
    chat: LLMChat, placement: Placement
) -> None:
    # It raises if a warm output is another than the cold one.
    run = chat.run(RAG, placement=placement, cache="paired")
    assert run.turns == 5
    before = 0
    for turn in range(1, 6):
        warm, cold = run.turn(turn, "warm"), run.turn(turn, "cold")
        for one in warm.rounds:
            assert one.cached_tokens == one.cached_possible, (turn, one)
            assert one.cache is not None
            assert one.cache.source == "cut"
        if turn == 1:
            assert warm is cold
        else:
            assert {one.cached_tokens for one in cold.rounds} == {0}
            assert [one.turn.same_output for one in warm.rounds if one.turn is not None] == [True, True]
            assert warm.cache_speedup.n == 2
            assert warm.prefill_throughput.n == 0
            assert warm.uncached_prefill_throughput.n == 2
        (cached,) = {one.cached_tokens for one in warm.rounds}
        (prompt,) = {one.timeline.prompt_tokens for one in warm.rounds}
        (break_at,) = {one.cache.break_at for one in warm.rounds if one.cache is not None}
        # Where the prompt left what lay there, or else it has all of it: the prompt and the answer before,
        # but for the answer's last token.
        assert break_at == cached or (break_at is None and cached == (before + 7 if before else 0))
        if turn == 3:
            # The document that came in stays where it is, or moves on to the last question.
            assert (break_at is None) == (placement != "last")
        before = prompt
    assert run.cache_hit_rate is not None
    assert 0 < run.cache_hit_rate < 1


@pytest.mark.parametrize(
    ("backend", "quantization"),
    [
        ("llamacpp", "f16"),
        ("llamacpp", "q8_0"),
        ("llamacpp", "q4_0"),
        ("transformers", "f16"),
        ("transformers", "bf16"),
    ],
)
def test_rounding_is_not_taken_for_a_wrong_cache(backend: str, quantization: str) -> None:
    with Runtime(monitor_rate=0) as runtime:
        chats = LLMChat.each(
            runtime,
            models="tiny",
            backends=backend,
            quantizations=quantization,
            max_new_tokens=24,
            rounds=1,
            warmup_rounds=0,
        )
        # With random weights, two tokens are often nearly as likely: it warns then, and does not raise.
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run = next(chats).run(RAG, cache="paired")
    turns = [one.turn for turn in range(2, 6) for one in run.turn(turn).rounds if one.turn is not None]
    assert all(one.same_output or one.tie for one in turns)
    assert len([one for one in told if "warm turn" in str(one.message)]) == any(one.tie for one in turns)


@pytest.mark.parametrize(("backend", "quantization"), [("llamacpp", "q8_0"), ("transformers", "bf16")])
def test_a_wrong_cache_is_not_taken_for_rounding(
    backend: str, quantization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_shared(held: Sequence[int], prompt: Sequence[int]) -> int:
        return min(len(held), len(prompt))

    # What it holds is never cut out: a document that is gone is still there.
    monkeypatch.setattr(llama_engine, "common_prefix", all_shared)
    monkeypatch.setattr(transformers_cache, "common_prefix", all_shared)
    with Runtime(monitor_rate=0) as runtime:
        chats = LLMChat.each(
            runtime,
            models="tiny",
            backends=backend,
            quantizations=quantization,
            max_new_tokens=8,
            rounds=1,
            warmup_rounds=0,
            isolation="none",
        )
        with pytest.raises(OutputDiffersError, match=r"turn 4 .*rounding does not explain that"):
            next(chats).run(RAG, cache="paired")


def test_turn_by_turn_the_history_is_what_was_generated(chat: LLMChat) -> None:
    first = chat.turn("Say something.")
    second = chat.turn("And something else.", documents={"a": "A text about the sea."})
    third = chat.turn(Made(12))
    assert first.cached_tokens == 0
    assert second.cached_tokens is not None
    assert second.cached_tokens < first.round.timeline.prompt_tokens
    assert third.cached_tokens == second.round.timeline.prompt_tokens + 7
    for _ in range(2):
        chat.reset()
        again = chat.turn("Say something.")
        assert again.text == first.text
    # It raises if a warm output is another than the cold one.
    chat.finish()
    assert chat.chats[0].turn(1).ttft.n == 3

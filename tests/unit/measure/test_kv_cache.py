"""What could a prompt have reused, and what did it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams, Reuse, SavedState, Sink
from pytest_llmbench.errors import EngineError
from pytest_llmbench.measure import kv_cache
from pytest_llmbench.measure.kv_cache import NOT_TOLD, CacheWatch, Choice
from pytest_llmbench.workloads.messages import Message


class PlainEngine:
    """One that keeps nothing; a character is a token."""

    context_length = 100
    info: dict[str, Any] = {}  # noqa: RUF012

    def tokenize(self, text: str) -> list[int]:
        return [0, *map(ord, text)]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    def render_chat(self, messages: Sequence[Message]) -> str:
        return "".join(f"<{one['role']}>{one['content']}" for one in messages)

    def tokenize_rendered(self, text: str) -> list[int]:
        return self.tokenize(text)

    def reset(self) -> None: ...

    def generate(self, prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
        return "length"

    def close(self) -> None: ...


class KeepingEngine(PlainEngine):
    """One that says what a test wants of its cache."""

    def __init__(self) -> None:
        self.reuse = Reuse(0, "cut")

    def reused(self) -> Reuse:
        return self.reuse

    def tokenize_part(self, text: str) -> list[int]:
        return [*map(ord, text)]

    def evaluate(self, tokens: Sequence[int], room: int = 1) -> None: ...

    def save_state(self) -> SavedState:
        return SavedState((5, 6, 7), 12, None)

    def restore_state(self, state: SavedState) -> None: ...


def chat(*contents: str) -> list[Message]:
    roles = ["user", "assistant"] * len(contents)
    return [Message(role=role, content=content) for role, content in zip(roles, contents, strict=False)]


def test_what_is_possible_is_the_common_beginning_of_the_ids() -> None:
    watch = CacheWatch(KeepingEngine())
    first = watch.after([1, 2, 3], [4, 5])
    assert (first["possible"], first["break_at"]) == (0, None)
    went_on = watch.after([1, 2, 3, 4, 5, 6], [7, 8])
    assert (went_on["possible"], went_on["break_at"]) == (4, None)
    left = watch.after([1, 2, 9, 9], [1])
    assert (left["possible"], left["break_at"]) == (2, 2)


def test_the_last_token_of_a_prompt_is_always_evaluated() -> None:
    watch = CacheWatch(KeepingEngine())
    watch.after([1, 2, 3], [4, 5])
    assert watch.after([1, 2, 3], [4])["possible"] == 2


def test_an_emptied_cache_has_nothing_and_a_lost_one_nothing_that_is_known() -> None:
    watch = CacheWatch(KeepingEngine())
    watch.after([1, 2, 3], [4])
    watch.empty()
    assert watch.after([1, 2, 3], [4])["possible"] == 0
    watch.lost()
    assert watch.after([1, 2, 3], [4])["possible"] is None


def test_an_engine_that_does_not_tell_has_no_number() -> None:
    told = CacheWatch(PlainEngine()).after([1, 2], [3])
    assert (told["tokens"], told["reason"]) == (None, NOT_TOLD)


def test_answers_stand_in_a_prompt_by_their_ids() -> None:
    watch = CacheWatch(KeepingEngine())
    ids = watch.tokens_of(chat("Hi", "x", "More"), [(900, 901)])
    assert ids == [0, *map(ord, "<user>Hi<assistant>"), 900, 901, *map(ord, "<user>More")]


def test_a_template_that_drops_answers_gets_the_text() -> None:
    class Dropping(KeepingEngine):
        def render_chat(self, messages: Sequence[Message]) -> str:
            return super().render_chat([one for one in messages if one["role"] == "user"])

    ids = CacheWatch(Dropping()).tokens_of(chat("Hi", "x", "More"), [(900, 901)])
    assert ids == [0, *map(ord, "<user>Hi<user>More")]


def test_a_depth_is_what_a_cold_round_finds() -> None:
    watch = CacheWatch(KeepingEngine())
    assert watch.deepen([5, 6, 7], 3).size == 12
    prompt = watch.prompt_of("ab", None, ())
    assert prompt == [5, 6, 7, 97, 98]
    assert watch.after(prompt, [1])["possible"] == 3
    watch.empty()
    assert watch.after(prompt, [1])["possible"] == 3
    watch.shallow()
    assert watch.prompt_of("ab", None, ()) == [0, 97, 98]
    assert watch.after(prompt, [1])["possible"] == 0


def test_below_a_depth_a_chat_has_no_second_beginning_either() -> None:
    watch = CacheWatch(KeepingEngine())
    watch.deepen([5, 6, 7], 1)
    assert watch.prompt_of("", chat("Hi"), ()) == [5, 6, 7, *map(ord, "<user>Hi")]


def test_an_engine_that_keeps_nothing_has_no_depth() -> None:
    with pytest.raises(EngineError, match="depth is not possible"):
        CacheWatch(PlainEngine()).deepen([1], 1)


class Weighing(KeepingEngine):
    """Rounds by 0.01 where less than four tokens are evaluated at once, and must not take token 3."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[list[int], int]] = []

    def logits(self, tokens: Sequence[int], at_once: int, params: GenerationParams) -> Sequence[float]:
        self.asked.append((list(tokens), at_once))
        return [1.0, 2.5, 0.0 if at_once > 3 else 0.01, float("-inf")]


def test_what_an_engine_rounds_is_the_most_that_a_logit_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache, "ONE_BY_ONE", 3)
    engine = Weighing()
    watch = CacheWatch(engine)
    watch.after([5, 6], [7, 8])
    assert watch.choice([5, 6, 7, 8], [9], (1, 0), GenerationParams()) == Choice(1.5, 0.01)
    assert engine.asked == [([5, 6, 7, 8, 9], 4), ([5, 6, 7, 8, 9], 1)]
    # Nothing is in the cache any more.
    assert watch.after([5, 6], [7])["possible"] == 0


def test_an_engine_without_logits_does_not_tell_how_near_two_tokens_are() -> None:
    assert CacheWatch(KeepingEngine()).choice([1, 2], [], (1, 0), GenerationParams()) is None


@pytest.mark.parametrize(
    ("gap", "rounding", "tie"),
    [(0.02, 0.01, True), (0.021, 0.01, False), (0.0, 0.0, False), (0.0, float("inf"), False)],
)
def test_a_choice_is_a_tie_where_rounding_can_turn_it_round(gap: float, rounding: float, tie: bool) -> None:
    assert Choice(gap, rounding).tie is tie


def test_what_an_engine_doubts_is_told() -> None:
    engine = KeepingEngine()
    engine.reuse = Reuse(2, "cut", doubt="its count differs")
    assert CacheWatch(engine).after([1, 2, 3], [4])["doubt"] == "its count differs"

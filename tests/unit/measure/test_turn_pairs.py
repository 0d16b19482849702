"""Is a conversation held by both sides in alternation, and does each of its turns get its pair?"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import EngineError
from pytest_llmbench.measure import pairs as side_by_side
from pytest_llmbench.measure.engine import EngineProcess, EngineSpec, Generation, Prompt
from pytest_llmbench.measure.loop import EnginePool, Plan
from pytest_llmbench.measure.same_output import OutputDiffersError
from pytest_llmbench.measure.turn_pairs import ChatSide, TurnPairs
from pytest_llmbench.measure.turns import ChatPlan, ChatRun
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Turn

FAKES = Path(__file__).parents[2] / "fakes"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, bool]]:
    """Which process was asked what, and whether its cache was emptied before."""
    monkeypatch.syspath_prepend(FAKES)
    found: list[tuple[int, str, bool]] = []
    cold: dict[int, bool] = {}
    prepare, generate = EngineProcess.prepare, EngineProcess.generate

    def prepared(self: EngineProcess, **how: Any) -> None:
        cold[self.pid] = bool(how["cold"])
        prepare(self, **how)

    def generated(self: EngineProcess, prompt: Prompt, *args: Any, **how: Any) -> Generation:
        assert prompt.messages is not None
        found.append((self.pid, prompt.messages[-1]["content"], cold[self.pid]))
        return generate(self, prompt, *args, **how)

    monkeypatch.setattr(EngineProcess, "prepare", prepared)
    monkeypatch.setattr(EngineProcess, "generate", generated)
    return found


def sides(
    *said: str, cache: Literal["cold", "warm", "paired"] = "warm", tokens: int = 3, **more: Any
) -> tuple[ChatSide, ChatSide]:
    model = ResolvedModel(ModelSpec("tiny"), "hf", Path("nowhere"), "sha256:0", 1, "f16", 1)
    options = {"context": 4096, "seconds_per_token": 0.0, "load": ""}
    spec = EngineSpec("fake", "llmbench_fake:backend", model, options, python=sys.executable)
    params = GenerationParams(max_new_tokens=3)
    plan = Plan(spec, params, rounds=2, warmup_rounds=0, timeout=60, **more)
    turns = tuple(Turn(user=text) for text in said)
    now = ChatPlan(plan, Conversation(name="c", turns=turns), cache)
    base = replace(now, plan=replace(plan, params=replace(params, max_new_tokens=tokens)))
    return ChatSide(base, ChatRun.of(base, "c", "@base")), ChatSide(now, ChatRun.of(now, "c"))


def source(base: ChatSide, now: ChatSide) -> TurnPairs:
    return TurnPairs(base, now, EnginePool(), None, Progress(), coin=random.Random(0))


def test_both_sides_take_each_turn_in_alternation_and_each_has_its_pair(
    asked: list[tuple[int, str, bool]],
) -> None:
    base, now = sides("one", "two", cache="paired")
    measured = source(base, now)
    pairs = measured.pairs()
    assert measured.keys == [(1, "cold"), (2, "warm"), (2, "cold")]
    assert len({pid for pid, _, _ in asked}) == 2
    steps = [(text, cold) for _, text, cold in asked]
    once = [("one", True), ("two", False), ("two", True)]
    assert steps[::2] == steps[1::2] == once * 2
    assert all(asked[i][0] != asked[i + 1][0] for i in range(0, len(asked), 2))
    # Who goes first is drawn each time.
    assert len({asked[i][0] for i in range(0, len(asked), 2)}) == 2
    for pair, (key, run) in zip(pairs, now.run.runs.items(), strict=True):
        assert pair.now is run.processes[0]
        assert pair.base is base.run.runs[key].processes[0]
        assert pair.invalid is None
        assert pair.difference("ttft") is not None
        assert len(pair.kept("ttft")) == 2
    assert [one.label for one in base.run] == ["c turn 1@base", "c turn 2@base", "c turn 2 cold@base"]
    assert measured.order is None


def test_what_a_process_has_itself_is_the_first_turns(asked: list[Any]) -> None:
    measured = source(*sides("one", "two"))
    first, second = measured.pairs()
    assert "process" in measured.scopes((1, "cold"))
    assert "process" not in measured.scopes((2, "warm"))
    assert first.difference("load_time") is not None
    assert second.difference("load_time") is None
    measured.pairs()


def test_other_lengths_are_not_the_same_work_and_it_is_said_what_helps(asked: list[Any]) -> None:
    pairs = source(*sides("one", "two", tokens=5)).pairs()
    assert all(pair.invalid is not None for pair in pairs)
    assert "with --llm-history=recorded" in (pairs[1].invalid or "")


def test_impossible_hits_make_that_turns_pair_invalid(asked: list[Any]) -> None:
    first, second = source(*sides("one", "two !overclaims")).pairs()
    assert first.invalid is None
    assert "on the base side, " in (second.invalid or "")
    assert "are said to have come from the cache" in (second.invalid or "")


def test_where_memory_does_not_hold_both_one_side_comes_after_the_other(
    asked: list[tuple[int, str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "room_for_another", lambda record: False)
    base, now = sides("one", "two")
    measured = source(base, replace(now, chat=replace(now.chat, same_output=False)))
    base.chat = replace(base.chat, same_output=False)
    pairs = measured.pairs()
    pids = [pid for pid, _, _ in asked]
    assert pids == [pids[0]] * 4 + [pids[-1]] * 4
    assert not pairs[0].alternating
    assert measured.order is not None


def test_a_warm_output_that_differs_is_told_after_the_pairs(asked: list[Any]) -> None:
    measured = source(*sides("one", "two !differs"))
    measured.pairs()
    with pytest.raises(OutputDiffersError, match="turn 2 from its token 3 on"):
        measured.check()


def test_a_failure_keeps_every_turn_of_both_sides(asked: list[Any]) -> None:
    base, now = sides("one", "two !raise")
    with pytest.raises(EngineError) as caught:
        source(base, now).pairs()
    assert caught.value.__notes__[-1] == "2 measured turns of both sides are kept."
    assert [len(run.rounds) for run in (base.run.turn(1), now.run.turn(1))] == [1, 1]

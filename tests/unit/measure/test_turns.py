"""What is measured of a conversation, and where does each round of it go?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import UsageError
from pytest_llmbench.measure.engine import EngineSpec
from pytest_llmbench.measure.facts import TurnFacts
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.run import ProcessRun, Round
from pytest_llmbench.measure.turns import ChatPlan, ChatRun
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Turn


def round_of(turn: int, cache: str, prompt: int = 10, cached: int = 0) -> Round:
    line = Timeline(
        sent=0,
        tokenized=1,
        prefilled=2,
        token_times=(3, 4),
        done=5,
        prompt_tokens=prompt,
        output_tokens=2,
        output_hash="",
        prompt_hash="",
        finish_reason="length",
    )
    facts = TurnFacts(conversation="c", turn=turn, repetition=1, cache=cache)
    return Round(line, turn=facts, measured={"cached_tokens": float(cached)})


def chat(turns: int = 2, cache: Literal["cold", "warm", "paired"] = "paired") -> ChatPlan:
    model = ResolvedModel(ModelSpec("tiny"), "hf", Path("nowhere"), "sha256:0", 1, "f16", 1)
    plan = Plan(EngineSpec("fake", "x:y", model, {}), GenerationParams(max_new_tokens=7))
    said = [Turn(user=str(n), max_new_tokens=9 if n == 2 else None) for n in range(1, turns + 1)]
    return ChatPlan(plan, Conversation(name="c", turns=tuple(said)), cache)


@pytest.mark.parametrize(
    ("cache", "labels"),
    [
        ("cold", ["c turn 1", "c turn 2 cold", "c turn 3 cold"]),
        ("warm", ["c turn 1", "c turn 2", "c turn 3"]),
        ("paired", ["c turn 1", "c turn 2", "c turn 2 cold", "c turn 3", "c turn 3 cold"]),
    ],
)
def test_each_turn_and_each_way_is_a_run_and_the_first_turn_has_one(
    cache: Literal["cold", "warm", "paired"], labels: list[str]
) -> None:
    run = ChatRun.of(chat(3, cache), "c")
    assert [one.label for one in run] == labels
    assert run.turn(1, "warm") is run.turn(1, "cold") is run.turn(1)
    assert run.turn(1).protocol["prefix_cache"] is False
    assert run.turn(2).protocol["prefix_cache"] is (cache != "cold")


def test_a_turn_is_measured_by_its_own_length_and_the_protocol_says_where_it_stands() -> None:
    run = ChatRun.of(chat(), "c")
    told = [(one.protocol["turn"], one.protocol["max_new_tokens"], one.protocol["turns"]) for one in run]
    assert told == [(1, 7, 2), (2, 9, 2), (2, 9, 2)]
    assert ChatRun.of(replace(chat(), whole=False), "c").turn(1).protocol["turns"] is None


def test_a_turn_that_was_not_asked_so_is_said_to_be_none() -> None:
    run = ChatRun.of(chat(cache="warm"), "c")
    with pytest.raises(UsageError, match="not measured at turn 2 with a cold cache; it has turns 1 to 2"):
        run.turn(2, "cold")
    with pytest.raises(UsageError, match="not measured at turn 7; it has turns 1 to 2"):
        run.turn(7)
    with pytest.raises(UsageError, match="it has no turn yet"):
        ChatRun("c").turn(1)


def test_each_turn_has_its_own_rounds_and_the_process_is_told_of_once() -> None:
    run = ChatRun.of(chat(), "c")
    record = ProcessRun(1, {}, {}, measured={"peak_rss": 5.0})
    rounds = [round_of(1, "cold"), round_of(2, "warm", 30, 20), round_of(2, "cold", 30)]
    run.begin(record)
    for one in rounds:
        run.add(one, "text")
    # Known only when the process is over.
    record.unwatched = "the hardware monitor is off"
    run.end()
    assert [one.rounds for one in run] == [[one] for one in rounds]
    assert [one.processes[0].measured for one in run] == [{"peak_rss": 5.0}, {}, {}]
    assert [one.processes[0].unwatched for one in run] == ["the hardware monitor is off"] * 3
    assert run.turn(2, "cold").rounds == [rounds[2]]
    assert (run.kept, run.turn(2).text) == (3, "text")
    # Of what was asked both ways, the warm one: 20 of 10 + 30.
    assert run.cache_hit_rate == 20 / 40


def test_a_process_in_which_no_turn_was_measured_is_kept_as_well() -> None:
    run = ChatRun.of(chat(), "c")
    run.begin(ProcessRun(1, {}, {}, measured={"load_time": 2.0}))
    run.end()
    run.end()
    assert [len(one.processes) for one in run] == [1, 0, 0]
    assert run.turn(1).processes[0].load_time == 2.0


def test_two_processes_have_each_its_part_in_a_turn() -> None:
    run = ChatRun.of(chat(cache="warm"), "c")
    for pid in (1, 2):
        run.begin(ProcessRun(pid, {}, {}))
        for _ in range(2):
            run.add(round_of(1, "cold"), "")
            run.add(round_of(2, "warm"), "")
        run.end()
    assert [[(p.pid, len(p.rounds)) for p in one.processes] for one in run] == [[(1, 2), (2, 2)]] * 2


def test_it_is_printed_as_a_table_by_turn() -> None:
    run = ChatRun.of(replace(chat(3), conversation=replace(chat(3).conversation, name="rag")), "rag")
    run.begin(ProcessRun(1, {}, {}))
    first, second = round_of(1, "cold"), round_of(2, "warm", 30, 20)
    first.measured["cached_possible"] = 0.0
    second.measured |= {"cached_possible": 21.0, "cache_speedup": 6.26}
    for one in (first, second, round_of(2, "cold", 30)):
        run.add(one, "")
    head, *turns, last = str(run).splitlines()
    assert " ".join(head.split()) == "rag: turn prompt cached/possible ttft cold ttft warm speedup"
    assert [line.split() for line in turns] == [
        ["1", "10", "0/0", "3.00", "ns", "-", "-"],
        ["2", "30", "20/21", "3.00", "ns", "3.00", "ns", "×6.3"],
        ["3", "-", "-/-", "-", "-", "-"],
    ]
    assert last == "hit rate 50%"
    assert len({len(line) for line in (head, *turns)}) == 1

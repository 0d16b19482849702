"""In which order are the turns of a conversation asked, and what is kept of each?"""

from __future__ import annotations

from pytest_llmbench.measure.facts import TurnFacts
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.measure.turns import ChatRun
from pytest_llmbench.metrics.timeline import Timeline


def round_of(turn: int, cache: str, prompt: int, cached: int) -> Round:
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


def test_each_turn_has_its_own_rounds_and_the_process_is_told_of_once() -> None:
    run = ChatRun("c", 2, {(n, way): Run("", {}) for n in (1, 2) for way in ("warm", "cold")})
    rounds = [
        round_of(1, "warm", 10, 0),
        round_of(1, "cold", 10, 0),
        round_of(2, "warm", 30, 20),
        round_of(2, "cold", 30, 0),
    ]
    run.take(ProcessRun(1, {}, {}, rounds, {"peak_rss": 5.0}))
    assert [len(one.rounds) for one in run.runs.values()] == [1, 1, 1, 1]
    assert [one.processes[0].measured for one in run.runs.values()] == [{"peak_rss": 5.0}, {}, {}, {}]
    assert run.turn(2).rounds == [rounds[2]]
    assert run.turn(2, "cold").rounds == [rounds[3]]
    assert run.cache_hit_rate == 20 / 40


def test_it_is_printed_as_a_table_by_turn() -> None:
    run = ChatRun("rag", 3, {(n, way): Run("", {}) for n in (1, 2, 3) for way in ("warm", "cold")})
    second = round_of(2, "warm", 30, 20)
    second.measured |= {"cached_possible": 21.0, "cache_speedup": 6.26}
    run.take(ProcessRun(1, {}, {}, [round_of(1, "warm", 10, 0), second, round_of(2, "cold", 30, 0)]))
    head, *turns, last = str(run).splitlines()
    assert head.split() == [
        "rag:",
        "turn",
        "prompt",
        "cached/possible",
        "ttft",
        "cold",
        "ttft",
        "warm",
        "speedup",
    ]
    assert [line.split() for line in turns] == [
        ["1", "10", "0/-", "-", "3.00", "ns", "-"],
        ["2", "30", "20/21", "3.00", "ns", "3.00", "ns", "×6.3"],
        ["3", "-", "-/-", "-", "-", "-"],
    ]
    assert last == "hit rate 50%"
    assert len({len(line) for line in (head, *turns)}) == 1

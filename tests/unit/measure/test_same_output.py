"""When is a warm cache accused of changing what the model generates?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import LLMBenchWarning
from pytest_llmbench.measure.engine import EngineSpec, Generation
from pytest_llmbench.measure.facts import TurnFacts
from pytest_llmbench.measure.kv_cache import Choice
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.run import Round
from pytest_llmbench.measure.same_output import OutputDiffersError, SameOutput
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel

MODEL = ResolvedModel(ModelSpec("tiny"), "hf", Path("nowhere"), "sha256:0", 1, "f16", 1)
PLAN = Plan(EngineSpec("fake", "x:y", MODEL, {}), GenerationParams(), prefix_cache=True)


def generation(prompt: str, *ids: int, known: bool = True) -> Generation:
    line = Timeline(0, 1, 2, (3, 4), 5, 10, len(ids), str(ids), prompt, "length")
    return Generation(line, "", None, ids=ids if known else None)


def warm(of: Generation, turn: int = 2, repetition: int = 1) -> Round:
    return Round(
        of.timeline, turn=TurnFacts(conversation="c", turn=turn, repetition=repetition, cache="warm")
    )


class Engine:
    """Answers with what it is given, and writes down how it was asked."""

    def __init__(self, *answers: Generation) -> None:
        self.answers: Iterator[Generation] = iter(answers)
        self.asked: list[Plan] = []

    def __call__(self, plan: Plan) -> Generation:
        self.asked.append(plan)
        return next(self.answers)


def untold(*_: object) -> None:
    """An engine that does not tell how near two tokens are."""


class Weighs:
    """Tells the same of every two tokens, and writes down what it was asked."""

    def __init__(self, gap: float, rounding: float) -> None:
        self.choice = Choice(gap, rounding)
        self.asked: list[tuple[Plan, tuple[int, ...], tuple[int, int]]] = []

    def __call__(self, plan: Plan, output: Sequence[int], tokens: tuple[int, int]) -> Choice:
        self.asked.append((plan, tuple(output), tokens))
        return self.choice


def said(one: Round) -> bool | None:
    assert one.turn is not None
    return one.turn.same_output


def test_what_was_asked_both_ways_needs_no_further_question() -> None:
    same, engine, found = SameOutput("c"), Engine(), generation("p", 1, 2)
    measured = warm(found)
    same.asked(measured, found, PLAN, generation("p", 1, 2))
    same.settle(engine, untold)
    assert (said(measured), engine.asked) == (True, [])
    same.check()


def test_what_was_asked_warm_alone_is_asked_cold_once_for_all_rounds_and_processes() -> None:
    same, engine, found = SameOutput("c"), Engine(generation("p", 1, 2)), generation("p", 1, 2)
    rounds = [warm(found, repetition=n) for n in (1, 2, 3)]
    for one in rounds[:2]:
        same.asked(one, found, PLAN)
    same.settle(engine, untold)
    same.asked(rounds[2], found, PLAN)
    same.settle(engine, untold)
    assert [said(one) for one in rounds] == [True] * 3
    assert engine.asked == [replace(PLAN, prefix_cache=False)]


def test_another_output_fails_with_the_turn_and_the_token() -> None:
    same, found = SameOutput("c"), generation("p", 1, 2, 3)
    measured = warm(found, turn=4)
    same.asked(measured, found, PLAN, generation("p", 1, 2, 9))
    same.settle(Engine(generation("p", 1, 2, 9), generation("p", 1, 2, 9)), untold)
    assert said(measured) is False
    with pytest.raises(OutputDiffersError, match=r"conversation c: .*: turn 4 from its token 3 on; either"):
        same.check()


def test_where_ids_are_not_known_the_turn_alone_is_told() -> None:
    same, found = SameOutput("c"), generation("p", 1, known=False)
    same.asked(warm(found, repetition=2), found, PLAN)
    cold = generation("p", 2, known=False)
    same.settle(Engine(cold, cold), untold)
    with pytest.raises(OutputDiffersError, match=r"cold one: turn 2 \(round 2\); "):
        same.check()


def test_another_processs_output_does_not_accuse_the_cache_of_this_one() -> None:
    same, first, second = SameOutput("c"), generation("p", 1), generation("p", 2)
    same.asked(warm(first), first, PLAN)
    same.settle(Engine(generation("p", 1)), untold)
    measured = warm(second)
    same.asked(measured, second, PLAN)
    same.settle(Engine(generation("p", 2)), untold)
    assert said(measured) is True
    same.check()


def test_an_engine_that_does_not_repeat_itself_is_told_from_a_wrong_cache() -> None:
    same, found = SameOutput("c"), generation("p", 1)
    same.asked(warm(found), found, PLAN)
    same.settle(Engine(generation("p", 2), generation("p", 3)), untold)
    with pytest.raises(OutputDiffersError, match="does not repeat itself with an empty cache either"):
        same.check()


def test_after_an_answer_that_differs_later_prompts_are_not_asked() -> None:
    same, engine = SameOutput("c"), Engine(generation("p", 2), generation("p", 2))
    two, three = generation("p", 1), generation("q", 5)
    rounds = [warm(two), warm(three, turn=3)]
    for one, found in zip(rounds, (two, three), strict=True):
        same.asked(one, found, PLAN)
    same.settle(engine, untold)
    assert [said(one) for one in rounds] == [False, None]


def test_of_a_process_that_failed_nothing_is_asked() -> None:
    same, engine, found = SameOutput("c"), Engine(), generation("p", 1)
    same.asked(warm(found), found, PLAN)
    same.forget()
    same.settle(engine, untold)
    same.check()
    assert engine.asked == []


# -- where rounding decides ----------------------------------------------------------------------


def test_a_nearly_equal_choice_is_a_tie_that_is_warned_of_and_does_not_accuse_the_cache() -> None:
    same, found, weighs = SameOutput("c"), generation("p", 1, 2, 3), Weighs(0.002, 0.001)
    measured = warm(found, turn=4)
    same.asked(measured, found, PLAN)
    same.settle(Engine(*[generation("p", 1, 2, 9)] * 2), weighs)
    assert weighs.asked == [(PLAN, (1, 2), (3, 9))]
    assert measured.turn is not None
    assert (measured.turn.same_output, measured.turn.tie) == (False, True)
    told = r"1 warm turn had .*: turn 4 from its token 3 on \(logits 0.002 apart, rounding up to 0.001\)"
    with pytest.warns(LLMBenchWarning, match=told):
        same.check()


@pytest.mark.parametrize(("gap", "rounding"), [(0.0021, 0.001), (0.0, 0.0), (1.0, float("inf"))])
def test_what_rounding_does_not_explain_accuses_the_cache(gap: float, rounding: float) -> None:
    same, found = SameOutput("c"), generation("p", 1, 2, 3)
    measured = warm(found)
    same.asked(measured, found, PLAN, generation("p", 1, 2, 9))
    same.settle(Engine(*[generation("p", 1, 2, 9)] * 2), Weighs(gap, rounding))
    assert measured.turn is not None
    assert not measured.turn.tie
    told = rf"token 3 on \(logits {gap:g} apart, rounding up to {rounding:g}\); rounding does not explain"
    with pytest.raises(OutputDiffersError, match=told):
        same.check()


def test_an_answer_that_ended_is_held_against_one_that_did_not() -> None:
    same, weighs = SameOutput("c"), Weighs(0.001, 0.001)
    found, cold = replace(generation("p", 1, 2), end=7), generation("p", 1, 2, 3)
    same.asked(warm(found), found, PLAN, cold)
    same.settle(Engine(cold, cold), weighs)
    assert weighs.asked == [(PLAN, (1, 2), (7, 3))]


def test_the_same_two_answers_are_weighed_once_and_every_round_is_told() -> None:
    same, found, cold = SameOutput("c"), generation("p", 1, 2), generation("p", 1, 3)
    weighs = Weighs(0.001, 0.001)
    rounds = [warm(found, repetition=n) for n in (1, 2)]
    for one in rounds:
        same.asked(one, found, PLAN, cold)
    same.settle(Engine(cold, cold), weighs)
    assert len(weighs.asked) == 1
    with pytest.warns(LLMBenchWarning, match="2 warm turns had"):
        same.check()


def test_after_a_tie_later_prompts_are_asked() -> None:
    same, two, three = SameOutput("c"), generation("p", 1), generation("q", 5)
    rounds = [warm(two), warm(three, turn=3)]
    for one, found in zip(rounds, (two, three), strict=True):
        same.asked(one, found, PLAN)
    cold = generation("p", 2)
    same.settle(Engine(cold, cold, generation("q", 5)), Weighs(0.001, 0.001))
    assert [said(one) for one in rounds] == [False, True]


def test_where_ids_are_not_known_nothing_is_weighed() -> None:
    same, weighs = SameOutput("c"), Weighs(0.001, 0.001)
    found, cold = generation("p", 1, known=False), generation("p", 2, known=False)
    same.asked(warm(found), found, PLAN)
    same.settle(Engine(cold, cold), weighs)
    assert weighs.asked == []
    with pytest.raises(OutputDiffersError, match="either it reuses what it should not"):
        same.check()

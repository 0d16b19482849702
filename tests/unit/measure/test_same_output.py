"""When is a warm cache accused of changing what the model generates?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.errors import LLMBenchWarning
from pytest_llmbench.measure.engine import EngineSpec, Generation, Prompt
from pytest_llmbench.measure.facts import TurnFacts
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


def said(one: Round) -> bool | None:
    assert one.turn is not None
    return one.turn.same_output


def test_what_was_asked_both_ways_needs_no_further_question() -> None:
    same, engine, found = SameOutput("c"), Engine(), generation("p", 1, 2)
    measured = warm(found)
    same.asked(measured, found, PLAN, generation("p", 1, 2))
    same.settle(engine)
    assert (said(measured), engine.asked) == (True, [])
    same.check()


def test_what_was_asked_warm_alone_is_asked_cold_once_for_all_rounds_and_processes() -> None:
    same, engine, found = SameOutput("c"), Engine(generation("p", 1, 2)), generation("p", 1, 2)
    rounds = [warm(found, repetition=n) for n in (1, 2, 3)]
    for one in rounds[:2]:
        same.asked(one, found, PLAN)
    same.settle(engine)
    same.asked(rounds[2], found, PLAN)
    same.settle(engine)
    assert [said(one) for one in rounds] == [True] * 3
    assert engine.asked == [replace(PLAN, prefix_cache=False)]


def test_another_output_fails_with_the_turn_and_the_token() -> None:
    same, found = SameOutput("c"), generation("p", 1, 2, 3)
    measured = warm(found, turn=4)
    same.asked(measured, found, PLAN, generation("p", 1, 2, 9))
    same.settle(Engine(generation("p", 1, 2, 9), generation("p", 1, 2, 9)))
    assert said(measured) is False
    with pytest.raises(OutputDiffersError, match=r"conversation c: .*: turn 4 from its token 3 on; either"):
        same.check()


def test_where_ids_are_not_known_the_turn_alone_is_told() -> None:
    same, found = SameOutput("c"), generation("p", 1, known=False)
    same.asked(warm(found, repetition=2), found, PLAN)
    cold = generation("p", 2, known=False)
    same.settle(Engine(cold, cold))
    with pytest.raises(OutputDiffersError, match=r"cold one: turn 2 \(round 2\); "):
        same.check()


def test_another_processs_output_does_not_accuse_the_cache_of_this_one() -> None:
    same, first, second = SameOutput("c"), generation("p", 1), generation("p", 2)
    same.asked(warm(first), first, PLAN)
    same.settle(Engine(generation("p", 1)))
    measured = warm(second)
    same.asked(measured, second, PLAN)
    same.settle(Engine(generation("p", 2)))
    assert said(measured) is True
    same.check()


def test_an_engine_that_does_not_repeat_itself_is_told_from_a_wrong_cache() -> None:
    same, found = SameOutput("c"), generation("p", 1)
    same.asked(warm(found), found, PLAN)
    same.settle(Engine(generation("p", 2), generation("p", 3)))
    with pytest.raises(OutputDiffersError, match="does not repeat itself with an empty cache either"):
        same.check()


def test_after_an_answer_that_differs_later_prompts_are_not_asked() -> None:
    same, engine = SameOutput("c"), Engine(generation("p", 2), generation("p", 2))
    two, three = generation("p", 1), generation("q", 5)
    rounds = [warm(two), warm(three, turn=3)]
    for one, found in zip(rounds, (two, three), strict=True):
        same.asked(one, found, PLAN)
    same.settle(engine)
    assert [said(one) for one in rounds] == [False, None]


def test_of_a_process_that_failed_nothing_is_asked() -> None:
    same, engine, found = SameOutput("c"), Engine(), generation("p", 1)
    same.asked(warm(found), found, PLAN)
    same.forget()
    same.settle(engine)
    same.check()
    assert engine.asked == []


# -- where the model hesitates -------------------------------------------------------------------


class Hesitates:
    """Takes the last of 1, 2, 3 or 9 with an empty cache, by how much of the answer it is given."""

    def __init__(self, *takes_three: int) -> None:
        self.takes_three = takes_three
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, plan: Plan) -> Generation:
        assert plan.prompt is not None
        assert not plan.prefix_cache
        begun = plan.prompt.begun
        self.asked.append(begun)
        if begun:
            assert plan.params.max_new_tokens == 3 - len(begun)
        last = 3 if len(begun) in self.takes_three else 9
        return generation("p", *(1, 2, last)[len(begun) :])


ASKED = replace(PLAN, prompt=Prompt(messages=({"role": "user", "content": "x"},)))


@pytest.mark.parametrize("known", [1, 2])
def test_a_token_that_comes_with_an_empty_cache_too_does_not_accuse_the_cache(known: int) -> None:
    same, found = SameOutput("c"), generation("p", 1, 2, 3)
    measured = warm(found, turn=4)
    same.asked(measured, found, ASKED)
    same.settle(Hesitates(known))
    assert said(measured) is False
    with pytest.warns(LLMBenchWarning, match="turn 4 from its token 3 on. It is not the cache"):
        same.check()


def test_a_token_that_never_comes_with_an_empty_cache_does() -> None:
    same, found, engine = SameOutput("c"), generation("p", 1, 2, 3), Hesitates()
    same.asked(warm(found), found, ASKED, generation("p", 1, 2, 9))
    same.settle(engine)
    assert engine.asked == [(), (), (1, 2), (1,)]
    with pytest.raises(OutputDiffersError, match="turn 2 from its token 3 on"):
        same.check()

"""Is it known what a test needs of its model's context?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.cases.need import of_asked, of_conversation, of_load, of_prompt
from pytest_llmbench.settings.case import CaseSettings
from pytest_llmbench.settings.suite_rows import Asked
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn


def test_a_prompt_and_its_answer_lie_below_the_depth() -> None:
    held = CaseSettings(max_new_tokens=10, depth=1000)
    need = of_prompt(held, 100)
    assert (need.least, need.most, need.tokens, need.informed) == (1110, 1110, 1110, True)
    assert need.asked == "a prompt of 100 tokens at a depth of 1000 and 10 more are longer"
    unknown = of_prompt(held, None)
    assert (unknown.least, unknown.most, unknown.tokens, unknown.informed) == (1011, None, None, True)
    assert not of_prompt(CaseSettings(), None).informed


@pytest.mark.parametrize(
    ("prompt", "output", "tokens", "bounded"),
    [
        ("128", "64", 192, True),
        ("uniform:10:30", "5", 25, True),
        ("lognormal:100:0.5", "5", 105, False),
        ("lognormal:100:0.5:400", "uniform:1:9", 105, True),
    ],
)
def test_requests_are_of_middle_lengths_and_their_longest_is_enough(
    prompt: str, output: str, tokens: int, bounded: bool
) -> None:
    need = of_load(CaseSettings(prompt_length=prompt, output_length=output), made=True)
    assert need.tokens == need.least == tokens
    assert (need.most is not None) is bounded
    assert need.most is None or need.most > tokens


def test_a_made_conversation_needs_all_that_was_said_in_it() -> None:
    held = CaseSettings(
        conversations=(8,), turns="uniform:2:4", prompt_length="100", output_length="20", shared_prefix=50
    )
    need = of_load(held, made=True)
    assert need.tokens == need.least == 50 + 3 * 120
    assert need.most is not None
    assert need.most > 50 + 4 * 120
    endless = CaseSettings(conversations=(8,), turns="lognormal:3:1", prompt_length="100")
    assert of_load(endless, made=True).most is None


def test_what_requests_of_others_words_need_is_not_known() -> None:
    need = of_load(CaseSettings(dataset="a.jsonl", output_length="500"), made=True)
    assert (need.least, need.tokens, need.informed) == (501, None, False)
    assert of_load(CaseSettings(), made=False).tokens is None


def conversation(**given: Any) -> Conversation:
    turns = (
        Turn(user=Made(100), answer=Made(30)),
        Turn(user=Made(50), add=("book",), max_new_tokens=7, answer="short"),
        Turn(user=Made(20), remove=("book",)),
    )
    made: dict[str, Any] = {
        "name": "c",
        "turns": turns,
        "documents": {"book": Made(1000)},
        "system": Made(40),
    }
    return Conversation(**{**made, **given})


def test_a_conversation_needs_what_its_longest_turn_does() -> None:
    held = CaseSettings(max_new_tokens=10)
    need = of_conversation(held, conversation())
    # The document is gone in the last turn.
    assert need.least == 40 + 100 + 10 + 1000 + 50 + 7
    assert need.most is not None
    assert need.least < need.most < need.least + 700
    assert need.tokens is None


def test_given_answers_count_instead_of_those_that_are_generated() -> None:
    held = CaseSettings(max_new_tokens=10)
    need = of_conversation(held, conversation(history="recorded"))
    assert need.least == 40 + 100 + 30 + 1000 + 50 + 7


def test_written_texts_are_estimated() -> None:
    one = Conversation(name="c", turns=(Turn(user="a word or two. " * 100),))
    need = of_conversation(CaseSettings(max_new_tokens=10), one)
    assert need.least < 1500 / 5
    assert need.most is not None
    assert need.most > 1500 / 3
    other = Conversation(name="c", turns=(Turn(user="\u6f22" * 1000),))
    assert (of_conversation(CaseSettings(), other).most or 0) > 2000


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        (Asked(prompt_tokens=100), 110, 110),
        (Asked(prompt="word " * 1000), 300, 3000),
        (Asked(messages=({"role": "user", "content": "word " * 1000},)), 300, 3000),
        (Asked(task="summarization"), 11, 5000),
        (Asked(task="summarization", prompt_tokens=100), 110, 110),
        (Asked(), 11, None),
    ],
)
def test_what_a_suite_asks_has_bounds_before_it_is_counted(
    asked: Asked, least: int, most: int | None
) -> None:
    need = of_asked("llm_model", CaseSettings(max_new_tokens=10), asked)
    assert need.least >= least
    assert need.most is None if most is None else (need.most is not None and need.least <= need.most <= most)


def test_a_conversation_under_load_has_the_answers_that_it_gives() -> None:
    held = CaseSettings(max_new_tokens=1000)
    asked = Asked(conversation=conversation())
    assert of_asked("llm_load", held, asked).least < of_asked("llm_chat", held, asked).least

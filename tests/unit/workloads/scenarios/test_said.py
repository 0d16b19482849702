"""Are the messages of an entry the conversation that they were?"""

from __future__ import annotations

from collections import Counter

from pytest_llmbench.workloads.scenarios.conversation import Turn
from pytest_llmbench.workloads.scenarios.said import asked_apart, conversation_of


def test_a_person_asks_and_a_model_answers_by_turns() -> None:
    unused: Counter[str] = Counter()
    said = [("system", "be brief"), ("human", "one"), ("gpt", "1"), ("user", "two"), ("assistant", "2")]
    found = conversation_of(said, unused)
    assert found is not None
    assert (found.system, found.history) == ("be brief", "recorded")
    assert found.turns == (Turn(user="one", answer="1"), Turn(user="two", answer="2"))
    assert not unused


def test_what_has_no_place_is_left_out_and_counted() -> None:
    unused: Counter[str] = Counter()
    said = [
        ("gpt", "hello"),
        ("human", "one"),
        ("human", "and more"),
        ("tool", "{}"),
        ("gpt", "1"),
        ("gpt", " "),
        ("gpt", "and 1"),
        ("system", "late"),
        (None, "?"),
        ("human", "two"),
    ]
    found = conversation_of(said, unused)
    assert found is not None
    assert found.system is None
    assert found.turns == (Turn(user="one\n\nand more", answer="1\n\nand 1"), Turn(user="two"))
    assert unused == {"messages that have no place in a conversation": 4, "turns without text": 1}


def test_without_a_question_there_is_no_conversation() -> None:
    assert conversation_of([("system", "be brief"), ("gpt", "hello")], Counter()) is None
    assert asked_apart([]) is None
    apart = asked_apart(["one", "two"])
    assert apart is not None
    assert apart.turns == (Turn(user="one"), Turn(user="two"))

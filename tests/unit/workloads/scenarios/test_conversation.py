"""What stands in the prompt of each turn?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmbench.workloads.scenarios.conversation import (
    PLACEMENTS,
    Conversation,
    Made,
    Placement,
    Turn,
    messages_at,
)

RAG = Conversation(
    name="rag",
    system="Be brief.",
    documents={"manual": Made(8), "letter": "Dear all."},
    turns=(
        Turn(user="One?", answer="Given."),
        Turn(user="Two?", add=("manual",)),
        Turn(user="Three?", add=("letter",)),
        Turn(user="Four?", remove=("manual",)),
    ),
).fill(lambda tokens, number: " ".join([f"w{number}"] * tokens))

ANSWERS = ["a1", "a2", "a3"]


def said(placement: Placement, turn: int) -> list[tuple[str, str]]:
    messages = messages_at(replace(RAG, placement=placement), turn, ANSWERS)
    return [(one["role"], one["content"]) for one in messages]


def test_a_turn_has_what_was_said_before_it() -> None:
    assert [role for role, _ in said("system", 3)] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert said("system", 1) == [("system", "Be brief."), ("user", "One?")]


def test_a_document_is_there_from_the_turn_that_adds_it_to_the_one_that_removes_it() -> None:
    assert [RAG.present(turn) for turn in (1, 2, 3, 4)] == [
        {},
        {"manual": 2},
        {"manual": 2, "letter": 3},
        {"letter": 3},
    ]


def test_documents_stand_where_their_placement_says() -> None:
    manual = "Document manual:\n" + " ".join(["w2"] * 8)
    letter = "Document letter:\nDear all."
    assert said("system", 3)[0][1] == f"Be brief.\n\n{manual}\n\n{letter}"
    inline = said("inline", 3)
    assert inline[3][1] == f"{manual}\n\nTwo?"
    assert inline[5][1] == f"{letter}\n\nThree?"
    last = said("last", 3)
    assert (last[3][1], last[5][1]) == ("Two?", f"{manual}\n\n{letter}\n\nThree?")


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_document_that_went_is_nowhere(placement: Placement) -> None:
    text = "".join(content for _, content in said(placement, 4))
    assert "manual" not in text
    assert "Dear all." in text


def test_recorded_answers_stand_in_for_live_ones_where_there_are_any() -> None:
    recorded = messages_at(replace(RAG, history="recorded"), 3, ANSWERS)
    assert [one["content"] for one in recorded if one["role"] == "assistant"] == ["Given.", "a2"]


def test_a_text_that_is_not_made_is_not_sent() -> None:
    with pytest.raises(TypeError, match="have to be made"):
        messages_at(Conversation(name="x", turns=(Turn(user=Made(3)),)), 1, [])


def test_a_made_text_stands_after_what_is_before_it() -> None:
    filled = Conversation(name="x", turns=(Turn(user=Made(3, "Sum up:")),)).fill(lambda n, _: "w " * n)
    assert filled.turns[0].user == "Sum up:\n\nw w w "


def test_what_is_about_its_length_counts_what_is_made_and_answered() -> None:
    said = Conversation(
        name="a",
        documents={"manual": Made(1000)},
        turns=(
            Turn(user="Hi.", max_new_tokens=100),
            Turn(user=Made(200), add=("manual",)),
            Turn(user="Bye.", remove=("manual",), max_new_tokens=1),
        ),
    )
    assert said.about_tokens(50) == pytest.approx(100 + 200 + 1000 + 50, rel=0.03)
    recorded = replace(said, history="recorded", turns=(Turn(user="Hi.", answer=Made(500)), *said.turns[1:]))
    assert recorded.about_tokens(50) == pytest.approx(500 + 200 + 1000 + 50, rel=0.03)


def test_the_digest_is_of_what_a_model_is_told() -> None:
    assert RAG.digest == replace(RAG, name="other", tags=("a",), placement="last", history="recorded").digest
    assert RAG.digest != replace(RAG, system="Be long.").digest
    assert RAG.digest != replace(RAG, turns=RAG.turns[:3]).digest


@pytest.mark.parametrize(
    ("turns", "fault"),
    [
        ((), "1 to 1,000 turns, and c has 0"),
        ((Turn(user="a", remove=("x",)),), "turn 1 removes the document 'x', which is not there then"),
        ((Turn(user="a", add=("y",)),), "turn 1 adds the document 'y', which is not defined"),
        ((Turn(user="a", add=("x",)), Turn(user="b", add=("x",))), "turn 2 adds the document 'x'"),
        ((Turn(user="a", think_time=1),), "the first turn has no think_time"),
        ((Turn(user=Made(10_000_000)),), "more than 10,000,000 tokens"),
    ],
)
def test_what_cannot_be_held_says_why(turns: tuple[Turn, ...], fault: str) -> None:
    found = Conversation(name="c", documents={"x": "y"}, turns=turns).fault()
    assert found is not None
    assert fault in found[1]


def test_what_is_removed_and_added_at_once_stands_last() -> None:
    said = Conversation(
        name="c",
        documents={"x": "1", "y": "2"},
        turns=(Turn(user="a", add=("x", "y")), Turn(user="b", remove=("x",), add=("x",))),
    )
    assert said.fault() is None
    assert list(said.present(2)) == ["y", "x"]

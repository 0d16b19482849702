"""Does a load hold the conversations that it was given, each from the turn that it should?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads import talks
from pytest_llmbench.workloads.lengths import parse_length
from pytest_llmbench.workloads.requests import words_text
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Made, Turn
from pytest_llmbench.workloads.talks import MadeTalk, SentTurn, Talks

MADE = MadeTalk(parse_length("uniform:2:6"), parse_length("uniform:8:40"))


def text_of(tokens: int, seed: int) -> str:
    return words_text(tokens, seed=seed)


def conversation(name: str, turns: int, **given: Any) -> Conversation:
    return Conversation(
        name=name,
        turns=tuple(
            Turn(user=f"{name} asks {n}", answer=f"{name} was told {n}", think_time=0.5 * (n > 1))
            for n in range(1, turns + 1)
        ),
        **given,
    )


def of(source: tuple[Conversation, ...] | MadeTalk, **given: Any) -> Talks:
    made = Talks(source, 16, None, None, seed=0, text_seed=1, unique=True)
    return replace(made, **given)


def sent(
    of_: Talks,
    at_once: int = 3,
    conversations: int = 4,
    *,
    warm: Callable[[int], bool] = lambda _: True,
    may_be_cut: bool = False,
) -> tuple[list[SentTurn], int, bool]:
    def enough(held: int, _: int) -> bool:
        return held >= conversations

    return of_.sent(at_once, enough, text_of, warm=warm, may_be_cut=may_be_cut)


def asked(one: SentTurn) -> list[str]:
    """Its messages, without the words that are the conversation's own."""
    head, *others = [message["content"] for message in one.messages]
    return [head.partition(". ")[2], *others]


def test_the_first_conversations_begin_at_different_turns_with_what_was_said_before() -> None:
    found, warmup, cut = sent(of((conversation("a", 3),)), at_once=4, conversations=2)
    ahead, measured = found[:warmup], found[warmup:]
    assert not cut
    assert [(one.conversation, one.turn) for one in ahead] == [
        *[(1, 1), (1, 2), (1, 3)],
        *[(2, 2), (2, 3)],
        (3, 3),
        *[(4, 1), (4, 2), (4, 3)],
    ]
    assert [(one.conversation, one.turn) for one in measured] == [(n, t) for n in (5, 6) for t in (1, 2, 3)]
    assert asked(ahead[3]) == ["a asks 1", "a was told 1", "a asks 2"]
    assert asked(ahead[5]) == ["a asks 1", "a was told 1", "a asks 2", "a was told 2", "a asks 3"]
    # Nobody thinks before the first that is asked.
    assert [one.think_time for one in ahead] == [0, 0.5, 0.5, 0, 0.5, 0, 0, 0.5, 0.5]
    assert [one.begins for one in ahead] == [one.think_time == 0 for one in ahead]


def test_each_conversation_begins_with_words_of_its_own_and_keeps_them() -> None:
    found, _, _ = sent(of((conversation("a", 3), conversation("b", 2, system="be brief"))))
    openings: dict[int, set[str]] = {}
    for one in found:
        words = " ".join(one.messages[0]["content"].split()[:3])
        openings.setdefault(one.conversation, set()).add(words)
    assert all(len(own) == 1 for own in openings.values())
    assert len(set().union(*openings.values())) == len(openings)
    other, _, _ = sent(of((conversation("a", 3),), text_seed=2))
    assert other[0].messages[0] not in [one.messages[0] for one in found]
    shared, _, _ = sent(of((conversation("a", 3),), unique=False))
    assert {one.messages[0]["content"] for one in shared} == {"a asks 1"}


@pytest.mark.parametrize(
    "source", [MADE, (conversation("a", 3), conversation("b", 2))], ids=["made", "given"]
)
def test_what_is_measured_does_not_depend_on_how_many_are_held_at_once(
    source: tuple[Conversation, ...] | MadeTalk,
) -> None:
    lengths = parse_length("uniform:4:64")

    def measured(at_once: int) -> list[tuple[int, int, list[int], float]]:
        found, warmup, _ = sent(of(source, output_length=lengths), at_once=at_once, conversations=8)
        return [
            (
                one.turn,
                one.output_tokens,
                [len(message["content"].split()) for message in one.messages],
                one.think_time,
            )
            for one in found[warmup:]
        ]

    assert measured(1) == measured(5) == measured(16)


def test_lengths_are_those_that_were_asked_for() -> None:
    made = of(replace(MADE, shared_prefix=12), output_length=parse_length("uniform:4:9"), think_time=1.5)
    found, warmup, _ = sent(made, at_once=2, conversations=30)
    per_talk: dict[int, list[SentTurn]] = {}
    for one in found[warmup:]:
        per_talk.setdefault(one.conversation, []).append(one)
    assert {len(turns) for turns in per_talk.values()} == {2, 3, 4, 5, 6}
    assert {one.output_tokens for one in found} == {4, 5, 6, 7, 8, 9}
    for turns in per_talk.values():
        assert [one.turn for one in turns] == list(range(1, len(turns) + 1))
        assert [one.think_time for one in turns] == [0, *[1.5] * (len(turns) - 1)]
        for before, one in pairwise(turns):
            # What was said stays, and an answer of as many tokens as were asked for comes between.
            assert one.messages[: len(before.messages)] == before.messages
            assert one.messages[-2]["role"] == "assistant"
            assert len(one.messages[-2]["content"].split()) == before.output_tokens
    systems = {one.messages[0]["content"] for one in found}
    assert len(systems) == 1
    assert len(systems.pop().split()) == 12
    assert made.makes_text
    assert made.fewest == (1, 0.0)


def test_a_warm_up_of_more_requests_holds_further_conversations() -> None:
    found, warmup, _ = sent(of((conversation("a", 3),)), at_once=2, warm=lambda turns: turns >= 10)
    assert warmup == 3 + 2 + 3 + 3
    assert found[warmup].conversation == 5


def test_answers_that_nobody_gave_are_made_but_for_the_last() -> None:
    open_ = Conversation(
        name="a", turns=(Turn(user="one", max_new_tokens=5), Turn(user="two"), Turn(user=Made(9, "about:")))
    )
    assert of((open_,)).makes_text
    found, warmup, _ = sent(of((open_,)), conversations=1)
    texts = asked(found[-1])
    assert (texts[0], texts[2], len(texts[1].split()), len(texts[3].split())) == ("one", "two", 5, 16)
    assert texts[4].startswith("about:\n\n")
    one = Conversation(name="a", turns=(Turn(user="one"),))
    assert not of((one, conversation("b", 2))).makes_text
    assert of((one, conversation("b", 3))).fewest == (1, 0.0)
    assert of((conversation("b", 3),)).fewest == (3, 1.0)
    assert warmup == 3 + 2 + 1


def test_text_beyond_all_room_is_refused_or_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "_MOST_TEXT", 2000)
    with pytest.raises(UsageError, match="ask for fewer requests or a shorter duration"):
        sent(of((conversation("a", 3),)), conversations=1000)
    found, _, cut = sent(of((conversation("a", 3),)), conversations=1000, may_be_cut=True)
    assert cut
    assert 3 < found[-1].conversation < 100
    assert found[-1].turn == 3

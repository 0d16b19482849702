"""Does a level of conversations have as many requests as it was asked for?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.bench.talks import Given, TalkLevel
from pytest_llmbench.cases.case import LoadLevel
from pytest_llmbench.client.plan import Request
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.case import CaseSettings
from pytest_llmbench.workloads import talks
from pytest_llmbench.workloads.requests import words_text
from pytest_llmbench.workloads.scenarios.conversation import Conversation, Turn

THREE = Conversation(
    name="three", turns=tuple(Turn(user=f"u{n}", answer=f"a{n}", think_time=float(n > 1)) for n in (1, 2, 3))
)


def level(at_once: int = 4, given: Conversation | None = THREE, **said: Any) -> TalkLevel:
    conversations = None if given is None else Given.of((given,))
    return TalkLevel.of(CaseSettings(**said), LoadLevel(conversations=at_once), conversations, 1)


def requests(
    held: TalkLevel, *, alone: float | None = None, once: bool = False
) -> tuple[tuple[Request, ...], int]:
    def text_of(tokens: int, seed: int) -> str:
        return words_text(tokens, seed=seed)

    return held.requests(0, text_of, alone=alone, once=once, label="case")


def test_without_a_number_there_are_enough_for_a_window() -> None:
    asked, warmup = requests(level())
    assert warmup == 3 + 2 + 1 + 3
    # Two in the place of each, and 64 requests at least.
    assert len(asked) - warmup == 66
    many, ahead = requests(level(64))
    assert len(many) - ahead == 2 * 64 * 3


def test_a_number_of_requests_is_whole_conversations() -> None:
    asked, warmup = requests(level(requests=10))
    assert len(asked) - warmup == 12
    assert [one.follows for one in asked[-3:]] == [None, len(asked) - 3, len(asked) - 2]
    assert [one.turn for one in asked[-3:]] == [1, 2, 3]


def test_a_duration_has_more_than_a_server_can_hold_in_it() -> None:
    # Alone, a conversation takes three requests and thinks twice.
    asked, warmup = requests(level(duration=10.0), alone=1.0)
    held = (len(asked) - warmup) / 3
    assert held >= 4 * 10 / 5
    assert held < 10 * 4 * 10 / 5


def test_a_duration_is_cut_where_there_is_no_room_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talks, "_MOST_TEXT", 5000)
    with pytest.warns(UserWarning, match="the level may end before its duration"):
        asked, _ = requests(level(duration=1000.0), alone=0.001)
    assert len(asked) < 400
    with pytest.raises(UsageError, match="ask for fewer requests"):
        requests(level(requests=4000))


def test_once_is_one_conversation_without_a_warm_up() -> None:
    asked, warmup = requests(level(requests=10), once=True)
    assert (len(asked), warmup) == (3, 0)


def test_what_changes_the_work_is_in_the_protocol() -> None:
    given, made = level().protocol(), level(given=None, turns="5").protocol()
    assert given["prompts"] == THREE.digest
    assert (given["made_turns"], given["prompt_length"]) == (None, None)
    assert (made["prompts"], made["made_turns"], made["prompt_length"]) == (None, "5", "128")
    assert level(history="live").protocol() != given


def test_a_conversation_that_cannot_be_held_is_refused() -> None:
    with pytest.raises(UsageError, match="the conversation none: a conversation has 1 to"):
        Given.of((Conversation(name="none", turns=()),))

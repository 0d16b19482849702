"""Are the turns of conversations sent one after the other, and those of many conversations at once?"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.client.plan import Request
from pytest_llmbench.client.turns import Turns

SECOND = 1_000_000_000


def talks(*lengths: int, think: float = 0.0) -> list[Request]:
    """Conversations of so many turns each, one after the other."""
    found: list[Request] = []
    for number, turns in enumerate(lengths, 1):
        for turn in range(1, turns + 1):
            follows = len(found) - 1 if turn > 1 else None
            found.append(
                Request(
                    4,
                    "p",
                    follows=follows,
                    think_time=think if follows is not None else 0.0,
                    conversation=number,
                    turn=turn,
                )
            )
    return found


def ready(turns: Turns) -> list[int]:
    found = list(turns.ready)
    turns.ready.clear()
    return found


def test_requests_without_conversations_begin_in_their_order() -> None:
    turns = Turns([Request(4, "p")] * 3)
    for _ in range(5):
        turns.begin()
    assert ready(turns) == [0, 1, 2]
    assert turns.after(0) is None
    assert not turns.left


def test_a_turn_is_ready_when_the_one_before_has_ended_and_was_thought_over() -> None:
    turns = Turns(talks(3, think=1.5))
    turns.begin()
    assert ready(turns) == [0]
    following = turns.after(0)
    assert following == 1
    turns.go_on(following, 10 * SECOND)
    assert turns.left
    assert turns.think(11 * SECOND) == 11.5 * SECOND
    assert ready(turns) == []
    assert turns.think(round(11.5 * SECOND)) is None
    assert ready(turns) == [1]


def test_without_a_think_time_a_turn_is_ready_at_once() -> None:
    turns = Turns(talks(2))
    turns.begin()
    ready(turns)
    turns.go_on(1, 0)
    assert ready(turns) == [1]
    assert turns.after(1) is None


def test_the_turns_after_one_that_failed_are_counted_and_the_next_conversation_begins() -> None:
    turns = Turns(talks(4, 2))
    turns.begin()
    ready(turns)
    turns.abandon(1)
    assert turns.abandoned == 3
    turns.begin()
    assert ready(turns) == [4]
    assert not turns.left


def test_nothing_is_left_after_the_end() -> None:
    turns = Turns(talks(2, 2, think=1.0))
    turns.begin()
    turns.go_on(1, 0)
    turns.end()
    turns.begin()
    assert (turns.left, list(turns.ready), turns.think(10 * SECOND)) == (False, [], None)


@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 6))
def test_every_turn_is_sent_once_and_in_the_order_of_its_conversation(
    lengths: Sequence[int], streams: int
) -> None:
    requests = talks(*lengths, think=0.5)
    turns = Turns(requests)
    for _ in range(streams):
        turns.begin()
    sent: list[int] = []
    now = 0
    while turns.left:
        if not turns.ready:
            wake = turns.think(now)
            now = now if wake is None else wake
            turns.think(now)
        assert len(turns.ready) <= streams
        number = turns.ready.popleft()
        sent.append(number)
        following = turns.after(number)
        if following is None:
            turns.begin()
        else:
            turns.go_on(following, now)
    assert sorted(sent) == list(range(len(requests)))
    for number in sent:
        follows = requests[number].follows
        assert follows is None or sent.index(follows) < sent.index(number)

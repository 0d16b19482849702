"""Is a turn that failed known for one at once, and a live answer put where it belongs?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmbench.client.answers import LiveHistory, answer_of, has_answered
from pytest_llmbench.client.pending import PendingRequest
from pytest_llmbench.client.plan import Request
from pytest_llmbench.client.raw import RawResponse
from tests.fakes.llmbench_servers import CHUNKED, DONE, LAST, chunk, plain


def event(**delta: Any) -> bytes:
    finish = delta.pop("finish", None)
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def pending(*pieces: bytes) -> PendingRequest:
    """A response that came whole, in these pieces."""
    found = PendingRequest(RawResponse(0, warmup=False, scheduled=None, sent=1))
    for at, data in enumerate(pieces):
        found.take((at, None, data))
    assert found.response.ended
    return found


def stream(*events: bytes) -> PendingRequest:
    return pending(CHUNKED, *map(chunk, events), LAST)


LONG = [event(content=f"word{number} ") for number in range(100)]


def test_an_answer_is_its_content_without_its_reasoning() -> None:
    answered = stream(event(role="assistant"), event(reasoning_content="hm"), event(content="yes"), DONE)
    assert has_answered(answered)
    assert answer_of(answered) == "yes"
    # Asking leaves everything for the reading after the level.
    assert len(answered.segments) == 6


def test_a_long_answer_is_one_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmbench.client.answers.answer_of", pytest.fail)
    assert has_answered(stream(*LONG, DONE))


@pytest.mark.parametrize(
    "failed",
    [
        stream(DONE),
        stream(event(role="assistant"), DONE),
        stream(*LONG),
        stream(*LONG, b'data: {"error": {"message": "out of memory"}}\n\n', DONE),
        stream(*LONG, b"data: {nonsense\n\n", b"data: {}\n\n"),
        pending(plain("503 No", b"later")),
        pending(plain("200 OK", b'{"error": "later"}')),
    ],
    ids=["nothing", "no text", "no end", "an error at last", "no JSON", "refused", "an error"],
)
def test_what_is_no_answer_is_known_at_once(failed: PendingRequest) -> None:
    assert not has_answered(failed)
    assert answer_of(failed) is None


def test_an_answer_about_errors_and_one_without_done_are_answers() -> None:
    assert has_answered(stream(*LONG, event(content="error"), DONE))
    assert has_answered(stream(*LONG, event(content="end", finish="stop")))
    assert (
        answer_of(
            pending(
                plain(
                    "200 OK",
                    json.dumps(
                        {"choices": [{"message": {"content": "all at once"}, "finish_reason": "stop"}]}
                    ).encode(),
                )
            )
        )
        == "all at once"
    )


def test_live_answers_take_the_place_of_the_last_recorded_ones() -> None:
    def said(*texts: str) -> tuple[Any, ...]:
        return tuple(
            {"role": "user" if at % 2 == 0 else "assistant", "content": text} for at, text in enumerate(texts)
        )

    begun_at_turn_2 = said("u1", "recorded 1", "u2")
    third = said("u1", "recorded 1", "u2", "recorded 2", "u3")
    fourth = said("u1", "recorded 1", "u2", "recorded 2", "u3", "recorded 3", "u4")
    other = said("v1", "recorded", "v2")
    live = LiveHistory(
        [
            Request(4, messages=begun_at_turn_2, conversation=1, turn=2),
            Request(4, messages=third, follows=0, conversation=1, turn=3),
            Request(4, messages=fourth, follows=1, conversation=1, turn=4),
            Request(4, messages=other, conversation=2, turn=2),
        ]
    )
    assert live.put("live 2", 1).messages == said("u1", "recorded 1", "u2", "live 2", "u3")
    assert live.put("", 2).messages == said("u1", "recorded 1", "u2", "live 2", "u3", "", "u4")
    assert [one.messages for one in live.requests[2:]] == [
        said("u1", "recorded 1", "u2", "live 2", "u3", "", "u4"),
        other,
    ]
    # The plan's own stay.
    assert third[3]["content"] == "recorded 2"

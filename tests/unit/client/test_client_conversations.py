"""Is each turn sent after the answer before it, and is as much in flight as was asked for?"""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.client import Client, LevelRecording
from pytest_llmbench.client.patience import Pulse, longest
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.client.worker import run
from pytest_llmbench.servers.endpoint import Endpoint
from pytest_llmbench.workloads.messages import Message
from tests.fakes.llmbench_servers import CHUNKED, DONE, LAST, Asked, Talk, chunk, plain, serve

pytestmark = pytest.mark.usefixtures("receiver")


def event(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def said(talk: int, turn: int) -> tuple[Message, ...]:
    found: list[Message] = []
    for number in range(1, turn + 1):
        found.append({"role": "user", "content": f"{talk}.{number}"})
        if number < turn:
            found.append({"role": "assistant", "content": f"recorded {talk}.{number}"})
    return tuple(found)


def plan(base_url: str, *talks: tuple[int, int], think: float = 0.0, **given: Any) -> LoadPlan:
    """Conversations, each from one turn to another."""
    requests: list[Request] = []
    for number, (first, last) in enumerate(talks, 1):
        for turn in range(first, last + 1):
            follows = None if turn == first else len(requests) - 1
            requests.append(
                Request(
                    4,
                    messages=said(number, turn),
                    follows=follows,
                    think_time=0.0 if follows is None else think,
                    conversation=number,
                    turn=turn,
                )
            )
    endpoint = Endpoint(base_url, "m", api="chat")
    return LoadPlan(endpoint, tuple(requests), GenerationParams(), **{"timeout": 20.0, **given})


def asked_of(asked: Asked) -> tuple[int, int]:
    """The conversation and the turn."""
    messages: Any = asked.json["messages"]
    talk, turn = messages[-1]["content"].split(".")
    return int(talk), int(turn)


def answer(talk: Talk, asked: Asked) -> None:
    talk.send(CHUNKED + chunk(event(f"live {messages_of(asked)[-1]['content']}")) + chunk(DONE) + LAST)


def messages_of(asked: Asked) -> list[dict[str, str]]:
    messages: Any = asked.json["messages"]
    return list(messages)


def kinds(recording: LevelRecording) -> dict[int, str]:
    return {r.number: r.failure.kind for r in recording.responses if r.failure is not None}


def test_a_plan_is_the_same_beyond_the_socket_and_says_nothing_twice() -> None:
    whole = plan("http://127.0.0.1:1", (1, 12), (3, 5), conversations=2, history="live")
    data = whole.to_json()
    assert LoadPlan.from_json(json.loads(json.dumps(data))) == whole
    assert json.dumps(data).count('recorded 1.1"') == 1
    assert (whole.at_once, whole.streams) == (2, 2)


def test_each_turn_is_sent_after_the_answer_before_it_with_the_recorded_history() -> None:
    talks = [(1, 3), (2, 4), (1, 1), (3, 4)]
    lock = threading.Lock()
    open_, most, order = set[int](), 0, list[tuple[int, int]]()

    def script(talk: Talk, asked: Asked) -> None:
        nonlocal most
        which = asked_of(asked)
        with lock:
            # No turn of a conversation comes while another one is on its way.
            assert which[0] not in open_
            open_.add(which[0])
            most = max(most, len(open_))
            order.append(which)
        talk.wait(0.01)
        with lock:
            open_.discard(which[0])
        answer(talk, asked)

    with serve(script) as server:
        recording = Client(plan(server.base_url, *talks, conversations=2)).run()
    assert kinds(recording) == {}
    assert recording.abandoned == 0
    assert most == 2
    for number, (first, last) in enumerate(talks, 1):
        assert [turn for talk, turn in order if talk == number] == list(range(first, last + 1))
    for one in server.asked:
        assert messages_of(one) == list(said(*asked_of(one)))


def test_fewer_requests_than_conversations_can_be_on_their_way() -> None:
    lock = threading.Lock()
    at_once, most, talks = 0, 0, list[int]()

    def script(talk: Talk, asked: Asked) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            talks.append(asked_of(asked)[0])
        talk.wait(0.005)
        with lock:
            at_once -= 1
        answer(talk, asked)

    with serve(script) as server:
        planned = plan(server.base_url, *[(1, 3)] * 6, conversations=6, concurrency=2)
        recording = Client(planned).run()
    assert kinds(recording) == {}
    assert most == 2
    assert server.connections <= 2
    assert Counter(talks) == dict.fromkeys(range(1, 7), 3)
    # All six are in flight from the start: what waited longest is sent next.
    assert set(talks[:6]) == set(range(1, 7))


def test_a_turn_waits_for_its_think_time_and_holds_nobody_else_up() -> None:
    with serve(answer) as server:
        planned = plan(server.base_url, (1, 2), *[(1, 1)] * 8, think=0.4, conversations=2)
        recording = Client(planned).run()
    first, second, *others = sorted(recording.responses, key=lambda raw: raw.number)
    assert second.sent - first.ended >= 400_000_000
    assert all(raw.ended < second.sent for raw in others)


def test_a_failed_turn_ends_its_conversation_and_another_takes_its_place() -> None:
    def script(talk: Talk, asked: Asked) -> None:
        which = asked_of(asked)
        if which == (1, 2):
            talk.send(plain("500 No", b"no"))
        elif which == (2, 1):
            # An error in a stream of status 200.
            talk.send(CHUNKED + chunk(b'data: {"error": {"message": "no"}}\n\n') + chunk(DONE) + LAST)
        else:
            answer(talk, asked)

    with serve(script) as server:
        planned = plan(server.base_url, (1, 4), (1, 3), (1, 2), conversations=1)
        result = run(planned, Pulse())
    assert [(one.conversation, one.turn) for one in result.requests] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (3, 1),
        (3, 2),
    ]
    assert [one.failure and one.failure.kind for one in result.requests] == [
        None,
        "status",
        "error_in_stream",
        None,
        None,
    ]
    assert result.abandoned == 2 + 2
    assert type(result).from_json(result.to_json()) == result


def test_live_answers_stand_in_the_next_turn_and_in_its_record() -> None:
    with serve(answer) as server:
        planned = plan(server.base_url, (2, 4), (1, 2), conversations=2, history="live")
        live = run(planned, Pulse())
        recorded = run(plan(server.base_url, (2, 4), (1, 2), conversations=2), Pulse())
    told = {asked_of(one): [m["content"] for m in messages_of(one)] for one in server.asked[:5]}
    assert told[1, 2] == ["1.1", "recorded 1.1", "1.2"]
    assert told[1, 4] == ["1.1", "recorded 1.1", "1.2", "live 1.2", "1.3", "live 1.3", "1.4"]
    assert told[2, 2] == ["2.1", "live 2.1", "2.2"]
    hashes = [[one.timeline.prompt_hash for one in r.requests if one.timeline] for r in (live, recorded)]
    # Equal where no answer was put in.
    assert [a == b for a, b in zip(*hashes, strict=True)] == [True, False, False, True, False]


def test_nothing_is_sent_after_the_duration_and_nothing_thought_over_is_waited_for() -> None:
    with serve(answer) as server:
        planned = plan(server.base_url, *[(1, 50)] * 4, think=0.05, conversations=2, duration=0.3, warmup=50)
        recording = Client(planned).run()
        endless = plan(server.base_url, (1, 2), think=600.0, conversations=1, duration=0.1)
        early = Client(endless).run()
    assert 0 < len(recording.responses) < 200
    assert recording.abandoned == early.abandoned == 0
    assert [raw.number for raw in early.responses] == [0]


def test_the_end_of_a_plan_of_conversations_has_room_for_what_is_thought() -> None:
    quick = plan("http://127.0.0.1:1", *[(1, 4)] * 8, conversations=4, memory=0)
    slow = plan("http://127.0.0.1:1", *[(1, 4)] * 8, conversations=4, memory=0, think=10.0)
    assert longest(slow) >= longest(quick) + 60
    # One conversation that is much longer than the others goes on alone.
    alone = plan("http://127.0.0.1:1", (1, 100), (1, 1), conversations=2, memory=0)
    assert longest(alone) > 100 * 20

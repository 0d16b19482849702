"""Is a load that several processes send the load that was asked for?"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client import process
from pytest_llmbench.client.facts import ClientFacts
from pytest_llmbench.client.plan import LoadPlan, LoadResult, Request, RequestResult
from pytest_llmbench.client.process import LoadClient, divided, joined, processes_for, shares
from pytest_llmbench.errors import EngineCrashedError
from pytest_llmbench.servers.endpoint import Endpoint
from tests.fakes.llmbench_servers import CHUNKED, DONE, EVENTS, LAST, Asked, Talk, chunk, serve

ANSWER = [chunk(event) for event in (*EVENTS, DONE)]


def plan(base_url: str = "http://127.0.0.1:1/v1", requests: int = 8, **given: object) -> LoadPlan:
    asked = tuple(Request(4, prompt=f"number {i}") for i in range(requests))
    planned = LoadPlan(Endpoint(base_url, "m"), asked, GenerationParams(), concurrency=4, timeout=20.0)
    return replace(planned, **given)  # type: ignore[arg-type]


def result(part: LoadPlan, **facts: object) -> LoadResult:
    requests = tuple(
        RequestResult(
            number=number, at=number / 1e9, warmup=number < part.warmup, sent=number, ended=number + 1
        )
        for number in range(len(part.requests))
    )
    made = LoadResult(requests, 10, 20, ClientFacts(stamps="kernel", cpu=1.0, reads=3))
    return replace(made, **facts)  # type: ignore[arg-type]


@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_the_parts_of_a_plan_make_it_up(requests: int, parts: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, requests))
    concurrency = data.draw(st.integers(parts, 40))
    whole = plan(requests=requests, warmup=warmup, concurrency=concurrency)
    numbers = shares(whole, parts)
    found = divided(whole, numbers)
    assert sum(part.concurrency or 0 for part in found) == concurrency
    assert min(part.concurrency or 0 for part in found) >= 1
    together = joined([result(part) for part in found], numbers)
    assert [one.number for one in together.requests] == list(range(requests))
    assert [one.warmup for one in together.requests] == [number < warmup for number in range(requests)]
    asked = {i * parts + n: one for n, part in enumerate(found) for i, one in enumerate(part.requests)}
    assert [asked[number] for number in range(requests)] == list(whole.requests)


def test_what_the_parts_say_of_themselves_is_said_of_the_whole() -> None:
    numbers = shares(plan(), 2)
    parts = divided(plan(), numbers)
    of_user = ClientFacts(stamps="user", stamps_reason="why", cpu=1.0, reads=3)
    one, other = result(parts[0]), result(parts[1], started=5, ended=30, client=of_user)
    both = joined([one, other], numbers)
    assert (both.started, both.ended) == (5, 30)
    assert (both.client.cpu, both.client.reads, both.client.processes) == (2.0, 6, 2)
    assert (both.client.stamps, both.client.stamps_reason) == ("user", "why")
    # When each was sent counts from the first start of all.
    assert [one.at for one in both.requests[:4]] == [5e-9, 0.0, 6e-9, 1e-9]
    assert joined([one], numbers) is one


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(1, 4), st.data())
def test_the_turns_of_a_conversation_stay_in_one_part(
    lengths: list[int], parts: int, data: st.DataObject
) -> None:
    at_once = data.draw(st.integers(parts, 12))
    first = [sum(lengths[:i]) for i in range(len(lengths))]
    asked = [
        Request(4, follows=begin + i - 1 if i else None, conversation=number, turn=i + 1)
        for number, (begin, length) in enumerate(zip(first, lengths, strict=True))
        for i in range(length)
    ]
    warmup = data.draw(st.sampled_from([*first, len(asked)]))
    whole = plan(concurrency=None, conversations=at_once, warmup=warmup)
    whole = replace(whole, requests=tuple(asked))
    numbers = shares(whole, parts)
    found = divided(whole, numbers)
    assert sum(part.conversations or 0 for part in found) == at_once
    for part in found:
        for request in part.requests:
            if request.follows is not None:
                before = part.requests[request.follows]
                assert (before.conversation, before.turn) == (request.conversation, (request.turn or 0) - 1)
    results = [result(part, abandoned=2) for part in found]
    together = results[0] if parts == 1 else joined(results, numbers)
    assert [one.number for one in together.requests] == list(range(len(asked)))
    assert [one.warmup for one in together.requests] == [number < warmup for number in range(len(asked))]
    assert together.abandoned == 2 * parts


@pytest.mark.parametrize(
    ("concurrency", "requests", "cores", "processes"),
    [
        (1024, 4096, 8, 1),
        (1026, 4096, 8, 2),
        (4096, 4096, 1, 1),
        (2048, 500, 8, 1),
        (8, 0, 8, 1),
        (8192, 9000, 4, 4),
    ],
)
@pytest.mark.parametrize(("receiver", "share"), [("native", 1), ("python", 2)])
def test_a_closed_loop_has_as_many_processes_as_it_needs_and_cores_there_are(
    monkeypatch: pytest.MonkeyPatch,
    receiver: str,
    share: int,
    concurrency: int,
    requests: int,
    cores: int,
    processes: int,
) -> None:
    monkeypatch.setattr(process, "usable_cores", lambda: cores)
    monkeypatch.setattr(process, "fastest", lambda: receiver)
    assert processes_for(plan(requests=requests, concurrency=concurrency // share)) == processes


def test_an_open_loop_has_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "usable_cores", lambda: 8)
    schedule = tuple(i / 1000 for i in range(5000))
    assert processes_for(plan(requests=5000, concurrency=None, schedule=schedule)) == 1


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STREAMS", {"native": 2, "python": 2})
    monkeypatch.setattr(process, "usable_cores", lambda: 2)


@pytest.mark.usefixtures("two_processes")
def test_two_processes_send_every_request_once_and_keep_the_concurrency() -> None:
    begun: list[int] = []
    at_once, most, lock = 0, 0, threading.Lock()

    def script(talk: Talk, asked: Asked) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        talk.send(CHUNKED, *ANSWER, pause=0.01)
        with lock:
            at_once -= 1
        talk.send(LAST)

    with serve(script) as server, LoadClient(begun.append) as client:
        found = client.run(plan(server.base_url, requests=16, warmup=4))
        assert client.pids == begun
        again = client.run(plan(server.base_url, requests=8))
    assert len(begun) == 2
    assert found.client.processes == again.client.processes == 2
    assert [one.number for one in found.requests] == list(range(16))
    assert len(found.measured) == 12
    assert all(one.ok for one in (*found.requests, *again.requests))
    prompts = [str(one.json["prompt"]) for one in server.asked[:16]]
    assert sorted(prompts) == sorted(f"number {i}" for i in range(16))
    assert most <= 4
    assert not any(psutil.pid_exists(pid) for pid in begun)


@pytest.mark.usefixtures("two_processes")
def test_a_process_that_is_killed_ends_the_others() -> None:
    begun: list[int] = []
    asked_for = threading.Event()

    def never(talk: Talk, _: Asked) -> None:
        asked_for.set()
        talk.wait(20)

    def kill_one() -> None:
        asked_for.wait()
        os.kill(begun[0], signal.SIGKILL)

    with serve(never) as server, LoadClient(begun.append) as client:
        threading.Thread(target=kill_one, daemon=True).start()
        with pytest.raises(EngineCrashedError, match="load client"):
            client.run(plan(server.base_url))
        assert len(begun) == 2
        assert not any(psutil.pid_exists(pid) for pid in begun)


def test_few_streams_stay_in_one_process() -> None:
    with serve(lambda talk, _: talk.send(CHUNKED, *ANSWER, LAST)) as server, LoadClient() as client:
        assert client.run(plan(server.base_url)).client.processes == 1
        assert len(client.pids) == 1

"""Is a load client that goes on waited for, and one that does not given up?"""

from __future__ import annotations

import os
import signal
import socket
import threading
from dataclasses import replace
from typing import Any

import psutil
import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client import patience, process
from pytest_llmbench.client.patience import Pulse, longest
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.client.process import LoadClient
from pytest_llmbench.errors import EngineTimeoutError
from pytest_llmbench.processes import wire
from pytest_llmbench.servers.endpoint import Endpoint
from tests.fakes.llmbench_servers import CHUNKED, DONE, EVENTS, LAST, Asked, Talk, chunk, serve

ANSWER = (CHUNKED, *map(chunk, (*EVENTS, DONE)), LAST)


def plan(base_url: str = "http://127.0.0.1:1", requests: int = 4, **given: Any) -> LoadPlan:
    asked = tuple(Request(4, prompt=f"number {i}") for i in range(requests))
    planned = LoadPlan(Endpoint(base_url, "m"), asked, GenerationParams(), concurrency=2, timeout=300.0)
    return replace(planned, **given)


def test_a_client_that_is_stopped_in_the_middle_of_a_level_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "SILENT", 3.0)
    begun: list[int] = []

    def stop_the_client(talk: Talk, asked: Asked) -> None:
        if str(asked.json["prompt"]) == "number 2":
            # It has said that two have ended before it is stopped.
            talk.wait(2.5)
            os.kill(begun[0], signal.SIGSTOP)
            talk.wait(60)
        talk.send(*ANSWER)

    with serve(stop_the_client) as server, LoadClient(begun.append) as client:
        with pytest.raises(EngineTimeoutError) as caught:
            client.run(plan(server.base_url, concurrency=1))
        assert not any(psutil.pid_exists(pid) for pid in begun)
    said = str(caught.value)
    assert "the load client was stopped by a signal: it showed no sign of life for 3 s" in said
    assert "(3 sent, 2 ended), and was ended" in said


def test_a_client_that_is_stopped_before_a_level_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SILENT", 0.5)
    large = Request(4, prompt="x" * 2_000_000)
    with LoadClient() as client:
        os.kill(client.pids[0], signal.SIGSTOP)
        # More than its socket takes unread.
        with pytest.raises(EngineTimeoutError, match="was stopped by a signal"):
            client.run(replace(plan(), requests=(large,)))
        assert not psutil.pid_exists(client.pids[0])


def test_a_client_that_goes_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SILENT", 30.0)

    def slow(talk: Talk, _: Asked) -> None:
        talk.wait(2.5)
        talk.send(*ANSWER)

    with serve(slow) as server, LoadClient() as client:
        found = client.run(plan(server.base_url, 1))
        assert all(one.ok for one in found.requests)
        # Nothing of the first is taken for the second's.
        again = client.run(plan(server.base_url, 1))
        assert all(one.ok for one in again.requests)


def test_a_client_that_goes_on_for_longer_than_its_plan_can_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "longest", lambda _: 0.5)
    with serve(lambda talk, _: talk.wait(60)) as server, LoadClient() as client:
        with pytest.raises(EngineTimeoutError, match=r"the load client did not finish sending a load within"):
            client.run(plan(server.base_url))
        assert not psutil.pid_exists(client.pids[0])


def test_the_end_follows_from_the_plan() -> None:
    small = plan(timeout=5.0, memory=0)
    base = longest(small)
    # Two waves of two.
    assert 10 < base < 100
    assert longest(replace(small, timeout=10.0)) == base + 10
    assert longest(replace(small, retries=1)) == base + 2 * 2 * 5
    assert longest(replace(small, memory=10**9)) > base + 100
    many = plan(requests=1000, timeout=5.0, memory=0)
    assert longest(replace(many, duration=30.0)) < longest(many)
    scheduled = replace(small, concurrency=None, schedule=(0.0, 1.0, 50.0, 100.0))
    assert 105 < longest(scheduled) < 250
    assert longest(replace(small, requests=())) > 0


def test_a_pulse_is_not_felt_more_often_than_it_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(patience.time, "monotonic", lambda: now)
    said: list[dict[str, Any]] = []
    pulse = Pulse(said.append)
    for tenth in range(31):
        now = tenth / 10
        pulse(tenth, 0)
    assert [one["alive"]["sent"] for one in said] == [0, 10, 20, 30]


def test_a_sign_of_life_that_nobody_takes_is_left_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in range(5_000):
            wire.mention(ours, {"alive": number})
        ours.close()
        numbers = []
        while wire.waits(theirs, 0):
            try:
                numbers.append(wire.receive(theirs)["alive"])
            except wire.PeerGoneError:
                break
        assert numbers == list(range(len(numbers)))
        assert 100 < len(numbers) < 5_000


def test_a_peer_that_is_gone_is_told() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.close()
        with pytest.raises(wire.PeerGoneError):
            wire.mention(ours, {})


def test_a_frame_is_waited_for_until_it_begins() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not wire.waits(ours, 0.01)
        threading.Timer(0.05, theirs.sendall, [b"x"]).start()
        assert wire.waits(ours, 60)

"""Is every request sent when it is due, and is every ending of it told as it was?"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client import client, connection, endings, room
from pytest_llmbench.client.client import Client, LevelRecording
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.errors import UsageError
from pytest_llmbench.servers.endpoint import Endpoint
from tests.fakes import llmbench_servers
from tests.fakes.llmbench_servers import (
    BODY,
    CHUNKED,
    EVENTS,
    HEAD,
    LAST,
    STREAM,
    Asked,
    Script,
    Talk,
    always,
    chunk,
    in_turn,
    plain,
    serve,
    serve_resets,
)

pytestmark = pytest.mark.usefixtures("receiver")

BUSY = plain("503 Service Unavailable", b'{"error": "later"}', "Retry-After: 0")


def plan(base_url: str, requests: int = 1, **given: Any) -> LoadPlan:
    if "schedule" not in given:
        given.setdefault("concurrency", 1)
    endpoint = Endpoint(base_url, "m", **given.pop("endpoint", {}))
    asked = tuple(Request(4, prompt=f"number {i}") for i in range(requests))
    return LoadPlan(endpoint, asked, GenerationParams(), **{"timeout": 20.0, **given})


def load(base_url: str, requests: int = 1, **given: Any) -> LevelRecording:
    return Client(plan(base_url, requests, **given)).run()


def body(raw: RawResponse) -> bytes:
    return b"".join(piece for _, piece in raw.body)


def kinds(recording: LevelRecording) -> list[str | None]:
    return [None if one.failure is None else one.failure.kind for one in recording.responses]


def numbers(asked: list[Asked]) -> list[int]:
    return [int(str(one.json["prompt"]).split()[1]) for one in asked]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def resetting(*pieces: bytes) -> Script:
    def script(talk: Talk, _: Asked) -> None:
        talk.send(*pieces, pause=0.01)
        talk.reset()

    return script


def closing(*pieces: bytes) -> Script:
    def script(talk: Talk, _: Asked) -> None:
        talk.send(*pieces)
        talk.close()

    return script


def waiting(seconds: float, *pieces: bytes) -> Script:
    def script(talk: Talk, _: Asked) -> None:
        talk.wait(seconds)
        talk.send(*pieces)

    return script


# -- what a good server's answer becomes -------------------------------------------------------


def test_a_raw_response_has_what_the_wire_carried_and_when() -> None:
    with serve(always(CHUNKED, *map(chunk, EVENTS), LAST, pause=0.005)) as server:
        before = time.perf_counter_ns()
        recording = load(server.base_url)
        after = time.perf_counter_ns()
    (raw,) = recording.responses
    assert (raw.number, raw.status, raw.attempts) == (0, 200, 1)
    assert (raw.complete, raw.failure, raw.new_connection) == (True, None, False)
    assert raw.headers["content-type"] == "text/event-stream"
    assert body(raw) == b"".join(EVENTS)
    arrivals = [at for at, _ in raw.body]
    assert arrivals == sorted(arrivals)
    assert before < recording.started < raw.sent < arrivals[0]
    assert arrivals[-1] <= raw.ended <= recording.ended < after
    assert (recording.client.reads or 0) >= len(arrivals)
    assert (recording.client.cpu or 0.0) > 0


@pytest.mark.parametrize(
    "answer",
    [
        STREAM,
        plain("200 OK", BODY),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + STREAM,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    ],
)
def test_connections_are_kept_as_long_as_the_server_keeps_them(answer: bytes) -> None:
    with serve(always(answer)) as server:
        recording = load(server.base_url, 12, concurrency=3)
        assert server.connections == 3
    assert kinds(recording) == [None] * 12
    assert {body(one) for one in recording.responses} == {BODY}
    assert not any(one.new_connection for one in recording.responses)


@pytest.mark.parametrize(
    "answer",
    [
        plain("200 OK", BODY, "Connection: close"),
        HEAD + b"\r\n" + BODY,
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
    ],
)
def test_a_connection_that_the_server_gives_up_is_made_again(answer: bytes) -> None:
    with serve(closing(answer)) as server:
        recording = load(server.base_url, 3)
        assert server.connections == 3
    assert kinds(recording) == [None] * 3
    assert [one.complete for one in recording.responses] == [True] * 3
    assert {body(one) for one in recording.responses} == {BODY}
    assert [one.new_connection for one in recording.responses] == [False, True, True]


def test_the_set_up_of_a_connection_made_for_a_request_is_part_of_its_latency() -> None:
    with serve(closing(plain("200 OK", BODY, "Connection: close"))) as server:
        recording = load(server.base_url, 2)
    first, second = recording.responses
    assert first.ended <= second.sent < second.body[0][0]
    assert [one.headers.get("connection") for one in recording.responses] == ["close"] * 2


# -- failures ----------------------------------------------------------------------------------


def test_nobody_listening_is_refused() -> None:
    recording = load(f"http://127.0.0.1:{closed_port()}", 3, concurrency=2)
    assert kinds(recording) == ["refused"] * 3
    assert [one.status for one in recording.responses] == [None] * 3
    assert all(one.ended >= one.sent > 0 for one in recording.responses)


def test_a_reset_in_the_middle_of_a_stream_is_a_failed_request() -> None:
    with serve(in_turn(resetting(CHUNKED, chunk(EVENTS[0])), always(STREAM))) as server:
        recording = load(server.base_url, 2)
    assert kinds(recording) == ["reset", None]
    broken = recording.responses[0]
    assert (broken.status, broken.complete, broken.attempts) == (200, False, 1)
    assert body(broken) == EVENTS[0]


def test_a_stall_past_the_timeout_is_a_failed_request_and_its_connection_is_closed() -> None:
    stalled = threading.Event()

    def stall(talk: Talk, _: Asked) -> None:
        talk.send(CHUNKED, chunk(EVENTS[0]))
        if talk.read() is None:
            stalled.set()

    with serve(in_turn(stall, always(STREAM))) as server:
        recording = load(server.base_url, 2, timeout=0.8)
        assert stalled.wait(10)
    assert kinds(recording) == ["timeout", None]
    late = recording.responses[0]
    assert "0.8 s" in str(late.failure)
    assert body(late) == EVENTS[0]
    assert late.ended - late.sent >= 800_000_000


def test_a_server_that_never_answers_is_a_timeout_of_every_request() -> None:
    with serve(waiting(20)) as server:
        recording = load(server.base_url, 4, concurrency=4, timeout=0.2)
    assert kinds(recording) == ["timeout"] * 4


@pytest.mark.parametrize("header", [[], ["Retry-After: 0"], ["Retry-After: 7"]])
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable", "500 Oh", "404 No"])
def test_a_refusal_is_counted_and_not_repeated_unless_asked(status: str, header: list[str]) -> None:
    with serve(in_turn(always(plain(status, b"why", *header)), always(STREAM))) as server:
        recording = load(server.base_url, 2)
    assert kinds(recording) == ["status", None]
    refused = recording.responses[0]
    assert (refused.status, refused.attempts, body(refused)) == (int(status[:3]), 1, b"why")
    assert refused.complete
    assert numbers(server.asked) == [0, 1]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (CHUNKED + chunk(EVENTS[0]) + b"zz\r\n", EVENTS[0]),
        (CHUNKED + b"3\r\nabcdef\r\n", b"abc"),
        (b"SSH-2.0-x\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, b""),
    ],
)
def test_a_malformed_answer_is_known_before_the_timeout(answer: bytes, kept: bytes) -> None:
    with serve(in_turn(always(answer), always(STREAM))) as server:
        recording = load(server.base_url, 2)
        assert server.connections == 2
    assert kinds(recording) == ["malformed", None]
    assert body(recording.responses[0]) == kept


@pytest.mark.parametrize("answer", [plain("200 OK", BODY)[:-1], STREAM[:-1], STREAM[:200], HEAD])
def test_an_answer_that_ends_too_early_is_truncated(answer: bytes) -> None:
    with serve(in_turn(closing(answer), always(STREAM))) as server:
        recording = load(server.base_url, 2)
    assert kinds(recording) == ["truncated", None]
    assert not recording.responses[0].complete


@pytest.mark.parametrize("answer", [plain("200 OK", BODY), STREAM])
def test_a_connection_with_more_than_the_answer_is_not_used_again(answer: bytes) -> None:
    with serve(always(answer + b"more")) as server:
        recording = load(server.base_url, 2)
        assert server.connections == 2
    assert kinds(recording) == [None, None]
    assert {body(one) for one in recording.responses} == {BODY}


def test_a_new_connection_closed_without_an_answer_is_truncated_and_not_repeated() -> None:
    with serve(in_turn(closing(STREAM), closing(), always(STREAM))) as server:
        recording = load(server.base_url, 3)
    # The first one's connection is closed unsaid; so are the next ones' theirs.
    assert kinds(recording) == [None, "truncated", None]
    assert recording.responses[1].new_connection
    assert numbers(server.asked) == [0, 1, 2]


def test_a_kept_connection_that_was_closed_meanwhile_is_made_again_once() -> None:
    def twice(talk: Talk, asked: Asked) -> None:
        # The second request of each connection is read, and the connection closed: to the client it is
        # as if the server had closed it just before.
        if sum(one.connection == asked.connection for one in server.asked) == 2:
            talk.reset()
        else:
            talk.send(STREAM)

    with serve(twice) as server:
        recording = load(server.base_url, 4)
    assert kinds(recording) == [None] * 4
    assert [one.attempts for one in recording.responses] == [1, 2, 2, 2]
    assert [one.new_connection for one in recording.responses] == [False, True, True, True]
    assert numbers(server.asked) == [0, 1, 1, 2, 2, 3, 3]


def test_a_connection_closed_while_idle_is_not_used() -> None:
    with serve(closing(STREAM)) as server:
        recording = load(server.base_url, 3, schedule=(0.0, 1.1, 1.3))
    assert kinds(recording) == [None] * 3
    assert [one.attempts for one in recording.responses] == [1] * 3
    assert [one.new_connection for one in recording.responses] == [False, True, True]


def test_a_server_that_is_killed_under_load_fails_what_was_on_its_way() -> None:
    command = [sys.executable, llmbench_servers.__file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        said = process.stdout
        assert said is not None
        port = int(said.readline())

        def kill_amid_the_streams() -> None:
            for _ in range(6):
                said.readline()
            process.kill()

        killer = threading.Thread(target=kill_amid_the_streams, daemon=True)
        killer.start()
        recording = load(f"http://127.0.0.1:{port}", 30, concurrency=6)
        killer.join(10)
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert len(recording.responses) == 30
    assert set(kinds(recording)) <= {"reset", "truncated", "refused"}
    assert [one.status for one in recording.responses[:6]] == [200] * 6
    assert all(EVENTS[0] in body(one) for one in recording.responses[:6])
    # One may have got into the dying server's queue.
    assert kinds(recording)[-12:] == ["refused"] * 12


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.parametrize("served", [False, True])
def test_ten_thousand_failing_requests_leave_nothing_behind(served: bool) -> None:
    def run(base_url: str) -> None:
        failing = plan(base_url, 10_000, concurrency=8)
        recording = Client(plan(base_url, 10, concurrency=8)).run()
        before = open_files()
        tracemalloc.start()
        try:
            recording = Client(failing).run()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(recording.responses) == 10_000
        assert set(kinds(recording)) <= ({"reset", "truncated"} if served else {"refused"})
        assert open_files() == before
        assert held < 16 * 2**20

    if served:
        with serve_resets() as base_url:
            run(base_url)
    else:
        run(f"http://127.0.0.1:{closed_port()}")


def test_a_client_that_fails_to_connect_goes_on_listening_to_others() -> None:
    first = threading.Event()

    def one_only(talk: Talk, _: Asked) -> None:
        talk.send(CHUNKED)
        first.set()
        for event in EVENTS:
            talk.send(chunk(event), pause=0.02)
        talk.send(LAST)
        talk.close()

    with serve(one_only) as server:
        recording = load(server.base_url, 3, concurrency=2)
    assert kinds(recording) == [None] * 3


# -- answers without end -----------------------------------------------------------------------

EVENT = EVENTS[0]


def endless(start: bytes, piece: bytes) -> Script:
    """Sends *start*, and *piece* again and again until the client goes."""

    def script(talk: Talk, _: Asked) -> None:
        with contextlib.suppress(OSError):
            talk.send(start)
            while True:
                talk.send(piece)

    return script


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes that a response may have in this test."""
    monkeypatch.setattr(room, "PER_RESPONSE", 200_000)
    monkeypatch.setattr(room, "PER_TOKEN", 1000)
    monkeypatch.setattr(room, "KEPT", 10_000)
    monkeypatch.setattr(client, "KEPT", 10_000)
    return 200_000 + 4 * 1000


ENDLESS = [
    (CHUNKED, chunk(EVENT) * 100),
    (CHUNKED, chunk(EVENT)),
    (HEAD + b"\r\n", EVENT * 100),
    (HEAD + b"Content-Length: 999999999999\r\n\r\n", EVENT * 100),
    (CHUNKED + b"fffffffffff\r\n", b"x" * 10_000),
    (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 100),
    (b"HTTP/1.1 500 No\r\nContent-Length: 999999999999\r\n\r\n", b"x" * 10_000),
]


@pytest.mark.parametrize(
    ("start", "piece"),
    ENDLESS,
    ids=["chunks", "a chunk each", "until close", "length", "one chunk", "informational", "an error"],
)
def test_an_answer_without_end_fails_its_request_and_leaves_the_others(
    little_room: int, start: bytes, piece: bytes
) -> None:
    with serve(in_turn(endless(start, piece), always(STREAM))) as server:
        recording = load(server.base_url, 3, timeout=60.0)
    assert kinds(recording) == ["too_large", None, None]
    failed = recording.responses[0]
    assert "the most for 4 tokens" in str(failed.failure)
    assert sum(len(data) for _, data in failed.body) <= 10_000
    assert not failed.complete
    # The connection is closed: nothing of the rest is mistaken for another answer.
    assert recording.responses[1].new_connection


def test_what_a_level_stores_is_bounded(little_room: int) -> None:
    with serve(endless(CHUNKED, chunk(EVENT) * 100)) as server:
        sender = Client(plan(server.base_url, 4, concurrency=4, memory=150_000))
        tracemalloc.start()
        recording = sender.run()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert set(kinds(recording)) == {"too_large"}
    assert most < 4_000_000
    # Less than a response may have: none comes to its own end.
    assert all("memory that the load client may take" in str(one.failure) for one in recording.responses)


def test_room_is_given_back_where_a_busy_server_is_asked_again(little_room: int) -> None:
    busy = always(plain("503 No", b"x" * 150_000, "Retry-After: 0"))
    with serve(in_turn(busy, busy, busy, always(STREAM))) as server:
        recording = load(server.base_url, 1, retries=3, memory=250_000)
    assert kinds(recording) == [None]
    assert recording.responses[0].attempts == 4


# -- a busy server -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_busy_server_is_asked_again_where_the_plan_says_so(status: str) -> None:
    busy = always(plain(status, b"later", "Retry-After: 0"))
    with serve(in_turn(busy, busy, always(STREAM))) as server:
        recording = load(server.base_url, 1, retries=2)
    (raw,) = recording.responses
    assert kinds(recording) == [None]
    assert (raw.attempts, body(raw)) == (3, BODY)
    assert numbers(server.asked) == [0, 0, 0]


def test_a_server_that_stays_busy_is_a_failure_after_the_last_try() -> None:
    with serve(always(BUSY)) as server:
        recording = load(server.base_url, 2, retries=3)
    assert kinds(recording) == ["status"] * 2
    assert [one.attempts for one in recording.responses] == [4, 4]
    assert b"later" in body(recording.responses[0])


def test_one_that_waits_to_be_sent_again_does_not_block_the_others() -> None:
    busy = always(plain("503 Service Unavailable", b"", "Retry-After: 1"))
    with serve(in_turn(busy, always(STREAM))) as server:
        recording = load(server.base_url, 6, concurrency=2, retries=1)
    assert kinds(recording) == [None] * 6
    late = next(one for one in recording.responses if one.attempts == 2)
    others = [one for one in recording.responses if one is not late]
    assert late.sent > max(one.ended for one in others)
    assert numbers(server.asked)[-1] == late.number


@pytest.mark.parametrize("value", ["600", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_longer_than_the_timeout_is_not_waited_for(value: str) -> None:
    with serve(always(plain("503 Service Unavailable", b"", f"Retry-After: {value}"))) as server:
        recording = load(server.base_url, 2, retries=5)
    assert kinds(recording) == ["status"] * 2
    assert len(server.asked) == 2


@pytest.mark.parametrize("value", ["Fri, 31 Dec 9999 23:59:59 +99999999999", "soon", "-5", "\xb2"])
def test_a_busy_server_that_names_no_time_is_asked_again(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(endings, "_PAUSE", 0.0)
    answer = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: %s\r\n\r\n" % value.encode("latin-1")
    with serve(in_turn(always(answer), always(STREAM))) as server:
        recording = load(server.base_url, 2, retries=1)
    assert kinds(recording) == [None, None]
    assert recording.responses[0].attempts == 2


# -- when requests go out ----------------------------------------------------------------------


def test_a_closed_loop_keeps_its_number_in_flight_and_the_order_of_the_plan() -> None:
    flying, most, lock = 0, 0, threading.Lock()

    def script(talk: Talk, _: Asked) -> None:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        talk.wait(0.01)
        with lock:
            flying -= 1
        talk.send(STREAM)

    with serve(script) as server:
        recording = load(server.base_url, 20, concurrency=4, warmup=5)
    assert kinds(recording) == [None] * 20
    assert most == 4
    sent = [one.sent for one in recording.responses]
    assert sent == sorted(sent)
    assert [one.number for one in recording.responses] == list(range(20))
    assert [one.warmup for one in recording.responses] == [True] * 5 + [False] * 15
    assert all(one.scheduled is None for one in recording.responses)
    assert sorted(numbers(server.asked)) == list(range(20))


def test_more_streams_than_requests_send_each_request_once() -> None:
    with serve(always(STREAM)) as server:
        assert kinds(load(server.base_url, 3, concurrency=50)) == [None] * 3
        assert server.connections == 3


@pytest.mark.parametrize("loop", [{"concurrency": 2}, {"schedule": tuple(i * 0.05 for i in range(200))}])
def test_nothing_is_sent_after_the_duration_which_begins_with_the_first_measured_request(
    loop: dict[str, Any],
) -> None:
    with serve(waiting(0.02, STREAM)) as server:
        recording = load(server.base_url, 200, warmup=4, duration=0.5, **loop)
    assert kinds(recording) == [None] * len(recording.responses)
    assert 5 <= len(recording.responses) < 200
    measured = [one for one in recording.responses if not one.warmup]
    start = measured[0].sent if measured[0].scheduled is None else measured[0].scheduled
    asked = [one.sent if one.scheduled is None else one.scheduled for one in measured]
    assert max(asked) < start + 500_000_000
    assert len(server.asked) == len(recording.responses)


def test_what_would_be_sent_again_after_the_duration_is_a_failure_at_once() -> None:
    with serve(always(plain("503 Service Unavailable", b"", "Retry-After: 5"))) as server:
        recording = load(server.base_url, 50, concurrency=2, duration=0.3, retries=3)
    assert set(kinds(recording)) == {"status"}
    assert {one.attempts for one in recording.responses} == {1}


def test_an_open_loop_sends_by_its_schedule_whatever_the_server_does() -> None:
    schedule = (0.0, 0.001, 0.05, 0.05, 0.0512, 0.12)
    with serve(waiting(0.6, STREAM)) as server:
        recording = load(server.base_url, 6, schedule=schedule, warmup=1)
    assert kinds(recording) == [None] * 6
    assert [one.number for one in recording.responses] == list(range(6))
    for one, due in zip(recording.responses, schedule, strict=True):
        assert one.scheduled == recording.started + round(due * 1e9)
        assert one.sent >= one.scheduled
    assert server.connections == 6
    assert recording.responses[-1].sent < recording.responses[0].ended


def test_an_open_loop_uses_connections_again() -> None:
    with serve(always(STREAM)) as server:
        recording = load(server.base_url, 4, schedule=(0.0, 1.1, 1.3, 1.5))
        assert server.connections == 1
    assert not any(one.new_connection for one in recording.responses)


def test_an_open_loop_against_nobody_fails_every_request_when_it_is_due() -> None:
    recording = load(f"http://127.0.0.1:{closed_port()}", 5, schedule=tuple(i * 0.02 for i in range(5)))
    assert kinds(recording) == ["refused"] * 5
    assert all(one.scheduled is not None and one.sent >= one.scheduled for one in recording.responses)


# -- what is asked before ----------------------------------------------------------------------


def test_a_missing_key_is_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    with serve(always(STREAM)) as server:
        with pytest.raises(UsageError, match="A_KEY"):
            load(server.base_url, endpoint={"api_key_env": "A_KEY"})
        assert server.connections == 0


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-very-secret")
    with serve(in_turn(always(STREAM), resetting(CHUNKED), always(BUSY))) as server:
        sender = Client(plan(server.base_url, 3, endpoint={"api_key_env": "A_KEY"}))
        recording = sender.run()
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-very-secret"}
    assert kinds(recording) == [None, "reset", "status"]
    assert "secret" not in repr(recording) + repr(sender) + repr(list(map(str, kinds(recording))))


def test_too_few_open_files_are_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 256))
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    with pytest.raises(UsageError, match="ulimit -n"):
        Client(plan("http://127.0.0.1:1", 500, concurrency=500))
    assert limits == []
    Client(plan("http://127.0.0.1:1", 500, concurrency=20))
    Client(plan("http://127.0.0.1:1", 500, schedule=tuple(map(float, range(500)))))
    assert limits == [(148, 256), (256, 256)]


def test_a_socket_that_the_system_does_not_give_is_a_failed_request(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter(range(5))

    def limited(*given: int) -> socket.socket:
        if next(left, None) is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return socket.socket(*given)

    monkeypatch.setattr(connection, "socket", SimpleNamespace(**{**vars(socket), "socket": limited}))
    with serve(waiting(0.2, STREAM)) as server:
        recording = load(server.base_url, 30, schedule=(0.0,) * 30)
    assert kinds(recording) == [None] * 5 + ["refused"] * 25
    assert "ulimit -n" in str(recording.responses[-1].failure)

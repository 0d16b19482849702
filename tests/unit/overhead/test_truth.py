"""Does the reference server keep its schedule and tell the truth, and is the client held against it?"""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.facts import ClientFacts
from pytest_llmbench.client.plan import LoadPlan, LoadResult, Request, RequestResult
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.servers.endpoint import Endpoint

FOLDER = Path(__file__).parents[3] / "benchmarks" / "overhead"
MS = 1_000_000

Start = Callable[..., Any]


def _module(name: str) -> ModuleType:
    """One of the benchmark's modules; it and its neighbors are forgotten at once."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        module = importlib.import_module(name)
    for new in set(sys.modules) - before:
        if str(FOLDER) in str(getattr(sys.modules[new], "__file__", "")):
            del sys.modules[new]
    return module


@pytest.fixture(scope="session")
def truth() -> ModuleType:
    return _module("truth")


@pytest.fixture(scope="session")
def serving() -> ModuleType:
    return _module("serving")


def _built(truth: ModuleType, folder: Path, *, tls: bool) -> Path:
    if sys.platform != "linux":
        pytest.skip("the reference server is for Linux")
    try:
        program: Path = truth.build(folder, tls=tls)
    except truth.NotMeasuredError as error:
        if "complains" in str(error) or (not tls and "compiled" in str(error)):
            raise
        pytest.skip(str(error))
    return program


@pytest.fixture(scope="session")
def program(truth: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(truth, tmp_path_factory.mktemp("truth"), tls=False)


@pytest.fixture(scope="session")
def tls_program(truth: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(truth, tmp_path_factory.mktemp("truth"), tls=True)


@pytest.fixture
def start(truth: ModuleType, program: Path) -> Iterator[Start]:
    """Starts a server that is ended with the test; quick unless told otherwise."""
    servers = []

    def start(*arguments: str, program: Path = program) -> Any:
        servers.append(truth.TruthServer(program, "--ttft", "5", "--gap", "1", *arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    pieces: list[bytes]
    """Chunks of a chunked body, or the whole."""

    @property
    def json(self) -> Any:
        return json.loads(b"".join(self.pieces))

    @property
    def events(self) -> list[Any]:
        """The data of every event but the last, which is [DONE]."""
        texts = [piece.decode().removeprefix("data: ").removesuffix("\n\n") for piece in self.pieces]
        assert texts[-1] == "[DONE]"
        return [json.loads(text) for text in texts[:-1]]

    @property
    def choices(self) -> list[Any]:
        return [event["choices"][0] for event in self.events if event["choices"]]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server: Any, context: ssl.SSLContext | None = None) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", server.port, ssl=context))

    async def read(self) -> Answer:
        """One response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        pieces = []
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                pieces.append(await self.reader.readexactly(size))
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        else:
            pieces.append(await self.reader.readexactly(int(headers["content-length"])))
        return Answer(int(head[0].split()[1]), headers, pieces)

    async def ask(self, path: str, body: object = None) -> Answer:
        self.writer.write(request(path, body))
        return await self.read()

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def request(path: str, body: object = None, *headers: str) -> bytes:
    """GET without a body, else POST; a body that is bytes is sent as it is."""
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: x", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(sent)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + sent


def completion(tokens: int = 8, **more: object) -> dict[str, object]:
    return {"model": "m", "prompt": "one two three", "max_tokens": tokens, "stream": True, **more}


def chat(tokens: int = 8, **more: object) -> dict[str, object]:
    messages = [{"role": "user", "content": "one two"}]
    return {"model": "m", "messages": messages, "max_tokens": tokens, "stream": True, **more}


def ask(server: Any, *bodies: Mapping[str, object], context: ssl.SSLContext | None = None) -> list[Answer]:
    """All at once, each on a connection of its own."""

    async def one(body: Mapping[str, object]) -> Answer:
        client = await Client.open(server, context)
        answer = await client.ask(f"/v1/{'chat/' if 'messages' in body else ''}completions", body)
        await client.close()
        return answer

    async def everything() -> list[Answer]:
        return await asyncio.gather(*(one(body) for body in bodies))

    return asyncio.run(everything())


def exponential_gaps(seed: int, number: int, count: int, mean: float) -> list[int]:
    """ns; SplitMix64's draws as the server makes them."""
    mask = 2**64 - 1
    state, gaps = (seed * 0xD1342543DE82EF95 + number) & mask, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        bits = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        bits ^= bits >> 31
        gaps.append(int(-math.log(((bits >> 11) + 1) * 2.0**-53) * mean))
    return gaps


def assert_kept(served: Any, due: list[int]) -> None:
    """No event is early, and the log's lateness is from these *due* times."""
    late = [event - planned for event, planned in zip(served.events, due, strict=True)]
    assert min(late) >= 0
    assert abs(max(late) - served.late) <= 2


def test_each_token_is_due_by_an_absolute_schedule(start: Start) -> None:
    server = start()
    ask(server, *[completion(50)] * 4)
    log = server.stop()
    assert len(log) == 4
    for served in log:
        assert served.complete
        assert served.started == served.received
        assert_kept(served, [served.started + 5 * MS + i * MS for i in range(50)])


def test_exponential_gaps_are_drawn_from_the_seed_and_the_request_s_number(start: Start) -> None:
    server = start("--gaps", "exponential", "--seed", "7")
    ask(server, completion(100), completion(100))
    for served in server.stop():
        gaps = exponential_gaps(7, served.number, 99, MS)
        assert 0.5 * MS < sum(gaps) / len(gaps) < 1.5 * MS
        due = [served.started + 5 * MS]
        for gap in gaps:
            due.append(due[-1] + gap)
        assert_kept(served, due)


def test_a_completion_s_stream_ends_with_the_length_the_usage_and_done(start: Start) -> None:
    [answer] = ask(start(), completion(4, stream_options={"include_usage": True}))
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [choice["text"] for choice in answer.choices] == [" the", " of", " and", " to"]
    assert [choice["finish_reason"] for choice in answer.choices] == [None, None, None, "length"]
    assert answer.events[-1]["choices"] == []
    assert answer.events[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert {event["object"] for event in answer.events} == {"text_completion"}
    assert {event["model"] for event in answer.events} == {"m"}


def test_usage_comes_only_when_it_is_asked_for(start: Start) -> None:
    [answer] = ask(start(), completion(4, stream_options={"include_usage": False}))
    assert len(answer.events) == 4
    assert not any("usage" in event for event in answer.events)


def test_a_chat_can_begin_with_a_role_and_with_reasoning(start: Start) -> None:
    server = start("--role-chunk", "--reasoning", "2")
    [answer] = ask(server, chat(4, stream_options={"include_usage": True}))
    deltas = [choice["delta"] for choice in answer.choices]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": " the"},
        {"reasoning_content": " of"},
        {"content": " and"},
        {"content": " to"},
    ]
    assert {event["object"] for event in answer.events} == {"chat.completion.chunk"}
    usage = answer.events[-1]["usage"]
    assert usage["prompt_tokens"] == 2
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 2}
    [served] = server.stop()
    assert len(served.events) == 4  # The role is no token.


def test_several_tokens_in_one_event_come_with_the_last_of_them(start: Start) -> None:
    server = start("--tokens-per-chunk", "4", "--reasoning", "2")
    text, talk = ask(server, completion(10, user="text"), chat(10, user="talk"))
    assert [choice["text"].count(" ") for choice in text.choices] == [4, 4, 2]
    assert talk.choices[0]["delta"] == {"reasoning_content": " the of", "content": " and to"}
    log = {served.user: served for served in server.stop()}
    for served in log.values():
        assert served.tokens_of(4) == [4, 4, 2]
        assert_kept(served, [served.started + (5 + i) * MS for i in (3, 7, 9)])


def test_what_is_not_streamed_comes_at_once_with_its_last_token(start: Start) -> None:
    server = start("--reasoning", "2")
    text, talk = ask(server, completion(6, stream=False, user="a"), chat(6, stream=False, user="b"))
    assert text.json["choices"][0]["text"] == " the of and to in is"
    assert text.json["object"] == "text_completion"
    assert talk.json["choices"][0]["message"] == {
        "role": "assistant",
        "reasoning_content": " the of",
        "content": " and to in is",
    }
    assert talk.json["object"] == "chat.completion"
    assert text.json["usage"]["completion_tokens"] == talk.json["usage"]["completion_tokens"] == 6
    for served in server.stop():
        assert served.tokens_of(6) == [6]
        assert_kept(served, [served.started + 10 * MS])


def test_requests_beyond_the_slots_wait_for_their_turn(start: Start) -> None:
    server = start("--slots", "2")
    ask(server, *[completion(10)] * 5)
    log = server.stop()
    assert all(served.complete for served in log)
    assert [served.started for served in log] == sorted(served.started for served in log)
    for served in log:
        busy = [other for other in log if other.started <= served.started < other.events[-1]]
        assert len(busy) <= 2
        assert_kept(served, [served.started + (5 + i) * MS for i in range(10)])
    assert sum(served.started > served.received for served in log) == 3


def test_a_client_that_leaves_gives_its_slot_back(start: Start) -> None:
    server = start("--slots", "1")

    async def leave() -> Answer:
        first, waiting = await Client.open(server), await Client.open(server)
        first.writer.write(request("/v1/completions", completion(1_000_000, user="leaves")))
        await first.reader.readuntil(b" the")
        waiting.writer.write(request("/v1/completions", completion(user="leaves too")))
        await waiting.reader.readuntil(b"\r\n\r\n")
        last = await Client.open(server)
        last.writer.write(request("/v1/completions", completion(user="stays")))
        await waiting.close()
        await first.close()
        answer = await last.read()
        await last.close()
        return answer

    assert len(asyncio.run(leave()).choices) == 8
    log = {served.user: served for served in server.stop()}
    assert log["stays"].complete
    assert not log["leaves"].complete
    assert log["leaves"].tokens > 0
    assert log["leaves too"].events == ()


def test_a_connection_is_kept_and_takes_requests_in_any_pieces(start: Start) -> None:
    async def talk() -> list[int]:
        client = await Client.open(server)
        found = [len((await client.ask("/v1/completions", completion(3))).choices)]
        for byte in request("/v1/completions", completion(2, user='a "quoted" name')):
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        found.append(len((await client.read()).choices))
        both = request("/v1/completions", completion(4)) + request("/v1/completions", completion(5))
        client.writer.write(both)
        found += [len((await client.read()).choices), len((await client.read()).choices)]
        await client.close()
        return found

    server = start()
    assert asyncio.run(talk()) == [3, 2, 4, 5]
    assert [served.user for served in server.stop()] == [None, 'a "quoted" name', None, None]


def test_connection_close_is_honoured(start: Start) -> None:
    async def talk() -> list[tuple[Answer, bytes]]:
        found = []
        for path, body in (("/v1/completions", completion(2)), ("/health", None)):
            client = await Client.open(server)
            client.writer.write(request(path, body, "Connection: close"))
            found.append((await client.read(), await client.reader.read()))
            await client.close()
        return found

    server = start()
    for answer, rest in asyncio.run(talk()):
        assert answer.headers["connection"] == "close"
        assert rest == b""


def test_models_health_and_unknown_paths(start: Start) -> None:
    async def talk() -> list[Answer]:
        client = await Client.open(server)
        paths = ("/v1/models", "/health", "/nowhere", "/v1/completions")
        answers = [await client.ask(path) for path in paths]
        answers.append(await client.ask("/nowhere", {}))
        await client.close()
        return answers

    server = start()
    answers = asyncio.run(talk())
    assert [answer.status for answer in answers] == [200, 200, 404, 405, 404]
    assert answers[0].json["data"][0]["id"] == "truth"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"prompt": "x"} x',
        b'{"prompt": "\x01"}',
        b'{"prompt": "\\u00g0"}',
        b'{"prompt": tru}',
        b'{"prompt": "x" "y"}',
        b"[" * 1000,
        b'{"prompt": ' + b"[" * 1000 + b"]" * 1000 + b"}",
        b"{}",
        b'{"prompt": 5}',
        b'{"messages": []}',
        b'{"prompt": "x", "max_tokens": 0}',
        b'{"prompt": "x", "max_tokens": 1.5}',
        b'{"prompt": "x", "max_tokens": "5"}',
        b'{"prompt": "x", "max_tokens": 1000001}',
    ],
)
def test_a_bad_body_is_refused_and_the_connection_is_kept(start: Start, body: bytes) -> None:
    async def talk() -> tuple[Answer, Answer]:
        client = await Client.open(server)
        answers = (
            await client.ask("/v1/completions", body),
            await client.ask("/v1/completions", completion(2)),
        )
        await client.close()
        return answers

    server = start()
    bad, good = asyncio.run(talk())
    assert bad.status == 400
    assert bad.json["error"]["message"]
    assert len(good.choices) == 2
    assert len(server.stop()) == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET  HTTP/1.1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(start: Start, sent: bytes) -> None:
    async def talk() -> tuple[Answer, bytes]:
        client = await Client.open(server)
        client.writer.write(sent)
        answer = await client.read(), await client.reader.read()
        await client.close()
        return answer

    server = start()
    answer, rest = asyncio.run(talk())
    assert answer.status == 400
    assert rest == b""


def test_tokens_of_a_prompt_are_its_words_or_its_ids(start: Start) -> None:
    def usage(body: dict[str, object]) -> int:
        body = {**body, "max_tokens": 1, "stream": False}
        count: int = ask(server, body)[0].json["usage"]["prompt_tokens"]
        return count

    server = start()
    assert usage({"prompt": "  one  two "}) == 2
    assert usage({"prompt": [5, 6, 7]}) == 3
    assert usage({"prompt": ["one two", "three"]}) == 3
    parts = [{"type": "text", "text": "four five"}]
    messages = [{"role": "system", "content": "one two three"}, {"role": "user", "content": parts}]
    assert usage({"messages": messages}) == 5
    assert usage({"messages": []}) == 0


def test_a_thousand_streams_all_get_all_their_tokens(start: Start) -> None:
    count = 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * count:
        if hard != resource.RLIM_INFINITY and hard < 2 * count:
            pytest.skip(f"only {hard} files may be open")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * count, hard))
    server = start("--gap", "10")
    answers = ask(server, *[completion(20)] * count)
    assert [len(answer.choices) for answer in answers] == [20] * count
    log = server.stop()
    assert sum(served.complete for served in log) == count
    for served in log:
        assert_kept(served, [served.started + (5 + 10 * i) * MS for i in range(20)])


def test_a_client_that_does_not_read_holds_nobody_up(start: Start) -> None:
    server = start("--gap", "0", "--tokens-per-chunk", "100000")

    async def talk() -> tuple[int, Answer]:
        quiet = socket.socket()
        quiet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        quiet.connect(("127.0.0.1", server.port))
        quiet.sendall(request("/v1/completions", completion(1_000_000, user="quiet")))
        other = await Client.open(server)
        answer = await other.ask("/v1/completions", completion(4))
        await other.close()
        quiet.settimeout(60)
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += (piece := quiet.recv(1 << 20))
            assert piece
        quiet.close()
        return got.count(b"data: "), answer

    events, answer = asyncio.run(talk())
    assert events == 11
    assert len(answer.choices) == 1
    log = {served.user: served for served in server.stop()}
    assert log["quiet"].complete
    assert log["quiet"].blocked > 0
    assert log[None].blocked == 0


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "quit", "eof"])
def test_however_it_ends_it_writes_its_log(program: Path, tmp_path: Path, how: str) -> None:
    log = tmp_path / "log"
    command = [str(program), "--log", str(log), "--until-eof"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with socket.create_connection(("127.0.0.1", int(process.stdout.readline()))) as client:
        client.sendall(request("/v1/completions", completion(1_000_000)))
        while b" the" not in client.recv(1 << 16):
            pass
        if how == "quit":
            with socket.create_connection(client.getpeername()) as other:
                other.sendall(request("/quit"))
                assert other.recv(1 << 16).startswith(b"HTTP/1.1 200")
        elif how == "eof":
            process.stdin.close()
        else:
            os.kill(process.pid, getattr(signal, how))
        assert process.wait(60) == 0
    process.stdin.close()
    process.stdout.close()
    [line] = log.read_text().splitlines()
    assert json.loads(line)["complete"] is False
    assert json.loads(line)["events"]


@pytest.mark.parametrize(
    "arguments", [("--ttft", "x"), ("--gaps", "round"), ("--nothing",), ("x",), ("--tokens-per-chunk", "0")]
)
def test_a_wrong_option_is_refused(truth: ModuleType, program: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(truth.NotMeasuredError, match="exit status 2"):
        truth.TruthServer(program, *arguments)


def test_tls_carries_the_same_events(
    truth: ModuleType, start: Start, tls_program: Path, tmp_path: Path
) -> None:
    try:
        cert, key = truth.certificate(tmp_path)
    except truth.NotMeasuredError as error:
        pytest.skip(str(error))
    server = start("--cert", str(cert), "--key", str(key), program=tls_program)
    context = ssl.create_default_context(cafile=str(cert))
    answers = ask(server, *[completion(20)] * 8, context=context)
    assert [len(answer.choices) for answer in answers] == [20] * 8
    log = server.stop()
    assert len(log) == 8
    for served in log:
        assert_kept(served, [served.started + (5 + i) * MS for i in range(20)])


def served(number: int, received: int, events: Sequence[int], tokens: int) -> dict[str, Any]:
    return {
        "number": number,
        "user": None,
        "received": received,
        "started": received,
        "tokens": tokens,
        "events": tuple(events),
        "late": 0,
        "blocked": 0,
        "complete": True,
    }


def level(delay: int, count: int = 40, *, lost: int = 0) -> tuple[LoadPlan, LoadResult, list[dict[str, Any]]]:
    """Four streams, 5 ms to the first of 10 tokens, 1 ms a token; all comes *delay* ns late, some is lost."""
    log, found = [], []
    for number in range(count):
        sent = (number // 4) * 20 * MS
        events = [sent + (5 + i) * MS for i in range(10)]
        log.append(served(number, sent, events, 10))
        times = tuple(event + delay for event in events)
        line = Timeline(sent, sent, None, times, times[-1], 1, 10 - lost, "o", "p", "length")
        found.append(
            RequestResult(
                number=number, at=0.0, warmup=False, sent=sent, ended=times[-1], timeline=line, chunks=10
            )
        )
    plan = LoadPlan(
        Endpoint("http://x/v1", "m"), (Request(10, "x"),) * count, GenerationParams(), concurrency=4
    )
    cpu = count * 10 * 8e-6
    client = ClientFacts(stamps="kernel", cpu=cpu, reads=0)
    return plan, LoadResult(tuple(found), 0, found[-1].ended, client), log


def figures(serving: ModuleType, plan: LoadPlan, result: LoadResult, log: list[dict[str, Any]]) -> Any:
    case = serving.Case("x", 4, 10, serving.bounds_for(4), 4)
    return serving.figures(case, plan, result, [serving.Served(**one) for one in log])


def test_a_client_that_sees_all_at_once_agrees_with_the_log(serving: ModuleType) -> None:
    found = figures(serving, *level(0))
    for name in (serving.TTFT, serving.TPOT, serving.GAP, serving.THROUGHPUT):
        assert found[name].judged == pytest.approx(1.0)
    assert found[serving.TTFT].truth == pytest.approx(5e-3)
    assert found[serving.TPOT].truth == pytest.approx(1e-3)
    assert found[serving.CPU].judged == pytest.approx(8e-6)


def test_what_the_client_sees_late_is_in_its_ratio(serving: ModuleType) -> None:
    found = figures(serving, *level(MS))
    assert found[serving.TTFT].judged == pytest.approx(6 / 5)
    assert found[serving.TPOT].judged == pytest.approx(1.0)


def test_a_token_that_the_client_lost_is_no_figure(serving: ModuleType) -> None:
    with pytest.raises(serving.NotMeasuredError, match="360 tokens came, and 40 with 400 were sent"):
        figures(serving, *level(0, lost=1))


def test_several_tokens_an_event_count_with_it(serving: ModuleType) -> None:
    log = [serving.Served(**served(0, 0, [4 * MS, 8 * MS, 10 * MS], 10))]
    truth = serving.Truth.of(log, 4, 5 * MS, 15 * MS)
    assert truth.throughput == pytest.approx(6 / 10e-3)
    assert truth.tpot == pytest.approx(6e-3 / 6)


def test_bounds_are_those_of_the_next_larger_load(serving: ModuleType) -> None:
    of = {streams: serving.bounds_for(streams)[serving.TTFT].at_most for streams in (1, 64, 65, 1024, 5000)}
    assert of == {1: 1.02, 64: 1.02, 65: 1.04, 1024: 1.15, 5000: 1.15}


def row(serving: ModuleType, *ratios: float) -> Any:
    values = iter(ratios)
    case = serving.Case("x", 4, 10, {serving.TTFT: serving.bounds_for(64)[serving.TTFT]}, 4)
    found = serving.Row(
        case, lambda _: {serving.TTFT: serving.Value(next(values), 1.0), serving.CPU: serving.Value(8e-6)}
    )
    for number in range(len(ratios)):
        found.take(number)
    return found


def test_a_row_is_judged_by_the_median_of_its_runs(serving: ModuleType) -> None:
    good, bad = row(serving, 1.5, 1.01, 0.99), row(serving, 1.5, 1.5, 0.99)
    assert good.held
    assert not bad.held
    assert [line[-1] for line in bad.lines()] == ["OVER", "–"]
    assert good.lines()[0][1:6] == (
        "TTFT p50",
        "1000 ms",
        "1010 ms",
        "1.0100 (0.9900 to 1.5000)",
        "within 2%",
    )
    assert good.lines()[1][2:6] == ("–", "8.00 µs", "8.00 (8.00 to 8.00)", "–")


def test_a_row_that_cannot_be_measured_is_not_held(serving: ModuleType) -> None:
    def measure(_: int) -> Any:
        msg = "no compiler"
        raise serving.NotMeasuredError(msg)

    found = serving.Row(serving.Case("x", 4, 10, {}, 4), measure)
    found.take(0)
    found.take(1)
    assert not found.held
    assert found.problem == "no compiler"
    assert found.lines()[0][-1] == "not measured"


def test_the_command_measures_each_row_that_it_is_asked_for(
    serving: ModuleType, program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    load = ("--streams", "4", "--tokens", "8", "--waves", "5", "--runs", "1", "--ttft", "20")
    status = serving.main([*load, "--rows", "closed", "chat", "chunks", "--json", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [row["name"] for row in rows] == ["4 streams", "4, chat", "4, 4 tokens a chunk"]
    assert [row["problem"] for row in rows] == [None] * 3
    assert status == int(any("OVER" in row["verdicts"].values() for row in rows))
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + sum(len(row["runs"][0]) for row in rows)

"""Does a response end where HTTP says, and is its body what the server wrote?"""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.http import MAX_HEAD, MalformedError, Response, body_of
from pytest_llmbench.client.outgoing import Writer
from pytest_llmbench.client.plan import Request
from pytest_llmbench.errors import UsageError
from pytest_llmbench.servers.endpoint import Endpoint
from tests.fakes.llmbench_servers import BODY, CHUNKED, LAST, STREAM, chunk, plain

pytestmark = pytest.mark.usefixtures("receiver")

OK = b"HTTP/1.1 200 OK\r\n"
FANCY = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    + OK
    + b"TRANSFER-encoding:  Chunked \r\nX: 1\r\nx: 2\r\n\r\n"
    + b"00A;name=value\r\n0123456789\r\n"
    + b'1 ; quoted="x"\r\n!\r\n'
    + b"b\r\ndata: \r\n\r\n\n\r\n"
    + b"000\r\nTrailer: x\r\nOther: y\r\n\r\n"
)
FANCY_BODY = b"0123456789!data: \r\n\r\n\n"


def fed(*segments: bytes) -> Response:
    response = Response()
    for segment in segments:
        response.feed(segment)
    return response


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


def body(segments: list[bytes]) -> bytes:
    return b"".join(piece for _, piece in body_of(enumerate(segments)))


@pytest.mark.parametrize(("wire", "wanted"), [(FANCY, FANCY_BODY), (STREAM, BODY)])
def test_a_chunked_response_cut_at_any_one_byte_is_the_same(wire: bytes, wanted: bytes) -> None:
    for place in range(len(wire) + 1):
        segments = cut(wire, [place])
        response = fed(*segments)
        assert (response.ended, response.excess, response.status) == (True, False, 200)
        assert body(segments) == wanted


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    st.lists(st.integers(0, 600), max_size=40),
    st.booleans(),
)
def test_a_body_is_the_same_however_it_is_chunked_and_cut(
    pieces: list[bytes], places: list[int], chunked: bool
) -> None:
    whole = b"".join(pieces)
    wire = CHUNKED + b"".join(map(chunk, pieces)) + LAST if chunked else plain("200 OK", whole)
    segments = cut(wire, [min(place, len(wire)) for place in places])
    response = Response()
    ends = [response.feed(segment) for segment in segments]
    assert ends == [False] * (len(segments) - 1) + [True]
    assert body(segments) == whole


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_whatever_comes_it_ends_or_is_malformed_or_needs_more(data: bytes, places: list[int]) -> None:
    for wire in (data, CHUNKED + data):
        response = Response()
        with suppress(MalformedError):
            for segment in cut(wire, [min(place, len(wire)) for place in places]):
                response.feed(segment)
            assert response.close() == response.ended


def test_each_piece_of_a_body_has_the_arrival_of_its_segment() -> None:
    segments = [
        (10, CHUNKED + b"5\r\nab"),
        (20, b"cde\r\n2\r"),
        (30, b"\n"),
        (40, b"fg\r\n1\r\nh\r\n"),
        (50, LAST),
    ]
    assert body_of(segments) == [(10, b"ab"), (20, b"cde"), (40, b"fgh")]


def test_a_body_without_length_ends_with_its_connection() -> None:
    response = fed(OK + b"\r\nall of", b" this")
    assert not response.ended
    assert not response.reusable
    assert response.close()
    assert body([OK + b"\r\nall of", b" this"]) == b"all of this"


def test_a_cut_connection_is_no_end_of_a_body_of_known_length() -> None:
    assert not fed(plain("200 OK", b"12345")[:-1]).close()
    assert not fed(STREAM[:-1]).close()
    assert not fed(OK + b"\r\nall of").close(whole=False)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_some_responses_have_no_body_whatever_they_say(status: str) -> None:
    assert fed(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n".encode()).ended


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive, Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", True),
    ],
)
def test_whether_a_connection_is_kept_is_the_servers_word(head: bytes, reusable: bool) -> None:
    response = fed(head + b"Content-Length: 2\r\n\r\nok")
    assert response.ended
    assert response.reusable is reusable


@pytest.mark.parametrize("wire", [plain("200 OK", b"ok"), STREAM])
def test_bytes_after_the_end_spoil_the_connection_and_not_the_response(wire: bytes) -> None:
    response = fed(wire + b"HTTP")
    assert response.ended
    assert response.excess
    assert not response.reusable
    assert body([wire + b"HTTP"]) == body([wire])


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0"),
        (b"\x15\x03\x01\x00\x02\x02", "begins with"),
        (b"HTTP/2 200\r\n\r\n", "HTTP/2"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "2000"),
        (OK + b"no colon\r\n\r\n", "no colon"),
        (OK + b"Name : x\r\n\r\n", "Name :"),
        (OK + b" folded: first\r\n\r\n", "folded"),
        (OK + b"Content-Length: 1, 2\r\n\r\n", "Content-Length"),
        (OK + b"Content-Length: +1\r\n\r\n", "Content-Length"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "Transfer-Encoding"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n", "compressed"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "protocol"),
        (CHUNKED + b"xyz\r\n", "xyz"),
        (CHUNKED + b"0x5\r\nabcde\r\n", "0x5"),
        (CHUNKED + b"-1\r\n", "-1"),
        (CHUNKED + b"\r\n", "size"),
        (CHUNKED + b"3\nabc\r\n", "size"),
        (CHUNKED + b"3\r\nabcd\r\n", "longer than its size"),
        (CHUNKED + b"3\r\nabcd", "longer than its size"),
        (CHUNKED + b"f" * 20 + b"\r\n", "size"),
        (OK + b"X: " + b"y" * MAX_HEAD, "64 KiB"),
        ((OK + b"X: y\r\n" * (MAX_HEAD // 6)), "64 KiB"),
        (CHUNKED + b"1" * (MAX_HEAD + 1), "64 KiB"),
        (CHUNKED + b"0\r\n" + b"X: y\r\n" * (MAX_HEAD // 6 + 1), "64 KiB"),
    ],
)
def test_what_breaks_the_rules_is_malformed_however_it_is_cut(wire: bytes, words: str) -> None:
    with pytest.raises(MalformedError, match=words):
        fed(wire)
    with pytest.raises(MalformedError):
        fed(*(wire[place : place + 7] for place in range(0, len(wire), 7)))


def test_what_is_no_http_is_told_when_the_connection_ends() -> None:
    with pytest.raises(MalformedError, match="begins with 'HTTP'"):
        fed(b"HTTP").close()


def test_what_came_before_a_mistake_in_the_framing_is_kept() -> None:
    assert body([CHUNKED + b"2\r\nab\r\nzz\r\n"]) == b"ab"


def test_headers_that_come_twice_are_joined_and_folded_lines_unfolded() -> None:
    response = fed(OK + b"A: 1\r\na: 2\r\nB: x\r\n  y\r\nContent-Length: 0\r\n\r\n")
    assert (response.headers["a"], response.headers["b"]) == ("1, 2", "x y")


# -- what is written ---------------------------------------------------------------------------


def written(
    endpoint: Endpoint, request: Request | None = None, **params: Any
) -> tuple[list[str], dict[str, Any]]:
    """A request's line and headers, and its body."""
    asked = request or Request(8, prompt="Hé \ud800")
    data = Writer(endpoint, GenerationParams(**params)).write(asked)
    head, _, sent = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    assert f"Content-Length: {len(sent)}" in lines
    return lines, json.loads(sent)


def test_a_request_says_what_to_generate() -> None:
    lines, body = written(Endpoint("http://host:8000/v1/", "m"), temperature=0.5, top_p=0.9, top_k=3, seed=7)
    assert lines[0] == "POST /v1/completions HTTP/1.1"
    assert lines[1] == "Host: host:8000"
    assert "Accept: text/event-stream" in lines
    assert "Accept-Encoding: identity" in lines
    assert body == {
        "model": "m",
        "prompt": "Hé \ud800",
        "max_tokens": 8,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "seed": 7,
        "ignore_eos": True,
        "min_tokens": 8,
    }


def test_a_plain_server_is_asked_for_nothing_of_its_own() -> None:
    endpoint = Endpoint(
        "http://h", "m", api="chat", extensions=False, include_usage=False, body={"seed": None}
    )
    lines, body = written(endpoint, Request(2, messages=({"role": "user", "content": "x"},)), top_k=3)
    assert lines[:2] == ["POST /chat/completions HTTP/1.1", "Host: h"]
    assert body["messages"] == [{"role": "user", "content": "x"}]
    assert not {"seed", "ignore_eos", "min_tokens", "top_k", "stream_options", "prompt"} & set(body)


def test_the_key_and_headers_go_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret\n")
    lines, _ = written(
        Endpoint("http://h", "m", api_key_env="A_KEY", headers={"X-Team": "é", "user-agent": "me"})
    )
    assert "Authorization: Bearer sk-secret" in lines
    assert "X-Team: é" in lines
    assert [line for line in lines if line.lower().startswith("user-agent")] == ["user-agent: me"]


@pytest.mark.parametrize("value", [None, "", " "])
def test_a_variable_without_a_key_is_told(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("A_KEY", value)
    with pytest.raises(UsageError, match="environment variable A_KEY is not set"):
        written(Endpoint("http://h", "m", api_key_env="A_KEY"))


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk\r\nX-Injected: 1")
    with pytest.raises(UsageError, match="A_KEY") as caught:
        written(Endpoint("http://h", "m", api_key_env="A_KEY"))
    assert "Injected" not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [{"X": "a\r\nY: b"}, {"X y": "a"}, {"": "a"}, {"Content-Length": "3"}, {"accept-encoding": "gzip"}],
)
def test_a_header_that_cannot_be_sent_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="header"):
        written(Endpoint("http://h", "m", headers=headers))


@pytest.mark.parametrize(
    "url",
    [
        "h:80",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://u:secret@h:99999",
        "http://h/a b",
        "http://[::1",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="base_url=") as caught:
        written(Endpoint(url, "m"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/completions", "[::1]:8000"),
        ("http://bücher.example/v1", "http://xn--bcher-kva.example/v1/completions", "xn--bcher-kva.example"),
        ("https://h:443/v1?a=b", "/v1/completions?a=b", "h"),
    ],
)
def test_a_proxy_is_told_the_whole_address_unless_it_is_a_tunnel(url: str, line: str, host: str) -> None:
    lines, _ = written(Endpoint(url, "m", proxy="http://proxy:3128"))
    assert lines[0] == f"POST {line} HTTP/1.1"
    assert lines[1] == f"Host: {host}"

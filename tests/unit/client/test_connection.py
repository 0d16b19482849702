"""Does every way to a server work, and does every broken one say why?"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client import connection, poller, pool, stamps
from pytest_llmbench.client.client import Client, LevelRecording
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.client.raw import RawResponse
from pytest_llmbench.errors import UsageError
from pytest_llmbench.servers.endpoint import Endpoint
from tests.fakes.llmbench_servers import (
    BODY,
    CHUNKED,
    LAST,
    STREAM,
    Asked,
    Talk,
    always,
    chunk,
    forward,
    in_turn,
    plain,
    serve,
)

pytestmark = pytest.mark.usefixtures("receiver")

Authority = Callable[..., tuple[ssl.SSLContext, Path]]


def load(base_url: str, requests: int = 1, prompt: str = "x", **endpoint: Any) -> LevelRecording:
    """Send requests one after the other."""
    asked = tuple(Request(4, prompt=prompt) for _ in range(requests))
    plan = LoadPlan(Endpoint(base_url, "m", **endpoint), asked, GenerationParams(), concurrency=1, timeout=20)
    return Client(plan).run()


def ok(raw: RawResponse) -> bool:
    assert raw.failure is None
    return raw.complete and body(raw) == BODY


def body(raw: RawResponse) -> bytes:
    return b"".join(piece for _, piece in raw.body)


def why(recording: LevelRecording) -> tuple[str, str]:
    """Kind and words of the failure of all."""
    failures = {raw.failure for raw in recording.responses}
    assert len(failures) == 1
    failure = failures.pop()
    assert failure is not None
    return failure.kind, failure.detail


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Makes self-signed certificates: a server's context, and the file that a client trusts it by."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command")
    folder = tmp_path_factory.mktemp("tls")
    made: dict[str, tuple[ssl.SSLContext, Path]] = {}

    def make(name: str = "IP:127.0.0.1") -> tuple[ssl.SSLContext, Path]:
        if name not in made:
            cert, key = folder / f"{len(made)}.pem", folder / f"{len(made)}.key"
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            command += ["-nodes", "-days", "1", "-subj", "/CN=fake", "-addext", f"subjectAltName={name}"]
            subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            made[name] = context, cert
        return made[name]

    return make


# -- TLS ---------------------------------------------------------------------------------------


def test_a_server_with_a_trusted_certificate_is_asked_over_tls(authority: Authority) -> None:
    context, cert = authority()
    with serve(always(CHUNKED, *map(chunk, (BODY[:30], BODY[30:])), LAST), context=context) as server:
        recording = load(server.base_url, 3, ca_file=str(cert))
    assert [ok(raw) for raw in recording.responses] == [True] * 3
    assert server.connections == 1
    assert not any(raw.new_connection for raw in recording.responses)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux stamps what TCP receives")
def test_segments_under_tls_have_the_kernels_stamps(authority: Authority) -> None:
    context, cert = authority()
    pieces = (STREAM[place : place + 50] for place in range(0, len(STREAM), 50))
    with serve(always(*pieces, pause=0.001), context=context) as server:
        recording = load(server.base_url, ca_file=str(cert))
    assert ok(recording.responses[0])
    assert (recording.client.stamps, recording.client.stamps_reason) == ("kernel", None)


def test_a_certificate_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    with serve(always(STREAM), context=authority()[0]) as server:
        kind, words = why(load(server.base_url, 2))
        assert kind == "tls"
        assert "self-signed certificate" in words.replace("self signed", "self-signed")
        assert "server.ca_file" in words
        assert "server.verify=false" in words
        assert server.asked == []


def test_a_certificate_of_another_host_is_refused(authority: Authority) -> None:
    context, cert = authority("DNS:other.example")
    with serve(always(STREAM), context=context) as server:
        kind, words = why(load(server.base_url, ca_file=str(cert)))
    assert kind == "tls"
    assert "127.0.0.1" in words


def test_any_certificate_will_do_where_the_user_says_so(authority: Authority) -> None:
    with serve(always(STREAM), context=authority("DNS:other.example")[0]) as server:
        assert ok(load(server.base_url, verify=False).responses[0])


def test_a_server_without_tls_is_told_as_such() -> None:
    with serve(always(STREAM), greet=plain("400 Bad Request")) as server:
        kind, words = why(load(server.base_url.replace("http:", "https:")))
    assert kind == "tls"
    assert "does not speak TLS" in words


def test_a_server_that_hangs_up_in_the_handshake_is_a_failure_of_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"https://127.0.0.1:{listener.getsockname()[1]}"
        from threading import Thread

        def hang_up() -> None:
            for _ in range(2):
                sock, _ = listener.accept()
                sock.recv(1)
                sock.close()

        thread = Thread(target=hang_up, daemon=True)
        thread.start()
        kind, _ = why(load(address))
        thread.join(10)
    assert kind in ("tls", "reset")


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_certificate_file_that_cannot_be_read_is_the_users_mistake(
    tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=r"server\.ca_file=.*ca\.pem"):
        load("https://127.0.0.1:1", ca_file=str(file))


def test_a_body_that_ends_with_its_connection_may_be_cut_where_tls_does_not_say_goodbye(
    authority: Authority,
) -> None:
    def goodbye(talk: Talk, _: Asked) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        talk.close()

    def cut(talk: Talk, _: Asked) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\n" + BODY)
        socket.socket.shutdown(talk.sock, socket.SHUT_RDWR)

    context, cert = authority()
    with serve(in_turn(goodbye, cut), context=context) as server:
        whole, broken = load(server.base_url, 2, ca_file=str(cert)).responses
    assert ok(whole)
    assert broken.failure is not None
    assert broken.failure.kind == "truncated"
    assert body(broken) == BODY


def test_a_request_larger_than_the_kernels_buffers_arrives_whole(authority: Authority) -> None:
    context, cert = authority()
    for tls in (None, context):
        with serve(always(STREAM), context=tls) as server:
            recording = load(server.base_url, 2, prompt="long " * 1_000_000, ca_file=str(cert))
        assert all(map(ok, recording.responses))
        assert [len(str(asked.json["prompt"])) for asked in server.asked] == [5_000_000] * 2


# -- proxies -----------------------------------------------------------------------------------


def test_a_proxy_gets_the_requests_whole() -> None:
    with serve(always(STREAM)) as server, serve(forward) as proxy:
        recording = load(server.base_url, 2, proxy=f"http://127.0.0.1:{proxy.port}")
    assert all(map(ok, recording.responses))
    assert len(proxy.asked) == 2
    assert proxy.asked[0].line == f"POST {server.base_url}/completions HTTP/1.1"


def test_a_proxy_leads_a_tunnel_to_a_server_with_tls(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "sk-secret")
    context, cert = authority()
    with serve(always(STREAM), context=context) as server, serve(forward) as proxy:
        recording = load(
            server.base_url, 2, proxy=f"http://127.0.0.1:{proxy.port}", ca_file=str(cert), api_key_env="A_KEY"
        )
    assert all(map(ok, recording.responses))
    assert [asked.line for asked in proxy.asked] == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]
    assert "authorization" not in proxy.asked[0].headers
    assert server.asked[0].headers["authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (plain("407 Proxy Authentication Required"), "refused", "407"),
        (b"nonsense\r\n", "malformed", "the proxy: "),
    ],
)
def test_a_proxy_that_leads_nowhere_says_so(answer: bytes, kind: str, said: str) -> None:
    with serve(always(answer)) as proxy:
        found, words = why(load("https://127.0.0.1:1", proxy=f"http://127.0.0.1:{proxy.port}"))
    assert found == kind
    assert said in words


@pytest.mark.parametrize("proxy", ["https://h:1", "h:1", "https://u:pw@h:1"])
def test_a_proxy_that_cannot_be_meant_is_refused(proxy: str) -> None:
    with pytest.raises(UsageError, match=r"server\.proxy=") as caught:
        load("http://127.0.0.1:1", proxy=proxy)
    assert "pw" not in str(caught.value)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serve(always(STREAM)) as server:
        assert ok(load(server.base_url).responses[0])


# -- addresses ---------------------------------------------------------------------------------


def test_a_name_that_nobody_knows_is_a_failure_of_each_request() -> None:
    kind, words = why(recording := load("http://nowhere.invalid:8000", 3))
    assert kind == "resolve"
    assert "nowhere.invalid" in words
    assert len(recording.responses) == 3


def test_ipv6_is_spoken() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serve(always(STREAM), host="::1") as server:
        assert ok(load(server.base_url).responses[0])
    assert server.asked[0].headers["host"] == f"[::1]:{server.port}"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("closing", ["", "Connection: close"])
def test_each_address_of_a_name_is_tried_until_one_answers(
    monkeypatch: pytest.MonkeyPatch, closing: str
) -> None:
    answer = plain("200 OK", BODY, *filter(None, [closing]))
    with serve(always(answer)) as server:
        ports = [closed_port(), closed_port(), server.port]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(connection.socket, "getaddrinfo", lambda *_, **__: found)
        assert all(map(ok, load(server.base_url, 3).responses))
        # The same when nothing answered before the level.
        monkeypatch.setattr(pool, "_PATIENCE", 0)
        recording = load(server.base_url, 3)
        assert all(map(ok, recording.responses))
        assert recording.responses[0].new_connection


# -- elsewhere than on Linux -------------------------------------------------------------------


def test_without_epoll_and_stamps_everything_is_as_complete(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "make_poller", poller.SelectorPoller)
    monkeypatch.setattr(connection, "stamp_arrivals", lambda _: "there are none")
    context, cert = authority()
    for tls in (None, context):
        with serve(always(STREAM), context=tls) as server:
            recording = load(server.base_url, 3, prompt="long " * 300_000, ca_file=str(cert))
        assert all(map(ok, recording.responses))
        assert (recording.client.stamps, recording.client.stamps_reason) == ("user", "there are none")
        assert all(e.sent < at <= e.ended for e in recording.responses for at, _ in e.body)


def test_arrivals_without_any_stamp_are_not_called_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "stamp_arrivals", lambda _: None)
    with serve(always(STREAM)) as server:
        recording = load(server.base_url)
    assert recording.client.stamps == "user"
    assert recording.client.stamps_reason is not None
    assert "1 of 1 segments" in recording.client.stamps_reason
    assert stamps.SPACE >= 0

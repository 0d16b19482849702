"""Is what a server can send to a small question bounded in time, size and number?"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pytest_llmbench.errors import LINE, BackendUnavailableError, UsageError
from pytest_llmbench.servers import ask
from pytest_llmbench.servers.ask import NoAnswerError, get
from pytest_llmbench.servers.probe import probe
from pytest_llmbench.servers.scrape import Scraper

Answering = Callable[..., str]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
LATE = r"no answer within 0\.3 s"


@contextmanager
def dripping(start: bytes, drop: bytes) -> Iterator[str]:
    """A server that answers with *start*, and then with *drop* again and again until its client goes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def drip(sock: socket.socket) -> None:
            with sock:
                try:
                    sock.recv(65536)
                    sock.sendall(start)
                    while not over.wait(0.01):
                        sock.sendall(drop)
                except OSError:
                    pass

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=drip, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (HEAD + b"Content-Length: 100000\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"H"),
    ],
    ids=["known length", "chunks", "until the end", "a header", "the status"],
)
def test_an_answer_that_comes_byte_by_byte_is_given_up_in_time(start: bytes, drop: bytes) -> None:
    with (
        dripping(start, drop) as url,
        pytest.raises(NoAnswerError, match=r"no answer within 0\.3 s") as caught,
    ):
        get(f"{url}/v1/models", timeout=0.3)
    assert caught.value.kind == "timeout"


def test_a_server_that_drips_its_models_is_said() -> None:
    start = HEAD + b"Content-Length: 100000\r\n\r\n"
    said = "is it still loading, or is it busy"
    with dripping(start, b" ") as url, pytest.raises(BackendUnavailableError, match=said):
        probe(f"{url}/v1", timeout=0.3)


def test_counters_that_come_byte_by_byte_are_not_known() -> None:
    with dripping(HEAD + b"\r\n", b"#") as url:
        scraper = Scraper(f"{url}/metrics", "vllm")
        assert set(scraper.read(timeout=0.3).values()) == {None}
        assert "does not answer: no answer within 0.3 s" in scraper.reasons["running"]


def test_a_proxy_that_drips_its_answer_to_a_tunnel_is_given_up_in_time() -> None:
    with (
        dripping(b"HTTP/1.1 200 OK\r\nX: ", b"x") as url,
        pytest.raises(NoAnswerError, match=LATE),
    ):
        get("https://localhost:1/v1/models", ask.Access(proxy=url), timeout=0.3)


@pytest.mark.parametrize("most", [10, 100])
def test_an_answer_that_is_too_long_is_none(
    answering: Answering, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(ask, "MAX_ANSWER", most)
    url = answering({"/short": "x" * most, "/long": "x" * (most + 1)})
    assert get(f"{url}/short").body == b"x" * most
    with pytest.raises(NoAnswerError, match="the answer is longer than") as caught:
        get(f"{url}/long")
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    "models",
    ["[" * 100_000, '{"data": ' * 100_000, '{"data": [{"id": "m", "n": ' + "9" * 5000 + "}]}"],
    ids=["lists", "objects", "digits"],
)
def test_what_is_nested_too_deep_or_has_a_number_without_end_is_no_list_of_models(
    answering: Answering, models: str
) -> None:
    with pytest.raises(BackendUnavailableError, match="does not answer with a list of models"):
        probe(answering({"/v1/models": models}) + "/v1")


@pytest.mark.parametrize("length", [10**400, -1, True, "8192", 1e300, None, [1]])
def test_a_context_that_cannot_be_is_not_known(answering: Answering, length: object) -> None:
    models = {"data": [{"id": "m", "max_model_len": length, "owned_by": [length]}]}
    found = probe(answering({"/v1/models": models}) + "/v1")
    assert (found.models, found.context, found.engine) == (("m",), {}, None)


def test_a_name_without_end_is_no_models(answering: Answering) -> None:
    models = {"data": [{"id": "x" * 1000}, {"id": "m"}, {"id": ""}]}
    answers = {"/v1/models": models, "/version": {"version": "9" * 1000}}
    found = probe(answering(answers) + "/v1")
    assert (found.models, found.version) == (("m",), None)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("vllm:num_requests_running 1e999", None),
        ("vllm:num_requests_running NaN", None),
        ("vllm:num_requests_running 1e308\nvllm:num_requests_running 1e308", None),
        ("vllm:num_requests_running " + "9" * 5000, None),
        ("vllm:num_requests_running{" + ",".join(f'a{n}="b"' for n in range(10_000)) + "} 3", 3.0),
        ("vllm:num_requests_running 3\n" * 50_000, 30_000.0),
        ("other 1\n" * 100_000 + "vllm:num_requests_running 3", 3.0),
    ],
    ids=["infinite", "no number", "beyond floats", "digits", "labels", "series", "others"],
)
def test_a_counter_that_cannot_be_is_not_known(answering: Answering, line: str, value: float | None) -> None:
    url = answering({"/metrics": f"# TYPE vllm:num_requests_running gauge\n{line}\n"})
    assert Scraper(f"{url}/metrics", "vllm").read()["running"] == value


@pytest.mark.parametrize(
    "line",
    ["vllm:num_requests_running{", 'vllm:num_requests_running{a="b} 1', "vllm:num_requests_running x y z"],
)
def test_metrics_that_cannot_be_read_are_told_and_raise_nothing(answering: Answering, line: str) -> None:
    url = answering({"/metrics": f"# TYPE vllm:num_requests_running gauge\n{line}\n"})
    scraper = Scraper(f"{url}/metrics", "vllm")
    assert scraper.read()["running"] is None
    assert scraper.reasons["running"]


def test_tls_that_drips_is_given_up_in_time(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            sock, _ = listener.accept()
            with context.wrap_socket(sock, server_side=True) as wrapped:
                try:
                    wrapped.recv(65536)
                    wrapped.sendall(HEAD + b"X: ")
                    while not over.wait(0.01):
                        wrapped.sendall(b"x")
                except OSError:
                    pass

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}/v1/models"
        with pytest.raises(NoAnswerError, match="no answer within 1 s"):
            get(url, ask.Access(ca_file=certificate), timeout=1.0)
        over.set()
        thread.join(10)


@contextmanager
def saying(answer: bytes) -> Iterator[str]:
    """A server that answers one client with these bytes, and ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(answer)

        thread = threading.Thread(target=answer_one, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"220 mail ready\r\n",
        b"\x15\x03\x01",
        HEAD + b"Content-Length: 9\r\n\r\n[]",
        HEAD + b"X" * 200_000,
    ],
    ids=["nothing", "not HTTP", "TLS", "cut", "a head without end"],
)
def test_what_is_not_a_whole_answer_is_said_in_a_line(answer: bytes) -> None:
    with saying(answer) as url, pytest.raises(NoAnswerError) as caught:
        get(f"{url}/v1/models")
    assert caught.value.kind == "broken"
    assert 0 < len(str(caught.value)) <= LINE + len("…")
    assert str(caught.value).isprintable()


def test_a_proxy_that_refuses_a_tunnel_is_told() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with saying(refusal) as url, pytest.raises(NoAnswerError, match="the proxy answers with 407") as caught:
        get("https://localhost:1/v1/models", ask.Access(proxy=url))
    assert caught.value.kind == "broken"


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://host.invalid/v1/models?a=b", "GET http://host.invalid/v1/models?a=b HTTP"),
        ("https://host.invalid/v1/models?a=b", "CONNECT host.invalid:443 HTTP"),
        ("http://[::1]:8000/v1/models?a=b", "GET http://[::1]:8000/v1/models?a=b HTTP"),
        ("https://[::1]/v1/models?a=b", "CONNECT [::1]:443 HTTP"),
    ],
)
def test_a_proxy_is_told_who_asks_and_the_server_is_not(url: str, line: str) -> None:
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_one() -> None:
            sock, _ = listener.accept()
            with sock:
                asked.append(sock.recv(65536))
                sock.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer_one, daemon=True)
        thread.start()
        proxy = f"http://someone:hunter%32@127.0.0.1:{listener.getsockname()[1]}"
        with suppress(NoAnswerError):
            get(url, ask.Access(proxy=proxy))
        thread.join(10)
    head = asked[0].decode()
    assert "Proxy-Authorization: Basic c29tZW9uZTpodW50ZXIy\r\n" in head
    assert "\r\nAuthorization" not in head
    assert head.startswith(line)


@pytest.mark.parametrize("key", ["sk-1\nX-Other: 1", "sk-ü", "sk-\x00"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {"A_KEY": key})
    else:
        monkeypatch.setenv("A_KEY", key)
    with pytest.raises(UsageError, match="A_KEY is not a valid API key") as caught:
        get("http://127.0.0.1:9/v1/models", ask.Access("A_KEY"))
    assert "sk-" not in str(caught.value)

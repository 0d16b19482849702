"""An engine that starts at once and does as it is told, in the table of engines."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.servers import table
from pytest_llmbench.servers.launch import Server, ServerSpec
from pytest_llmbench.servers.table import Container, ServerEngine
from tests.fakes import fake_engine

StartFake = Callable[..., Server]


@pytest.fixture
def fake_row(monkeypatch: pytest.MonkeyPatch) -> ServerEngine:
    """The row ``fake``."""
    row = ServerEngine(
        name="fake",
        form="hf",
        program=("{python}", fake_engine.__file__),
        arguments=("--model", "{model}", "--name", "{name}", "--host", "{host}", "--port", "{port}"),
        context=("--context", "{context}"),
        install="pip install fake-engine",
        docs="https://example.org/fake",
        environment={"FAKE_DEFAULT": "ours"},
        fixed_environment={"FAKE_PORT": "{port}", "FAKE_GONE": None, "FAKE_CONTEXT": "{context}"},
        container=Container(image="example/fake:1", cpu_image="example/fake:1-cpu", port=8000),
        metrics="/metrics",
        counters={"running": ("fake:running",), "generation_tokens": ("fake:tokens_total",)},
        version=("/version", "version"),
        distributions=("pytest", "no-such-distribution"),
        owned_by="fake",
    )
    monkeypatch.setitem(table.ENGINES, "fake", row)
    return row


@pytest.fixture
def start(fake_row: ServerEngine, tmp_path: Path) -> Iterator[StartFake]:
    """``start(*arguments, ...)``: a server of the fake engine; ended after the test."""
    started = []

    def run(*arguments: str, note: Callable[[int], None] = lambda _: None, **spec: Any) -> Server:
        model = tmp_path / "model"
        model.mkdir(exist_ok=True)
        given = {"engine": "fake", "model": str(model), "start_timeout": 60.0, **spec}
        server = Server(ServerSpec(arguments=arguments, **given), note)
        started.append(server)
        return server

    yield run
    for server in started:
        server.close()


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


@pytest.fixture
def gone() -> Callable[..., bool]:
    """``gone(*pids)``: whether all of them have ended, or do so within a while."""

    def wait(*pids: int) -> bool:
        deadline = time.monotonic() + 30.0
        while any(alive(pid) for pid in pids):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return wait


@pytest.fixture(autouse=True)
def no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says of proxies must not matter: every test has one that leads nowhere."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
        monkeypatch.setitem(os.environ, name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """``answering({path: answer})``: the URL of a server that answers so, and 404 to the rest.

    An answer is a status, a text, or what is sent as JSON. With ``key`` it wants that key.
    """
    servers: list[ThreadingHTTPServer] = []

    def run(
        answers: Mapping[str, object], *, key: str | None = None, tls: ssl.SSLContext | None = None
    ) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = answers.get(self.path, 404)
                if key is not None and self.headers["Authorization"] != f"Bearer {key}":
                    answer = 401
                text = answer if isinstance(answer, str) else json.dumps(answer)
                self.send_response(answer if isinstance(answer, int) else 200)
                if answer == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(text.encode())

            def version_string(self) -> str:
                return "test"

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"

    yield run
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for ``localhost``, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("the certificate is made with openssl, which is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", "key.pem", "-out", "certificate.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "certificate.pem").read_bytes())
    return both

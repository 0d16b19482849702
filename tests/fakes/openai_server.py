"""A server with OpenAI's API for tests of the plugin: no model, a token a word, failures on request.

It runs in threads of the test's process, counts what it is asked, and answers every prompt with as many
words as were asked for.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, models: tuple[str, ...], seconds_per_token: float, fail_every: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models = models
        self.seconds_per_token = seconds_per_token
        self.fail_every = fail_every
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body.get("prompt") or body["messages"][-1]["content"] for body in self.bodies]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.keys.add(self.headers.get("authorization"))
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.add(self.headers.get("authorization"))
        self.server.bodies.append(body)
        number = len(self.server.bodies)
        if self.server.fail_every and number % self.server.fail_every == 0:
            self._json(503, {"error": {"message": "the fake is overloaded"}})
            return
        chat = self.path.endswith("/chat/completions")
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": body["max_tokens"]}
        if not body["stream"]:
            words = " ".join(f"word{index}" for index in range(body["max_tokens"]))
            choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
            choice |= {"message": {"content": words}} if chat else {"text": words}
            self._json(200, {"choices": [choice], "usage": usage})
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for index in range(body["max_tokens"]):
            time.sleep(self.server.seconds_per_token)
            last = index == body["max_tokens"] - 1
            text = f"word{index} "
            choice = {"index": 0, "finish_reason": "length" if last else None}
            choice |= {"delta": {"content": text}} if chat else {"text": text}
            self._event({"choices": [choice]})
        words = len(prompt.split())
        self._event(
            {"choices": [], "usage": {"prompt_tokens": words, "completion_tokens": body["max_tokens"]}}
        )
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, data: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, status: int, data: dict[str, Any]) -> None:
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def fake_server(*models: str, seconds_per_token: float = 0.0, fail_every: int = 0) -> Iterator[FakeServer]:
    """A running server; *fail_every* N answers each N-th request with 503."""
    with FakeServer(models or ("fake",), seconds_per_token, fail_every) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

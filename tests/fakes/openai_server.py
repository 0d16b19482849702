"""A server with OpenAI's API for tests of the plugin: no model, a token a word, failures on request.

It runs in threads of the test's process, counts what it is asked, and answers every prompt with as many
words as were asked for.

``python openai_server.py --port PORT`` is a process of its own, for tests of servers that a session starts;
``LLMBENCH_FAKE_SECONDS`` is its time for a token. In the file that ``LLMBENCH_FAKE_LOG`` names, it writes a
line when it starts: which side of a comparison ``LLMBENCH_FAKE_SIDE`` says that it is, its id, and how many
of those that wrote before it are still there.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

A_TOKEN = 0.002
"""Seconds. Little, and yet so much that a client waits for most of a level of a few requests: of one that is
busy for nine tenths of it or more, the level is invalid."""


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self, models: tuple[str, ...], seconds_per_token: float, fail_every: int, fewer: int, port: int = 0
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.models = models
        self.seconds_per_token = seconds_per_token
        self.fail_every = fail_every
        self.fewer = fewer
        self.counts = True
        """Whether answers have ``usage``."""
        self.prompt_tokens: int | None = None
        """What it counts for each prompt, whatever it is; None for a token a word."""
        self.key: str | None = None
        """What it wants to be asked with; None for nothing."""
        self.error = "the fake is overloaded"
        """What it says when a request fails."""
        self.echoes = False
        """Whether it repeats target and headers when a request fails, these also without their ends."""
        self.models_text: str | None = None
        """What it answers when it is asked for its models; None for their list."""
        self.completion_tokens: int | None = None
        """What it counts for each answer, whatever it is; None for as many as it sends."""
        self.fail_after: int | None = None
        """After so many requests, each of them fails."""
        self.refuses: tuple[str, ...] = ()
        """Keys of a request that it does not take; instead of ``max_tokens``, ``max_completion_tokens``."""
        self.lot = 1
        """So many chunks are passed on at once, as by a proxy that buffers."""
        self.cached: Callable[[dict[str, Any]], int | None] | None = None
        """How many of a prompt's tokens it says it had already, by the request; None: it does not say."""
        self.id_of: Callable[[str], int] | None = None
        """The id of a token of an answer, for requests that want ids; None: it knows of none."""
        self.hidden = 0
        """So many of the tokens that were asked for are counted as reasoning, and not sent."""
        self.a_chunk = 1
        """So many tokens come in a chunk."""
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        """Of every request, names in lower case."""
        self.keys: set[str | None] = set()
        self.asked: list[str] = []
        """Method and target of each request."""

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
        self.server.asked.append(f"GET {self.path}")
        self.server.keys.add(self.headers.get("authorization"))
        if self._refused():
            return
        if self.path == "/v1/models" and self.server.models_text is not None:
            self._text(200, self.server.models_text)
        elif self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": name} for name in self.server.models]})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.add(self.headers.get("authorization"))
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self._refused():
            return
        if (refused := next((key for key in self.server.refuses if key in body), None)) is not None:
            instead = "; use 'max_completion_tokens' instead" if refused == "max_tokens" else ""
            self._json(400, {"error": {"message": f"unsupported parameter {refused!r}{instead}"}})
            return
        self.server.bodies.append(dict(body))
        body["max_tokens"] = body.get("max_tokens", body.get("max_completion_tokens"))
        number = len(self.server.bodies)
        every, after = self.server.fail_every, self.server.fail_after
        if (every and number % every == 0) or (after is not None and number > after):
            message = self.server.error
            if self.server.echoes:
                cut = [value[:-4] for value in self.headers.values()]
                message = f"{message}: {self.path} {dict(self.headers)!r} {cut}"
            self._json(503, {"error": {"message": message}})
            return
        body["max_tokens"] = max(1, body["max_tokens"] - self.server.fewer)
        chat = self.path.partition("?")[0].endswith("/chat/completions")
        prompt = " ".join(one["content"] for one in body["messages"]) if chat else body["prompt"]
        usage = self._usage(prompt, body["max_tokens"])
        if usage is not None and self.server.cached is not None:
            told = self.server.cached(body)
            usage["prompt_tokens_details"] = None if told is None else {"cached_tokens": told}
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
        shown = body["max_tokens"] - self.server.hidden
        time.sleep(self.server.seconds_per_token * self.server.hidden)
        kept: list[bytes] = []
        for begin in range(0, shown, self.server.a_chunk):
            end = min(begin + self.server.a_chunk, shown)
            time.sleep(self.server.seconds_per_token * (end - begin))
            text = "".join(f"word{index} " for index in range(begin, end))
            choice = {"index": 0, "finish_reason": "length" if end == shown else None}
            choice |= {"delta": {"content": text}} if chat else {"text": text}
            if body.get("return_token_ids") and self.server.id_of is not None:
                choice["token_ids"] = [self.server.id_of(word) for word in text.split()]
            kept.append(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")
            if len(kept) == self.server.lot or end == shown:
                self._chunk(b"".join(kept))
                kept.clear()
        self._event({"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _refused(self) -> bool:
        if self.server.key is None or self.headers.get("authorization") == f"Bearer {self.server.key}":
            return False
        self._json(401, {"error": {"message": "missing key"}})
        return True

    def _usage(self, prompt: str, output: int) -> dict[str, Any] | None:
        if not self.server.counts:
            return None
        counted = self.server.prompt_tokens
        words = len(prompt.split()) if counted is None else counted
        told = self.server.completion_tokens
        usage: dict[str, Any] = {
            "prompt_tokens": words,
            "completion_tokens": output if told is None else told,
        }
        if self.server.hidden:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.server.hidden}
        return usage

    def _event(self, data: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _json(self, status: int, data: dict[str, Any]) -> None:
        self._text(status, json.dumps(data))

    def _text(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


@contextmanager
def fake_server(
    *models: str, seconds_per_token: float = A_TOKEN, fail_every: int = 0, fewer: int = 0
) -> Iterator[FakeServer]:
    """A running server.

    :param fail_every: N answers each N-th request with 503.
    :param fewer: generates so many tokens fewer than were asked for.
    """
    with FakeServer(models or ("fake",), seconds_per_token, fail_every, fewer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    """Serve one model until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--model")
    parser.add_argument(
        "--seconds", type=float, default=float(os.environ.get("LLMBENCH_FAKE_SECONDS", A_TOKEN))
    )
    parser.add_argument("--api-key")
    options = parser.parse_args()
    if (log := os.environ.get("LLMBENCH_FAKE_LOG")) is not None:
        path = Path(log)
        earlier = path.read_text().splitlines() if path.exists() else []
        there = sum(Path(f"/proc/{line.split()[1]}").exists() for line in earlier)
        side = os.environ.get("LLMBENCH_FAKE_SIDE", "now")
        path.write_text("\n".join([*earlier, f"{side} {os.getpid()} {there}"]))
    with FakeServer((options.model,), options.seconds, 0, 0, options.port) as server:
        server.key = options.api_key
        server.serve_forever()


if __name__ == "__main__":
    main()

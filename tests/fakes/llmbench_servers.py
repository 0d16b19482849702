"""Servers that do to a client what the network does: byte by byte what a test tells them.

A script answers one request; a server runs it for each request of each connection, in a thread of its
own. ``python llmbench_servers.py`` is a process that streams for ever, to be killed.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
EVENTS = tuple(
    f"data: {json.dumps({'choices': [{'index': 0, 'text': f' {i}', 'finish_reason': None}]})}\n\n".encode()
    for i in range(3)
)
DONE = b"data: [DONE]\n\n"


def chunk(data: bytes) -> bytes:
    """*data* as one chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


STREAM = CHUNKED + b"".join(map(chunk, (*EVENTS, DONE))) + LAST
"""A whole answer, of the body BODY."""
BODY = b"".join((*EVENTS, DONE))


def plain(status: str, body: bytes = b"", *headers: str) -> bytes:
    """An answer of known length."""
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(slots=True)
class Asked:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """The how-manieth connection it came by."""

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.body)  # type: ignore[no-any-return]


@dataclass(slots=True)
class Talk:
    """The server's end of a connection."""

    sock: socket.socket
    number: int
    closed: threading.Event
    """The server is to end."""
    _held: bytes = b""

    def send(self, *pieces: bytes, pause: float = 0.0) -> None:
        """Each piece by a send of its own."""
        for piece in pieces:
            self.sock.sendall(piece)
            self.wait(pause)

    def wait(self, seconds: float) -> None:
        """Do nothing, unless the server ends."""
        if seconds:
            self.closed.wait(seconds)

    def reset(self) -> None:
        """End the connection as a crash does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """End the connection as a clean server does."""
        with contextlib.suppress(OSError):
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def read(self) -> Asked | None:
        """The next request; None if the client has gone."""
        data = self._held
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = self.sock.recv(65536)
            if not more:
                return None
            data += more
        line, *lines = data[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        size = end + 4 + int(headers.get("content-length", 0))
        while len(data) < size:
            more = self.sock.recv(65536)
            if not more:
                return None
            data += more
        self._held = data[size:]
        return Asked(line, headers, data[end + 4 : size], self.number)


Script = Callable[[Talk, Asked], None]


@dataclass(slots=True)
class Server:
    """A server on a free port of the loopback."""

    host: str
    port: int
    secure: bool
    asked: list[Asked] = field(default_factory=list)
    """Every request, in the order in which they were whole."""
    connections: int = 0

    @property
    def base_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}/v1"


@contextmanager
def serve(
    script: Script, *, context: ssl.SSLContext | None = None, host: str = "127.0.0.1", greet: bytes = b""
) -> Iterator[Server]:
    """A server that runs *script* for each request.

    :param context: TLS, with the server's certificate.
    :param greet: what it says before it is asked.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=1024) as listener:
        server = Server(host, listener.getsockname()[1], context is not None)
        closed = threading.Event()
        socks: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def converse(sock: socket.socket, number: int) -> None:
            # A client that goes, a script that ends the connection, the end of the test: all are OSErrors.
            with contextlib.suppress(OSError, ValueError):
                secured = sock if context is None else context.wrap_socket(sock, server_side=True)
                socks.append(secured)
                with secured:
                    talk = Talk(secured, number, closed)
                    talk.send(greet)
                    while (asked := talk.read()) is not None and not closed.is_set():
                        server.asked.append(asked)
                        script(talk, asked)
                        if asked.headers.get("connection") == "close":
                            talk.close()
            sock.close()

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                if closed.is_set():
                    sock.close()
                    return
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                server.connections += 1
                socks.append(sock)
                thread = threading.Thread(target=converse, args=(sock, server.connections), daemon=True)
                threads.append(thread)
                thread.start()

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield server
        finally:
            closed.set()
            with contextlib.suppress(OSError):
                socket.create_connection((host, server.port), 5).close()
            acceptor.join(10)
            for sock in socks:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


@contextmanager
def serve_resets() -> Iterator[str]:
    """The base URL of a server that resets each connection as soon as it is made."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        closed = threading.Event()

        def reset_all() -> None:
            while not closed.is_set():
                sock, _ = listener.accept()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()

        thread = threading.Thread(target=reset_all, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            closed.set()
            with contextlib.suppress(OSError):
                socket.create_connection(listener.getsockname(), 5).close()
            thread.join(10)


def always(*pieces: bytes, pause: float = 0.0) -> Script:
    """Answer every request with the same bytes."""

    def script(talk: Talk, _: Asked) -> None:
        talk.send(*pieces, pause=pause)

    return script


def in_turn(*scripts: Script) -> Script:
    """Answer the first request by the first script, and so on; the last one stays."""
    left = iter(scripts[:-1])
    lock = threading.Lock()

    def script(talk: Talk, asked: Asked) -> None:
        with lock:
            answer = next(left, scripts[-1])
        answer(talk, asked)

    return script


def forward(talk: Talk, asked: Asked) -> None:
    """A proxy: leads a tunnel (CONNECT), or asks the server for the client."""
    if asked.line.startswith("CONNECT"):
        place = re.fullmatch(r"CONNECT (.*):(\d+) HTTP/1\.1", asked.line)
        assert place is not None
        with socket.create_connection((place[1].strip("[]"), int(place[2])), 10) as server:
            talk.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(server, talk.sock), daemon=True)
            back.start()
            _pump(talk.sock, server)
            back.join(10)
        talk.close()
        return
    target = re.fullmatch(r"(\w+) http://([^:/]+):(\d+)(/.*) HTTP/1\.1", asked.line)
    assert target is not None
    lines = [
        f"{target[1]} {target[4]} HTTP/1.1",
        *(f"{name}: {value}" for name, value in asked.headers.items()),
    ]
    with socket.create_connection((target[2], int(target[3])), 10) as server:
        server.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + asked.body)
        _pump(server, talk.sock)
    talk.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _stream_for_ever(talk: Talk, _: Asked) -> None:
    talk.send(CHUNKED, chunk(EVENTS[0]))
    print("streaming", flush=True)
    while not talk.closed.is_set():
        talk.send(chunk(EVENTS[0]), pause=0.005)


def main(lines: Iterable[str]) -> None:
    """Serve until there is no more input; print the port first, and a line for each stream that has begun."""
    with serve(_stream_for_ever) as server:
        print(server.port, flush=True)
        for _ in lines:
            pass


if __name__ == "__main__":
    main(sys.stdin)

"""How is the application served, and a client not waited for that never finishes its request?"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import UsageError, needs_extra
from pytest_llmbench.service.problems import MEDIA_TYPE, ProblemError
from pytest_llmbench.service.safety import LOOPBACK

if TYPE_CHECKING:
    from fastapi import FastAPI

HEAD_SECONDS = 10.0
"""For which a connection may be without a whole head of a request."""
LARGEST_HEAD = 16 * 2**10
"""Bytes of a request's line and headers."""
CONNECTIONS = 256
"""At once; one more is refused."""


def check_host(host: str, token: str | None) -> None:
    """Refuse an address that others can reach, without a token.

    :raises UsageError: saying what to do.
    """
    if token is None and host not in LOOPBACK:
        msg = (
            f"{host} can be reached from other machines, and there is no token that they need: set "
            "LLMBENCH_TOKEN, or serve on 127.0.0.1"
        )
        raise UsageError(msg)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens, so that two services do not share a port, and which says so before they start.

    :raises UsageError: if the address is not free, or not of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
            bound.listen(128)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        msg = f"{host}:{port} cannot be served on: {error.strerror or error}; choose another with --port"
        raise UsageError(msg) from None
    bound.set_inheritable(False)
    return bound


def address_of(bound: socket.socket) -> str:
    """Under which the page is: ``http://127.0.0.1:8000``."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, bound: socket.socket, started: Callable[[], None]) -> None:
    """Serve *app* on a socket until SIGINT or SIGTERM; *started* is called when it answers."""
    try:
        import uvicorn
    except ImportError:
        raise needs_extra("the API and its pages", "uvicorn", "service") from None

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                started()

    config = uvicorn.Config(
        app,
        http=_patient_protocol(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=LARGEST_HEAD,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
    )
    Server(config).run([bound])


def _patient_protocol() -> type[asyncio.Protocol]:
    """uvicorn's protocol, with a bound on how long a head may take, and errors of one shape."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is h11.IDLE:
                self._watch()
            else:
                self._unwatch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            body = ProblemError(
                400, "this is not an HTTP request that can be read, or its headers are too long"
            ).body()
            headers = [
                ("content-type", MEDIA_TYPE),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            events: tuple[Any, ...] = (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            )
            for event in events:
                self.transport.write(self.conn.send(event))
            self.transport.close()

        def _watch(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

        def _unwatch(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if self.conn.their_state is h11.IDLE:
                self.transport.close()

    return Protocol

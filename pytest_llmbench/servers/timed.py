"""How does an answer end in time, however slowly it comes?

The standard library's time limit holds for each piece that is read: a server that sends a byte at a time
keeps its client for ever. Here it holds for the whole, from the connection to the last byte.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import time
import urllib.request
from typing import Any

_PIECE = 64 * 1024
"""Bytes that are read at a time."""


class TooLongError(Exception):
    """The body has more bytes than were allowed."""


def open_url(
    request: urllib.request.Request,
    *,
    timeout: float,
    context: ssl.SSLContext | None,
    proxy: str | None,
    most: int,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, and body of the answer to *request*; redirects are not followed.

    :param timeout: seconds; looking up a name comes on top, since nothing can break it off.
    :param most: bytes of the body.
    :raises OSError: if no answer comes; TimeoutError if it is not whole in time.
    :raises http.client.HTTPException: if it is no HTTP.
    :raises TooLongError: if it has more bytes than *most*.
    """
    end = time.monotonic() + timeout
    proxies = {"http": proxy, "https": proxy} if proxy else {}
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), _NoRedirect(), _HTTPHandler(), _HTTPSHandler(context)
    )
    try:
        response = opener.open(request, timeout=timeout)
    except urllib.request.HTTPError as error:
        response = error
    with response:
        parts: list[bytes] = []
        size = 0
        while part := response.read1(_PIECE):
            parts.append(part)
            size += len(part)
            if size > most:
                raise TooLongError
            _left(end)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, b"".join(parts)


def _left(end: float) -> float:
    """Seconds until *end*; raises TimeoutError after it."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _Socket(socket.socket):
    end = math.inf

    def recv_into(self, *given: Any) -> int:
        self.settimeout(_left(self.end))
        return super().recv_into(*given)


class _TLSSocket(ssl.SSLSocket):
    end = math.inf
    """Set after the handshake, which has a limit for its whole by itself."""

    def recv_into(self, *given: Any) -> int:
        if self.end < math.inf:
            self.settimeout(_left(self.end))
        return super().recv_into(*given)


class _HTTP(http.client.HTTPConnection):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._end = time.monotonic() + (self.timeout or math.inf)
        self._create_connection = self._timed

    def _timed(self, address: tuple[str, int], *_: Any) -> socket.socket:
        plain = socket.create_connection(address, _left(self._end))
        timed = _Socket(plain.family, plain.type, plain.proto, plain.detach())
        timed.settimeout(_left(self._end))
        timed.end = self._end
        return timed


class _HTTPS(_HTTP, http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        assert isinstance(self.sock, _TLSSocket)
        self.sock.end = self._end


class _HTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_HTTP, request)


class _HTTPSHandler(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(context=context)
        self._given = context
        if context is not None:
            context.sslsocket_class = _TLSSocket

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(_HTTPS, request, context=self._given)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None

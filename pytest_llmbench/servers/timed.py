"""How does an answer end in time, however slowly it comes?

The time limits of HTTP libraries hold for each piece that is read: a server that sends a byte at a time
keeps its client forever. Here the limit holds for the whole, from the connection to the last byte. It is set
where the bytes are read: httpcore, on which httpx stands, takes the network it uses as an argument.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore2

from pytest_llmbench.servers.urls import URL, proxy_headers, read_proxy


class TooLongError(Exception):
    """The body has more bytes than were allowed."""


def open_url(
    url: URL,
    headers: Mapping[str, str],
    *,
    timeout: float,
    context: ssl.SSLContext | None,
    proxy: str | None,
    most: int,
    sent: bytes | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, and body of the answer to ``GET`` *url*, or to ``POST``.

    Redirects are not followed, and what the environment says of proxies does not matter.

    :param timeout: seconds; looking up a name comes on top, since nothing can break it off.
    :param proxy: ``http://[USER:PASSWORD@]HOST:PORT``; None goes straight to the server.
    :param most: bytes of the body.
    :param sent: what is posted; None only asks.
    :raises TimeoutError: if the answer is not whole in time.
    :raises OSError: if the connection fails.
    :raises httpcore2.ProtocolError: if what comes is not HTTP, or is cut.
    :raises httpcore2.ProxyError: if the proxy does not let us through.
    :raises TooLongError: if the body has more bytes than *most*.
    """
    network = _TimedNetwork(time.monotonic() + timeout)
    length = {} if sent is None else {"Content-Length": str(len(sent))}
    target = httpcore2.URL(f"{url.scheme}://{url.authority}{url.target('')}")
    if proxy is not None and ":" in url.host:
        # A proxy gets the host as it stands here, where brackets of an IPv6 address were taken off.
        target.host = b"[%b]" % target.host
    try:
        with (
            _pool(network, context, proxy) as pool,
            pool.stream(
                "GET" if sent is None else "POST",
                target,
                headers=_pairs({"Host": url.authority, **length, **headers}),
                content=sent,
                extensions={"sni_hostname": url.host},
            ) as response,
        ):
            body = bytearray()
            for part in response.iter_stream():
                body += part
                if len(body) > most:
                    raise TooLongError
            given = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers)
            return response.status, {name.lower(): value for name, value in given}, bytes(body)
    except httpcore2.TimeoutException:
        raise TimeoutError from None
    except httpcore2.NetworkError as error:
        # The library's errors carry the system's, which say more.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise OSError(str(error)) from None


def _pool(
    network: httpcore2.NetworkBackend, context: ssl.SSLContext | None, proxy: str | None
) -> httpcore2.ConnectionPool:
    if proxy is None:
        return httpcore2.ConnectionPool(ssl_context=context, network_backend=network)
    way = read_proxy(proxy)
    return httpcore2.HTTPProxy(
        f"{way.scheme}://{way.authority}",
        proxy_headers=_pairs(proxy_headers(way)),
        ssl_context=context,
        network_backend=network,
    )


def _pairs(headers: Mapping[str, str]) -> list[tuple[bytes | str, bytes | str]]:
    return [(name, value.encode("latin-1")) for name, value in headers.items()]


class _TimedNetwork(httpcore2.SyncBackend):
    """Sockets that are given up at *end*, a reading of ``time.monotonic``."""

    def __init__(self, end: float) -> None:
        self._end = end

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        del timeout
        stream = super().connect_tcp(host, port, _left(self._end), local_address, socket_options)
        return _TimedStream(stream, self._end)


class _TimedStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, end: float) -> None:
        self._stream = stream
        self._end = end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        del timeout
        return self._stream.read(max_bytes, _left(self._end))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        del timeout
        self._stream.write(buffer, _left(self._end))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        del timeout
        # The handshake's limit holds for its whole.
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, _left(self._end)), self._end)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(end: float) -> float:
    """Seconds until *end*; raises TimeoutError after it."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds

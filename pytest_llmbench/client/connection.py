"""How do bytes get to a server and back, without the client ever waiting?

A :class:`Connection` is one non-blocking socket: connected, led through a proxy's tunnel and TLS where
they are needed, then written to and read from. The loop calls it when its socket is ready.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass

from pytest_llmbench.client.http import MalformedError, Response
from pytest_llmbench.client.pending import PendingRequest
from pytest_llmbench.client.plan import Failure
from pytest_llmbench.client.poller import Poller
from pytest_llmbench.client.receiver import READ_SIZE
from pytest_llmbench.client.segments import Segment
from pytest_llmbench.client.stamps import SPACE, stamp_arrivals
from pytest_llmbench.client.tls import TLS, TLSError
from pytest_llmbench.servers.endpoint import Endpoint
from pytest_llmbench.servers.trust import tls_context
from pytest_llmbench.servers.urls import authority, proxy_headers, read_proxy, read_url

Address = tuple[int, int, int, tuple[object, ...]]
"""Family, type and protocol of a socket, and what it connects to."""

_CONNECTING, _TUNNELLING, _HANDSHAKING, _READY = range(4)


class ConnectionFailedError(Exception):
    """The connection cannot be used any more; carries the failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(slots=True)
class Route:
    """The way to a server."""

    addresses: list[Address]
    """They are tried in this order."""
    context: ssl.SSLContext | None
    """Of TLS; None without."""
    host: str
    """Whose certificate it has to be."""
    tunnel: bytes | None
    """What a proxy is asked first; None without a proxy, or where it takes the requests themselves."""


def find_route(endpoint: Endpoint) -> Route:
    """The way to *endpoint*; names are looked up here, and never again.

    :raises ConnectionFailedError: if a name is not known.
    :raises UsageError: for an address or a certificate file that is not valid.
    """
    url = read_url(endpoint.base_url, "base_url")
    context = tls_context(verify=endpoint.verify, ca_file=endpoint.ca_file) if url.scheme == "https" else None
    to, to_port, tunnel = url.host, url.port, None
    if endpoint.proxy is not None:
        proxy = read_proxy(endpoint.proxy)
        to, to_port = proxy.host, proxy.port
        if context is not None:
            place = authority(url.host, url.port)
            lines = "".join(f"{name}: {value}\r\n" for name, value in proxy_headers(proxy).items())
            tunnel = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{lines}\r\n".encode()
    try:
        found = socket.getaddrinfo(to, to_port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConnectionFailedError(Failure("resolve", f"{to}: {reason}")) from None
    return Route(
        [(family, kind, proto, at) for family, kind, proto, _, at in found], context, url.host, tunnel
    )


class Connection:
    """One connection, on its way to being ready from the start.

    :param address: the index in the route's addresses.
    :raises ConnectionFailedError: from every method, for what ends it.
    """

    __slots__ = (
        "_poller",
        "_proxy",
        "_route",
        "_sock",
        "_stage",
        "_tls",
        "_trouble",
        "_unsent",
        "address",
        "connected",
        "fd",
        "pending",
        "ready",
        "recvmsg",
        "stamps_reason",
    )

    def __init__(self, route: Route, address: int, poller: Poller) -> None:
        self.address = address
        self.connected = False
        """Whether the address has accepted."""
        self.ready = False
        """Whether a request can be sent."""
        self.pending: PendingRequest | None = None
        """The request that it is busy with, or made for."""
        self._route = route
        self._poller = poller
        self._stage = _CONNECTING
        self._proxy = Response()
        self._tls: TLS | None = None
        self._unsent: bytes | memoryview = b""
        self._trouble: Failure | None = None
        family, kind, proto, at = route.addresses[address]
        try:
            self._sock = socket.socket(family, kind, proto)
        except OSError as error:
            raise ConnectionFailedError(_failure(error)) from None
        self.fd = self._sock.fileno()
        self.recvmsg = self._sock.recvmsg
        """The socket's own, for segments that go to the stream."""
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stamps_reason = stamp_arrivals(self._sock)
        """Why the kernel does not stamp what arrives; None if it does."""
        code = self._sock.connect_ex(at)
        if code not in (0, errno.EINPROGRESS):
            self._sock.close()
            raise ConnectionFailedError(_failure(OSError(code, os.strerror(code))))
        poller.add(self.fd)

    @property
    def unsent(self) -> bool:
        """Whether a part of a request waits for room in the kernel."""
        return bool(self._unsent)

    @property
    def plain(self) -> bool:
        """Whether its segments are the response's own bytes."""
        return self._tls is None

    @property
    def whole(self) -> bool:
        """Whether an end of the connection is meant; TLS says so, and without it this cannot be known."""
        return self._tls is None or self._tls.closed

    def advance(self) -> None:
        """Go on towards being ready; called when the socket is."""
        if self._stage == _CONNECTING:
            if not self._connected():
                return
            self.connected = True
            self._poller.change(self.fd, write=False)
            if self._route.tunnel is None:
                self._begin_tls()
            else:
                self._stage = _TUNNELLING
                self._put(self._route.tunnel)
            return
        self.flush()
        segment = self.receive()
        if segment is None:
            return
        if self._stage == _TUNNELLING:
            self._go_through(segment[2])
        else:
            self._shake_hands(segment[2])

    def _connected(self) -> bool:
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise ConnectionFailedError(_failure(OSError(code, os.strerror(code))))
        try:
            self._sock.getpeername()
        except OSError:
            # What the socket was said to be ready for was meant for one that had its number before.
            return False
        return True

    def _go_through(self, data: bytes) -> None:
        """Read a proxy's answer."""
        try:
            if data:
                self._proxy.feed(data)
            else:
                self._proxy.close()
        except MalformedError as error:
            raise ConnectionFailedError(Failure("malformed", f"the proxy: {error}")) from None
        status = self._proxy.status
        if status is not None and 200 <= status < 300:
            self._begin_tls()
        elif status is not None or not data:
            said = "closed the connection" if status is None else f"answered CONNECT with {status}"
            raise ConnectionFailedError(Failure("refused", f"the proxy {said}"))

    def _begin_tls(self) -> None:
        if self._route.context is None:
            self._stage, self.ready = _READY, True
            return
        self._stage = _HANDSHAKING
        self._tls = TLS(self._route.context, self._route.host)
        self._put(self._tls.hello())

    def _shake_hands(self, data: bytes) -> None:
        assert self._tls is not None
        if not data:
            raise ConnectionFailedError(Failure("tls", "the server closed the connection in the handshake"))
        try:
            done = self._tls.handshake(data)
        except TLSError as error:
            # The server learns why.
            self._put(self._tls.outgoing())
            raise ConnectionFailedError(error.failure) from None
        self._put(self._tls.outgoing())
        if done:
            self._stage, self.ready = _READY, True

    def write(self, text: bytes) -> None:
        """Hand *text* to the kernel; what it has no room for goes with :meth:`flush`."""
        if self._tls is not None:
            try:
                text = self._tls.encrypt(text)
            except TLSError as error:
                raise ConnectionFailedError(error.failure) from None
        self._put(text)

    def flush(self) -> None:
        """Write what had no room before."""
        if self._unsent:
            unsent, self._unsent = self._unsent, b""
            self._put(unsent)
            if not self._unsent:
                self._poller.change(self.fd, write=False)

    def _put(self, data: bytes | memoryview) -> None:
        if self._unsent:
            self._unsent = bytes(self._unsent) + bytes(data)
            return
        while data:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                self._unsent = data
                self._poller.change(self.fd, write=True)
                return
            except OSError as error:
                # The server may have answered before it went: reading tells, and comes to the same end.
                self._trouble = _failure(error)
                return
            if sent == len(data):
                return
            data = memoryview(data)[sent:]

    def receive(self) -> Segment | None:
        """What came, by one read; None if nothing did, and no text if the connection has ended."""
        try:
            data, ancillary, _, _ = self.recvmsg(READ_SIZE, SPACE)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ConnectionFailedError(self.failed_by(error)) from None
        now = time.perf_counter_ns()
        if self._tls is not None and self.ready and data:
            data = self._decrypted(self._tls, data)
            if not data and not self._tls.closed:
                return None
        if not data and self._trouble is not None:
            raise ConnectionFailedError(self._trouble)
        return now, ancillary[0][2] if ancillary else None, data

    def failed_by(self, error: OSError) -> Failure:
        """What a read that raised *error* says of the connection."""
        return self._trouble or _failure(error)

    def _decrypted(self, tls: TLS, data: bytes) -> bytes:
        try:
            text = tls.decrypt(data)
        except TLSError as error:
            raise ConnectionFailedError(error.failure) from None
        if answer := tls.outgoing():
            self._put(answer)
        if text and tls.closed:
            # The server's goodbye came with its last words, and it may wait for ours: end it from here.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)
        return text

    def close(self) -> None:
        """Close the socket; what it still had to say is lost."""
        self._poller.remove(self.fd)
        self._sock.close()


def _failure(error: OSError) -> Failure:
    words = error.strerror or str(error)
    if error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        return Failure("reset", words)
    if error.errno == errno.ETIMEDOUT:
        return Failure("timeout", words)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        words += ": raise the limit with 'ulimit -n'"
    return Failure("refused", words)

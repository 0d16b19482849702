"""How is TLS spoken over a socket that the client reads itself?

The client reads segments itself, because only so does it get the kernel's stamps; what they hold goes
through buffers in memory (``ssl.MemoryBIO``) and comes out as text.
"""

from __future__ import annotations

import ssl

from pytest_llmbench.client.plan import Failure

_RECORD = 64 * 1024
"""Bytes that one read takes at most; a TLS record has 16 KiB."""


class TLSError(Exception):
    """The peer, or its certificate, is not to be trusted; carries the failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class TLS:
    """One end of a connection, the client's.

    :raises TLSError: from every method, for what breaks the protocol.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "closed")

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.closed = False
        """Whether the peer said that this was all; a connection that ends without that may be cut."""

    def hello(self) -> bytes:
        """What the handshake begins with."""
        self.handshake(b"")
        return self.outgoing()

    def handshake(self, data: bytes) -> bool:
        """Go on with what came; returns whether the handshake is done."""
        self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TLSError(_failure(error)) from None
        return True

    def outgoing(self) -> bytes:
        """What has to be sent now."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def encrypt(self, text: bytes) -> bytes:
        """The bytes that carry *text*."""
        try:
            self._object.write(text)
        except ssl.SSLError as error:
            raise TLSError(_failure(error)) from None
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """The text that *data* completes; none if no record is whole yet, or none of it is text."""
        self._incoming.write(data)
        parts: list[bytes] = []
        try:
            while self._incoming.pending or self._object.pending():
                part = self._object.read(_RECORD)
                if not part:
                    self.closed = True
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.closed = True
        except ssl.SSLError as error:
            raise TLSError(_failure(error)) from None
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _failure(error: ssl.SSLError) -> Failure:
    if isinstance(error, ssl.SSLCertVerificationError):
        detail = (
            f"{error.verify_message}: name the authority that signed it with server.ca_file=FILE, "
            "or trust any with server.verify=false"
        )
        return Failure("tls", detail)
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if error.reason == "WRONG_VERSION_NUMBER":
        reason += ": the server does not speak TLS; is its address http:// ?"
    return Failure("tls", reason)

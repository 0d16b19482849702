"""How do pytest and an engine's worker process talk?

Frames over a stream socket: an 8-byte big-endian length, then one JSON object in UTF-8. JSON,
because the other side may be another Python version. Nothing is sent while a round runs.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct(">Q")


class PeerGoneError(Exception):
    """The other side closed the socket, or its process ended."""


def send(sock: socket.socket, message: dict[str, Any]) -> None:
    """Send one frame.

    :raises PeerGoneError: if the other side is gone.
    """
    payload = json.dumps(message, separators=(",", ":")).encode()
    try:
        sock.settimeout(None)
        sock.sendall(_LENGTH.pack(len(payload)) + payload)
    except OSError as error:
        raise PeerGoneError from error


def receive(sock: socket.socket, timeout: float | None = None) -> dict[str, Any]:
    """Wait for one frame, at most *timeout* seconds for the whole of it.

    :raises PeerGoneError: if the other side is gone.
    :raises TimeoutError: if the time is over.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    (length,) = _LENGTH.unpack(_read(sock, _LENGTH.size, deadline))
    message: dict[str, Any] = json.loads(_read(sock, length, deadline))
    return message


def _read(sock: socket.socket, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock.settimeout(left)
        try:
            part = sock.recv(min(size, 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise PeerGoneError from error
        if not part:
            raise PeerGoneError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

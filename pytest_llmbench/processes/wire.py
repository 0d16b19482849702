"""How do pytest and an engine's worker process talk?

Frames over a stream socket: an 8-byte big-endian length, then one JSON object in UTF-8. JSON,
because the other side may be another Python version. Nothing is sent while a round runs; while a load level
does, its client says once a second that it goes on.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct(">Q")
_LONGEST = 1 << 36
"""Bytes of a frame: what claims to be longer is not a frame."""

Json = dict[str, Any]
"""A message, as JSON has it: what crosses the socket is checked by whoever reads it."""


class PeerGoneError(Exception):
    """The other side closed the socket, or its process ended."""


class GarbledError(Exception):
    """What came is not a frame: the other side speaks something else."""


def send(sock: socket.socket, message: Json, timeout: float | None = None) -> None:
    """Send one frame, in at most *timeout* seconds: a socket takes only so much before the other side reads.

    :raises PeerGoneError: if the other side is gone.
    :raises TimeoutError: if the time is over; nothing can be sent any more then.
    """
    payload = json.dumps(message, separators=(",", ":")).encode()
    try:
        sock.settimeout(timeout)
        sock.sendall(_LENGTH.pack(len(payload)) + payload)
    except TimeoutError:
        raise
    except OSError as error:
        raise PeerGoneError from error


def mention(sock: socket.socket, message: Json) -> None:
    """Send one small frame where there is room for it now, and else leave it out.

    :raises PeerGoneError: if the other side is gone.
    """
    payload = json.dumps(message, separators=(",", ":")).encode()
    frame = _LENGTH.pack(len(payload)) + payload
    try:
        sock.settimeout(0.0)
        sent = sock.send(frame)
        if sent < len(frame):
            sock.settimeout(None)
            sock.sendall(frame[sent:])
    except BlockingIOError:
        return
    except OSError as error:
        raise PeerGoneError from error


def waits(sock: socket.socket, timeout: float) -> bool:
    """Whether a frame begins, or the other side goes, within *timeout* seconds."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout) * 1000))


def receive(sock: socket.socket, timeout: float | None = None) -> Json:
    """Wait for one frame, at most *timeout* seconds for the whole of it.

    :raises PeerGoneError: if the other side is gone.
    :raises GarbledError: if it is none.
    :raises TimeoutError: if the time is over.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    (length,) = _LENGTH.unpack(_read(sock, _LENGTH.size, deadline))
    if length > _LONGEST:
        raise GarbledError
    try:
        message = json.loads(_read(sock, length, deadline))
    except (ValueError, RecursionError) as error:
        raise GarbledError from error
    if not isinstance(message, dict):
        raise GarbledError
    return message


def _read(sock: socket.socket, size: int, deadline: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
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

"""Does every frame arrive whole, or say why not?"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_llmbench.processes import wire


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_large_message_arrives_as_it_was_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    message = {"times": list(range(200_000)), "text": "ä\u0000🦙"}
    sender = threading.Thread(target=wire.send, args=(pair[0], message))
    sender.start()
    assert wire.receive(pair[1], 30) == message
    sender.join()


def test_a_closed_socket_is_a_peer_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    with pytest.raises(wire.PeerGoneError):
        wire.receive(pair[1], 30)


def test_half_a_message_is_a_peer_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(b"\0" * 7 + b"\5" + b"{}")
    pair[0].close()
    with pytest.raises(wire.PeerGoneError):
        wire.receive(pair[1], 30)


def test_silence_is_a_timeout(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        wire.receive(pair[1], 0.01)

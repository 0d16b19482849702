"""Is what arrives stored or handed over as it should, with what was built from C and without?"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pytest_llmbench.client import stamps
from pytest_llmbench.client.plan import Receiver
from pytest_llmbench.client.poller import READ, WRITE, make_poller
from pytest_llmbench.client.receiver import READ_SIZE, Arrived, choose_receiver
from pytest_llmbench.client.room import SEGMENT, Room
from pytest_llmbench.client.segments import Segment

MS = 1_000_000
SECOND = 1000 * MS


class Wire:
    """Some connections over the loopback, and what receives at their near ends."""

    def __init__(self, stack: ExitStack, pairs: int) -> None:
        self.poller = make_poller()
        stack.callback(self.poller.close)
        self.sockets: dict[int, socket.socket] = {}
        self.streams: dict[int, list[Segment]] = {}
        self.fds: list[int] = []
        self.far: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(pairs):
                near = stack.enter_context(socket.create_connection(listener.getsockname()))
                self.far.append(stack.enter_context(listener.accept()[0]))
                near.setblocking(False)
                stamps.stamp_arrivals(near)
                self.sockets[near.fileno()] = near
                self.fds.append(near.fileno())
                self.poller.add(near.fileno())
                self.poller.change(near.fileno(), write=False)
        self.room = Room(SECOND)
        for fd in self.fds:
            self.room.open(fd, SECOND)
        self.name, self._receive = choose_receiver(self.poller, self.sockets, self.streams, self.room)

    def stream(self, number: int = 0) -> list[Segment]:
        return self.streams.setdefault(self.fds[number], [])

    def receive(self, timeout: int = 5 * SECOND) -> list[Arrived]:
        """What needs more than to be stored, as soon as there is anything."""
        end = time.perf_counter_ns() + timeout
        while True:
            left = self._receive(max(0, end - time.perf_counter_ns()))
            if left or time.perf_counter_ns() >= end:
                return left

    def receive_stored(self, number: int = 0) -> Segment:
        """What is stored next for a connection; nothing else may need anything."""
        stream = self.stream(number)
        have = len(stream)
        end = time.perf_counter_ns() + 5 * SECOND
        while len(stream) == have and time.perf_counter_ns() < end:
            assert self._receive(MS) == []
        return stream[have]


@pytest.fixture
def wire(receiver: Receiver) -> Iterator[Wire]:
    with ExitStack() as stack:
        made = Wire(stack, 3)
        assert made.name == receiver
        yield made


def stamp_ns(stamp: bytes | None) -> int:
    assert stamp is not None
    seconds, nanoseconds = struct.unpack("=qq", stamp)
    return int(seconds) * SECOND + int(nanoseconds)


def test_the_middle_of_a_stream_is_stored_with_both_times(wire: Wire) -> None:
    wire.stream()
    before, wall_before = time.perf_counter_ns(), time.time_ns()
    wire.far[0].sendall(b"5\r\nhello\r\n")
    read, stamp, data = wire.receive_stored()
    assert data == b"5\r\nhello\r\n"
    assert before < read < time.perf_counter_ns()
    if sys.platform.startswith("linux"):
        # The wall clock may be slewed meanwhile.
        assert wall_before - MS < stamp_ns(stamp) < time.time_ns() + MS


def test_without_stamps_there_is_none(wire: Wire) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("there are none to switch off")
    wire.sockets[wire.fds[0]].setsockopt(socket.SOL_SOCKET, stamps._OPTION, 0)
    wire.stream()
    wire.far[0].sendall(b"x")
    assert wire.receive_stored()[1:] == (None, b"x")


def test_what_may_end_a_response_is_handed_over_and_not_stored(wire: Wire) -> None:
    for last in (b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"\n0"):
        stream = wire.stream()
        wire.far[0].sendall(last)
        ((fd, ready, came),) = wire.receive()
        assert isinstance(came, tuple)
        assert (fd, ready, came[2]) == (wire.fds[0], READ, last)
        assert stream == []


def test_what_is_stored_takes_room_of_its_response_and_of_the_level(wire: Wire) -> None:
    wire.stream()
    wire.far[0].sendall(b"12345")
    wire.receive_stored()
    assert list(wire.room.left)[:1] == [SECOND - 5 - SEGMENT]
    assert [wire.room.left[fd + 1] for fd in wire.fds] == [SECOND - 5 - SEGMENT, SECOND, SECOND]


@pytest.mark.parametrize("whose", ["the response's", "the level's", "nobody's"])
def test_what_there_is_no_room_for_is_handed_over_and_not_stored(wire: Wire, whose: str) -> None:
    stream = wire.stream()
    if whose == "the response's":
        wire.room.open(wire.fds[0], SEGMENT + 4)
    elif whose == "the level's":
        wire.room.left[0] = SEGMENT + 4
    else:
        del wire.room.left[1:]
    left = list(wire.room.left)
    wire.far[0].sendall(b"12345")
    ((fd, ready, came),) = wire.receive()
    assert isinstance(came, tuple)
    assert (fd, ready, came[2]) == (wire.fds[0], READ, b"12345")
    assert stream == []
    assert list(wire.room.left) == left


def test_a_socket_without_a_stream_is_named_and_not_read(wire: Wire) -> None:
    wire.far[1].sendall(b"x")
    assert wire.receive() == [(wire.fds[1], READ, None)]
    assert wire.sockets[wire.fds[1]].recv(10) == b"x"


def test_one_that_has_room_to_write_is_named_and_not_read(wire: Wire) -> None:
    wire.stream(2)
    wire.poller.change(wire.fds[2], write=True)
    assert wire.receive() == [(wire.fds[2], WRITE, None)]


def test_the_end_of_a_connection_is_handed_over(wire: Wire) -> None:
    wire.stream()
    wire.far[0].shutdown(socket.SHUT_WR)
    ((fd, ready, came),) = wire.receive()
    assert isinstance(came, tuple)
    assert (fd, ready, came[2]) == (wire.fds[0], READ, b"")


def test_a_reset_is_named_or_handed_over_with_its_error(wire: Wire) -> None:
    wire.stream()
    wire.far[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.far[0].close()
    ((fd, ready, came),) = wire.receive()
    assert fd == wire.fds[0]
    if came is None:
        # epoll says that it is no plain READ; the error is still there to be read.
        assert ready != READ
        with pytest.raises(ConnectionResetError):
            wire.sockets[fd].recv(1)
    else:
        assert isinstance(came, ConnectionResetError)


def test_an_error_of_reading_is_handed_over(wire: Wire) -> None:
    """A pipe is ready, and no socket."""
    reading, writing = os.pipe()
    try:
        wire.poller.add(reading)
        wire.poller.change(reading, write=False)
        wire.streams[reading] = []
        wire.sockets[reading] = socket.socket(fileno=os.dup(wire.fds[0]))
        wire.sockets[reading].close()
        os.write(writing, b"x")
        ((fd, ready, came),) = wire.receive()
        assert (fd, ready) == (reading, READ)
        assert isinstance(came, OSError)
        assert came.errno in (errno.ENOTSOCK, errno.EBADF)
        assert came.strerror
    finally:
        wire.poller.remove(reading)
        os.close(reading)
        os.close(writing)


def test_several_streams_are_read_together_and_none_hides_another(wire: Wire) -> None:
    streams = [wire.stream(0), wire.stream(1)]
    wire.far[0].sendall(b"a")
    wire.far[1].sendall(b"b")
    wire.far[2].sendall(b"c")
    left = wire.receive()
    for _ in range(100):
        if all(streams):
            break
        wire._receive(MS)
    assert (wire.fds[2], READ, None) in left
    assert [[data for _, _, data in stream] for stream in streams] == [[b"a"], [b"b"]]


def test_more_than_one_read_takes_is_read_by_several(wire: Wire) -> None:
    stream = wire.stream()
    sent = b"x" * (3 * READ_SIZE)
    threading.Thread(target=wire.far[0].sendall, args=(sent,)).start()
    while sum(len(data) for _, _, data in stream) < len(sent):
        wire.receive_stored()
    assert b"".join(data for _, _, data in stream) == sent
    assert max(len(data) for _, _, data in stream) <= READ_SIZE


def test_where_nothing_comes_it_gives_up_when_it_should(wire: Wire) -> None:
    assert wire._receive(-MS) == []
    for timeout in (0, 3 * MS, 20 * MS):
        before = time.perf_counter_ns()
        assert wire.receive(timeout) == []
        assert time.perf_counter_ns() - before >= timeout


def test_a_stream_that_goes_on_and_on_does_not_keep_it(wire: Wire) -> None:
    over = threading.Event()

    def talk() -> None:
        with contextlib.suppress(OSError):  # The wire is closed while a byte is on its way.
            while not over.is_set():
                wire.far[0].sendall(b"x")

    wire.stream()
    threading.Thread(target=talk).start()
    try:
        assert wire._receive(20 * MS) == []
    finally:
        over.set()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no signals")
def test_a_signal_is_handled_while_it_waits(wire: Wire) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            wire.receive(60 * SECOND)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_poller_that_is_gone_is_an_error(wire: Wire) -> None:
    wire.poller.close()
    with pytest.raises((OSError, ValueError)):
        wire.receive()

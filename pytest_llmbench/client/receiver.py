"""How is what has arrived read, many streams at a time?

Nearly all that arrives is the middle of a stream and only needs to be stored. This is the hot path, and
it is there twice: in C (``_native.c``), at little more than what the kernel itself takes, and in Python
for where that was not built. Both do the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pytest_llmbench.client import native
from pytest_llmbench.client.http import may_end
from pytest_llmbench.client.plan import Receiver
from pytest_llmbench.client.poller import READ, EpollPoller, Poller
from pytest_llmbench.client.room import Room
from pytest_llmbench.client.segments import Arrived, Segment
from pytest_llmbench.client.stamps import SPACE
from pytest_llmbench.metrics.timeline import NANO

READ_SIZE = 64 * 1024
"""Bytes that one read takes at most."""

Receive = Callable[[int], list[Arrived]]
"""Stores what arrives, until something arrives that needs more than that, or for so many ns; not above 0,
it does not wait. May return sooner, with nothing."""


def fastest() -> Receiver:
    """What a process of this installation reads with."""
    return "python" if native.receive is None else "native"


def choose_receiver(
    poller: Poller, sockets: Mapping[int, Any], streams: dict[int, list[Segment]], room: Room
) -> tuple[Receiver, Receive]:
    """The fastest one that there is, and its name.

    :param sockets: what has a ``recvmsg``, by file descriptor; looked at anew each time, as *streams* is.
    :param streams: where the segments of a socket go as long as none :func:`.may_end` its response.
    :param room: for what goes there; a segment for which there is none is handed over, like one that may end.
    """
    if native.receive is not None and isinstance(poller, EpollPoller):
        return "native", partial(native.receive, poller.fileno(), streams, room.left)
    return "python", partial(_receive, poller, sockets, streams, room)


def _receive(
    poller: Poller, sockets: Mapping[int, Any], streams: Mapping[int, list[Segment]], room: Room, timeout: int
) -> list[Arrived]:
    clock = time.perf_counter_ns
    left: list[Arrived] = []
    for fd, ready in poller.wait(timeout * NANO):
        stream = streams.get(fd)
        if stream is None or ready != READ:
            left.append((fd, ready, None))
            continue
        try:
            data, ancillary, _, _ = sockets[fd].recvmsg(READ_SIZE, SPACE)
        except BlockingIOError:
            continue
        except OSError as error:
            left.append((fd, ready, error))
            continue
        segment = clock(), ancillary[0][2] if ancillary else None, data
        if not data or may_end(data) or not room.take(fd, len(data)):
            left.append((fd, ready, segment))
        else:
            stream.append(segment)
    return left

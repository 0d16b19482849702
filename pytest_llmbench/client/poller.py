"""Which sockets have something to say?

epoll where there is one, else what ``selectors`` chooses. Level triggered: a socket is named as long as
there is something left.
"""

from __future__ import annotations

import select
import selectors
from typing import Protocol

READ, WRITE = 1, 4
"""Bits of what a socket is ready for. Any other bit is trouble, which reading reports."""
_AT_ONCE = 64
"""Sockets that are named at once: what is due meanwhile waits for so many reads at most."""
_SELECTABLE = 1024
"""select(2) takes file descriptors below this."""
_MS = 1e-3


class Poller(Protocol):
    """Watches sockets by their file descriptors."""

    def add(self, fd: int) -> None:
        """Watch a socket for data and for room."""

    def change(self, fd: int, *, write: bool) -> None:
        """Watch it for data, and with *write* for room."""

    def remove(self, fd: int) -> None:
        """Do not watch it any more; before it is closed."""

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        """The sockets that are ready, each with its bits; none after that many *seconds*."""

    def close(self) -> None:
        """Give up what the system lent."""


def make_poller() -> Poller:
    """The best that this system has."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()


class EpollPoller:
    """Linux."""

    def __init__(self) -> None:
        self._epoll = select.epoll()

    def add(self, fd: int) -> None:
        self._epoll.register(fd, READ | WRITE)

    def change(self, fd: int, *, write: bool) -> None:
        self._epoll.modify(fd, READ | WRITE if write else READ)

    def remove(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def fileno(self) -> int:
        """Its own file descriptor."""
        return self._epoll.fileno()

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        # epoll_wait(2) counts whole milliseconds, and Python rounds up. An epoll is itself a file that
        # select(2) can wait for, and that counts microseconds: so no loop has to spin.
        if seconds >= 2 * _MS:
            return self._epoll.poll(seconds - _MS, _AT_ONCE)
        ready = self._epoll.poll(0, _AT_ONCE)
        if ready or seconds <= 0 or self._epoll.fileno() >= _SELECTABLE:
            return ready
        select.select([self._epoll], [], [], seconds)
        return self._epoll.poll(0, _AT_ONCE)

    def close(self) -> None:
        self._epoll.close()


class SelectorPoller:
    """Elsewhere."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def change(self, fd: int, *, write: bool) -> None:
        self._selector.modify(fd, selectors.EVENT_READ | (selectors.EVENT_WRITE if write else 0))

    def remove(self, fd: int) -> None:
        self._selector.unregister(fd)

    def wait(self, seconds: float) -> list[tuple[int, int]]:
        return [(key.fd, _bits(events)) for key, events in self._selector.select(seconds)]

    def close(self) -> None:
        self._selector.close()


def _bits(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)

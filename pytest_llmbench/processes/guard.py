"""How does no process of ours outlive pytest, whatever ends pytest and whatever they do meanwhile?

A child that listens ends by itself when pytest is gone. One that was stopped, hangs in an import, or sits
in a call of an engine does not listen. So beside them lives a process that does nothing but wait for
pytest's end, and then kills their process groups: ``PYTHON -I -S guard.py PARENT``, by its path, so that it
starts in no time. Lines ``+GROUP`` and ``-GROUP`` on its standard input say whom to kill then, and whom no
more.

It lives for as long as there is a process to watch. Where the system reports a process's end (Linux: pidfd;
macOS and BSD: kqueue), it does not depend on the pipe, which a process that a test has forked holds open too.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress

_END_WITHIN = 10.0
"""Seconds."""


class Guard:
    """This process's end of it; see the module."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def watch(self, group: int) -> None:
        """Kill the process group *group* when this process ends. Does nothing where the system cannot."""
        if not hasattr(os, "killpg"):
            return
        with self._lock, suppress(OSError):
            if self._owner != os.getpid():
                # Forked: what is in here is the parent's.
                self._owner, self._process, self._groups = os.getpid(), None, set()
            self._groups.add(group)
            if self._process is None or self._process.poll() is not None:
                self._start()
            else:
                self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        """It has ended, and its number may be another's soon."""
        with self._lock:
            if group not in self._groups or self._owner != os.getpid():
                return
            self._groups.discard(group)
            process = self._process
            if process is None:
                return
            with suppress(OSError):
                self._tell(f"-{group}\n")
            if not self._groups:
                self._process = None
                assert process.stdin is not None
                with suppress(OSError):
                    process.stdin.close()
                try:
                    process.wait(_END_WITHIN)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Neither Ctrl-C nor the end of pytest's own group is for it.
            start_new_session=True,
        )
        self._tell("".join(f"+{group}\n" for group in sorted(self._groups)))

    def _tell(self, lines: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(lines.encode())
        self._process.stdin.flush()


GUARD = Guard()
"""The one of this process."""


def main(parent: int) -> None:
    """The process's whole life."""
    os.set_blocking(0, False)
    ended = _wait_for_end(parent)
    groups: set[int] = set()
    rest = b""
    over = os.getppid() != parent
    while True:
        # What was said before the end counts.
        while (data := _read()) is not None:
            if not data:
                over = True
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
        if over:
            break
        ready = select.select([0] if ended is None else [0, ended], [], [])[0]
        over = ended in ready
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _read() -> bytes | None:
    """What is there to read; empty at the end, None for now."""
    try:
        return os.read(0, 4096)
    except BlockingIOError:
        return None


def _wait_for_end(pid: int) -> int | None:
    """A descriptor that becomes readable when the process ends; None where the system has none."""
    with suppress(AttributeError, OSError):
        return os.pidfd_open(pid)
    with suppress(AttributeError, OSError):
        queue = select.kqueue()  # type: ignore[attr-defined]
        event = select.kevent(  # type: ignore[attr-defined]
            pid,
            select.KQ_FILTER_PROC,  # type: ignore[attr-defined]
            select.KQ_EV_ADD,  # type: ignore[attr-defined]
            select.KQ_NOTE_EXIT,  # type: ignore[attr-defined]
        )
        queue.control([event], 0)
        _KEPT.append(queue)
        return int(queue.fileno())
    return None


_KEPT: list[object] = []
"""What would be closed if no reference were kept."""


if __name__ == "__main__":
    main(int(sys.argv[1]))

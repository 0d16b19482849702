"""How does a server end with the session, however the session ends?

Runs as ``PYTHON -I -S keeper.py FD`` between pytest and the server: by its path, so that it starts in
no time and needs nothing but the standard library. It outlives pytest by as long as it takes to end
the server's whole tree, whichever sessions and process groups the tree's members went into: on Linux
those whose parents ended become the keeper's own children.

Lines of JSON over the socket FD. First comes an order: ``command``, ``environment``, ``stop`` (a
command that ends the server, or null), ``remove`` (a folder to remove at last) and ``grace``
(seconds). The server's process says its ``pid``
before it does anything and waits for a byte. Then the keeper says ``error`` (it could not be run) or,
when the server has ended, its ``status``. Whatever else comes over the socket, and the end of the
process at its other end, are the order to end the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TAIL_GRACE = 5.0
"""Seconds that the tree has, when its root is gone, to end when asked, and again when killed; at most
the grace of the order."""


class Keeper:
    """One server's tree, from its start to its end."""

    def __init__(self, control: socket.socket, order: dict[str, Any]) -> None:
        self._control = control
        self._order = order
        self._pid = os.getpid()
        self._root = 0
        self._status: int | None = None
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def run(self) -> None:
        """Start the server, wait until it ends or has to, and leave nothing of it."""
        try:
            process = subprocess.Popen(
                self._order["command"],
                env=self._order["environment"],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # This process has one thread, so what runs between fork and exec is safe.
                preexec_fn=self._before_exec,
            )
        except OSError as error:
            self._tell({"error": error.strerror or str(error), "missing": error.errno == 2})
            return
        self._root = process.pid
        self._wait()
        self._stop()
        if self._status is None:
            self._end()
        self._sweep()
        shutil.rmtree(self._order["remove"], ignore_errors=True)
        # The status was taken from under Popen, which would otherwise warn of a process left behind.
        process.returncode = self._status

    def _before_exec(self) -> None:
        """In the server's process: tell its id, and wait until that has been taken note of."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:
            os._exit(1)
        # If memory runs out, it is this process that has it.
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500")
        self._tell({"pid": os.getpid()})
        if not self._control.recv(1):
            os._exit(0)

    def _wait(self) -> None:
        """Return when the server has ended, or when it has to."""
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            if (parent := _open_parent()) is not None:
                # A process that pytest forked may hold the socket open; this tells of pytest alone.
                stack.callback(os.close, parent)
                selector.register(parent, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                signals = os.read(self._wake, 4096) if self._wake in ready else b""
                self._reap()
                if self._status is not None or ready - {self._wake} or set(signals) - {signal.SIGCHLD}:
                    return

    def _stop(self) -> None:
        """Run the command that ends what is not our child, even if the child that stood for it ended."""
        if self._order["stop"] is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    self._order["stop"],
                    env=self._order["environment"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    timeout=self._order["grace"] + 10,
                    check=False,
                )

    def _end(self) -> None:
        """Ask the server to end, and kill it if it does not."""
        with contextlib.suppress(OSError):
            os.killpg(self._root, signal.SIGTERM)
        deadline = time.monotonic() + self._order["grace"]
        while self._status is None and time.monotonic() < deadline:
            time.sleep(0.02)
            self._reap()
        if self._status is None:
            _kill(self._root, signal.SIGKILL)

    def _sweep(self) -> None:
        """End what is left without its root, until nothing is."""
        asked: set[int] = set()
        stages: tuple[tuple[int, Callable[[int], bool]], ...] = (
            (signal.SIGTERM, lambda pid: pid in asked),
            # What Python engines share is freed by one process, when all others have ended.
            (signal.SIGKILL, _frees_memory),
            (signal.SIGKILL, lambda _: False),
        )
        for number, spared in stages:
            deadline = time.monotonic() + min(_TAIL_GRACE, self._order["grace"])
            while (left := self._left()) and time.monotonic() < deadline:
                for pid in left:
                    if not spared(pid):
                        asked.add(pid)
                        _kill(pid, number)
                time.sleep(0.01)

    def _left(self) -> list[int]:
        self._reap()
        if LINUX:
            return _descendants(os.getpid())
        with contextlib.suppress(OSError):
            os.killpg(self._root, 0)
            return [-self._root]
        return []

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._root:
                self._status = os.waitstatus_to_exitcode(status)
                self._tell({"status": self._status})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _frees_memory(pid: int) -> bool:
    """Whether a process is the resource tracker of Python's multiprocessing."""
    try:
        return b"multiprocessing.resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    waiting = [pid]
    while waiting:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{waiting.pop()}/task").iterdir():
                children = [int(number) for number in (task / "children").read_bytes().split()]
                found += children
                waiting += children
    return found


def _prctl(option: int, value: int) -> None:
    if LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(option, value)


def _open_parent() -> int | None:
    """A descriptor that becomes readable when the parent ends; None where the system has none."""
    try:
        return os.pidfd_open(os.getppid())
    except (AttributeError, OSError):
        return None


def main() -> None:
    """Do what the other end of the socket orders."""
    control = socket.socket(fileno=int(sys.argv[1]))
    with control.makefile("rb") as lines:
        line = lines.readline()
    if line:
        Keeper(control, json.loads(line)).run()


if __name__ == "__main__":
    main()

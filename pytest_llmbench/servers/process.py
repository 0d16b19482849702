"""How does a server's process start, and is it still there?

The process lives below a keeper (:mod:`.keeper`), which ends its whole tree when told to, and when
this process is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pytest_llmbench import errors
from pytest_llmbench.processes.wire import Json

KEEPER = Path(__file__).with_name("keeper.py")
GRACE = 15.0
"""Seconds that a server has to end by itself before it is killed."""
# An interpreter without site-packages has to start; a busy machine may take its time.
_KEEPER_START = 60.0


class ServerProcess:
    """A server's process and all that it starts.

    :param stop: a command that ends the server, run before its process gets SIGTERM; None for none.
    :param log: where it writes.
    :param remove: a folder that is removed when it has ended.
    :param started: called with the process's id before it does anything; not called for None.
    :raises errors.BackendUnavailableError: if no process can be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        log: BinaryIO,
        remove: Path,
        stop: Sequence[str] | None = None,
        started: Callable[[int], None] | None = None,
    ) -> None:
        self._lines = b""
        self._gone = False
        self.pid = 0
        self.status: int | None = None
        """The exit status, negative for a signal; None while it runs, or if it is not known."""
        self.error: str | None = None
        """Why the program could not be run at all."""
        self.missing = False
        """Whether that is because there is no such program."""
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                self._keeper = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C is pytest's; the server is then ended by us.
                    start_new_session=True,
                )
        except OSError as error:
            self._control.close()
            msg = f"cannot start a process with {sys.executable}: {error.strerror or error}"
            raise errors.BackendUnavailableError(msg) from None
        order = {
            "command": list(command),
            "environment": dict(environment),
            "stop": None if stop is None else list(stop),
            "remove": str(remove),
            "grace": GRACE,
        }
        try:
            self._control.sendall(json.dumps(order).encode() + b"\n")
            message = self._next(_KEEPER_START)
            if message is None or "pid" not in message:
                msg = "the process that starts a server did not come up; see the log"
                raise errors.BackendUnavailableError(msg)
            self.pid = message["pid"]
            if started is not None:
                started(self.pid)
            self._control.sendall(b"g")
        except BaseException:
            self.close()
            raise

    def poll(self) -> bool:
        """Whether it still runs."""
        if not self._gone:
            try:
                message = self._next(0.0)
            except TimeoutError:
                return True
            self._gone = True
            if message is not None:
                self.status = message.get("status")
                self.error = message.get("error")
                self.missing = message.get("missing", False)
        return False

    def close(self) -> None:
        """End it and all that it started: SIGTERM, and SIGKILL for what is left after a while."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        try:
            # The stop command and the sweep take their own time.
            self._keeper.wait(2 * GRACE + 30)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.returncode != 0 and self.pid:
            # The keeper itself was killed; the kernel took the server's process along with it.
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            while (message := self._next(0.0)) is not None:
                self.status = message.get("status", self.status)
        self._gone = True
        self._control.close()

    def _next(self, timeout: float) -> Json | None:
        """The keeper's next message; None when there will be no more.

        :raises TimeoutError: if none comes in time.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._lines:
            if self._control.fileno() < 0:
                return None
            poller = select.poll()
            poller.register(self._control, select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            try:
                part = self._control.recv(65536)
            except OSError:
                part = b""
            if not part:
                return None
            self._lines += part
        line, _, self._lines = self._lines.partition(b"\n")
        message: Json = json.loads(line)
        return message


class Port:
    """A free port of the loopback interface.

    While it is held, no other process gets it by chance: a socket is bound to it and does not listen,
    and the server may bind it too, since both say that they share (``SO_REUSEADDR``, ``SO_REUSEPORT``).

    :param hold: False for a server that does not share.
    """

    def __init__(self, *, hold: bool) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        for option in ("SO_REUSEADDR", "SO_REUSEPORT") if hold else ():
            self._socket.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]
        if not hold:
            self.release()

    def release(self) -> None:
        """Let go of it."""
        self._socket.close()

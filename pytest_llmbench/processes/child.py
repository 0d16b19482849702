"""How is a worker process started, asked and ended, and what became of it?

One mechanism for the engine's process and the load client's: ``PYTHON -m MODULE FD`` answers
requests over a socket pair; see :func:`pytest_llmbench.processes.serve.serve` for its side.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping

from pytest_llmbench import errors
from pytest_llmbench.processes import wire
from pytest_llmbench.processes.endings import OF_MEMORY, how_it_ended, was_killed
from pytest_llmbench.processes.guard import GUARD
from pytest_llmbench.processes.serve import PROTOCOL, Kind
from pytest_llmbench.processes.wire import Json

START_WITHIN = (20.0, 120.0)
"""Seconds that a worker may take from its start to its greeting, an interpreter and our own modules: the
case's timeout, between these."""
CLOSE_TIMEOUT = 20.0
"""Seconds that a worker may take to close before it is ended."""
_FRAME = 5.0
"""Seconds that a frame has to come whole, once it has begun."""
_LOG_TAIL = 2000


class Child:
    """A fresh worker process.

    :param module: what it runs.
    :param label: what messages call what it works on.
    :param kind: of the process, with the advice for when it fails.
    :param timeout: seconds of the case, from which the time for the greeting follows.
    :param started: called with the process's id before it does anything, so that a monitor sees all of it.
    :raises errors.BackendUnavailableError: if it cannot be started; nothing is left of it then.
    """

    def __init__(
        self,
        module: str,
        *,
        label: str,
        kind: Kind,
        python: str,
        environment: Mapping[str, str],
        timeout: float | None = None,
        started: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._label = label
        self._kind = kind
        self._python = python
        self._killed = False
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        ours, theirs = socket.socketpair()
        self._sock = ours
        try:
            with theirs:
                self._process = subprocess.Popen(
                    # -P: a user's queue.py in this folder must not stand in for the library's.
                    [python, "-P", "-m", module, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **environment},
                    # Ctrl-C is pytest's; the worker is then ended by us, and never mid-write.
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            self._output.close()
            msg = f"cannot start the {kind.name}'s process with {python}: {error.strerror or error}"
            raise errors.BackendUnavailableError(msg) from None
        try:
            GUARD.watch(self._process.pid)
            started(self._process.pid)
            self._greet(timeout)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: Json, doing: str, timeout: float | None) -> Json:
        """The worker's answer.

        :param doing: for messages: ``"loading the model"``.
        :param timeout: seconds; None waits forever.
        :raises errors.EngineError: and its kinds, for what failed there, or if the worker is gone.
        """
        self.tell(request, doing, timeout)
        return self.answer(doing, timeout)

    def tell(self, request: Json, doing: str, timeout: float | None = None) -> None:
        """The first half of :meth:`ask`: several workers can so be asked before the first answers."""
        try:
            wire.send(self._sock, request, timeout)
        except wire.PeerGoneError:
            raise self._ended(doing) from None
        except TimeoutError:
            raise self._late(doing, timeout) from None

    def close(self) -> None:
        """Let the worker close; end it if it does not."""
        if self._process.poll() is None:
            with contextlib.suppress(wire.PeerGoneError, wire.GarbledError, TimeoutError):
                wire.send(self._sock, {"op": "close"}, CLOSE_TIMEOUT)
                wire.receive(self._sock, CLOSE_TIMEOUT)
                self._sock.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(CLOSE_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """End the worker and whatever it started, at once. Once is enough."""
        if self._killed:
            # Its number may be another's by now.
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        GUARD.release(self._process.pid)
        self._sock.close()
        self._output.close()

    def answer(self, doing: str, timeout: float | None, silent: float | None = None) -> Json:
        """The second half of :meth:`ask`.

        :param silent: seconds that the worker may take to its answer, or from one sign of life to the next.
        """
        try:
            response = self._hear(doing, timeout, silent)
        except wire.PeerGoneError:
            raise self._ended(doing) from None
        except TimeoutError:
            raise self._late(doing, timeout) from None
        except wire.GarbledError:
            tail = self._tail()
            self.kill()
            msg = f"the {self._kind.name}'s process of {self._label} sent an answer that cannot be read{tail}"
            raise errors.EngineError(msg) from None
        except BaseException:
            # Ctrl-C in the middle of a round: the answer will never be read, so nothing may stay behind.
            self.kill()
            raise
        if (failure := response.get("error")) is not None:
            kind = errors.BY_NAME.get(failure["type"], errors.EngineError)
            error = kind(f"{self._label}: {failure['message']}")
            if "traceback" in failure:
                error.add_note(f"In the {self._kind.name}'s process:\n" + failure["traceback"])
            raise error
        return response

    def _hear(self, doing: str, timeout: float | None, silent: float | None) -> Json:
        """The next frame that is not a sign of life."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        known: Json = {}
        while True:
            left = end - time.monotonic()
            if silent is not None and not wire.waits(self._sock, min(silent, left)):
                raise self._silent(doing, silent, known) if left > silent else TimeoutError
            response = wire.receive(self._sock, None if timeout is None else max(left, _FRAME))
            if "alive" not in response:
                return response
            known = response["alive"]

    def _silent(self, doing: str, silent: float, known: Mapping[str, object]) -> errors.EngineTimeoutError:
        """Ends the worker, which does not answer any more."""
        stopped, tail = self._stopped(), self._tail()
        self.kill()
        how = "was stopped by a signal:" if stopped else "hangs:"
        so_far = f" ({', '.join(f'{value} {name}' for name, value in known.items())})" if known else ""
        return errors.EngineTimeoutError(
            f"the process of {self._label} {how} it showed no sign of life for {silent:g} s while {doing}"
            f"{so_far}, and was ended{tail}"
        )

    def _greet(self, timeout: float | None) -> None:
        """Wait until the worker says that it is there.

        :raises errors.BackendUnavailableError: with what happened instead.
        """
        least, most = START_WITHIN
        limit = most if timeout is None else min(max(timeout, least), most)
        try:
            greeting = wire.receive(self._sock, limit)
        except wire.PeerGoneError:
            raise errors.BackendUnavailableError(self._not_started()) from None
        except TimeoutError:
            within = f"within {limit:g} s and was ended"
            how = (
                f"was stopped by a signal before it had started, did not go on {within}"
                if self._stopped()
                else f"did not come up {within}: its interpreter hangs, or a module that it imports"
            )
            msg = f"{self._what()} {how}{self._tail()}"
            raise errors.BackendUnavailableError(msg) from None
        except wire.GarbledError:
            greeting = {}
        if greeting.get("protocol") != PROTOCOL:
            version = greeting.get("version", "of an unknown version")
            msg = (
                f"{self._python} has pytest-llmbench {version}, which uses another protocol than this "
                "one; install the same version there"
            )
            raise errors.BackendUnavailableError(msg)

    def _not_started(self) -> str:
        """Why the worker was gone before it had started."""
        status, tail = self._status(), self._tail()
        if re.search(r"No module named '?pytest_llmbench\b", tail):
            return f"{self._what()} does not start: install the same pytest-llmbench there{tail}"
        if "unknown option: -p" in tail.lower():
            return f"{self._what()} does not start: it needs Python 3.11 or newer{tail}"
        advice = f"; {OF_MEMORY}" if was_killed(status) else ""
        return f"{self._what()} {_how(status)} before it had started{advice}{tail}"

    def _what(self) -> str:
        return f"the {self._kind.name}'s process of {self._label}, run by {self._python},"

    def _late(self, doing: str, timeout: float | None) -> errors.EngineTimeoutError:
        """Ends the worker, and says how it was late."""
        stopped, tail = self._stopped(), self._tail()
        self.kill()
        within = f"within {timeout:g} s and was ended"
        if stopped:
            how = f"was stopped by a signal while {doing}, did not go on"
            return errors.EngineTimeoutError(f"the process of {self._label} {how} {within}{tail}")
        advice = f"; {self._kind.late}" if self._kind.late else ""
        return errors.EngineTimeoutError(f"{self._label} did not finish {doing} {within}{advice}{tail}")

    def _ended(self, doing: str) -> errors.LLMBenchError:
        """Why the worker is gone, as a user can use it."""
        status, tail = self._status(), self._tail()
        self.kill()
        advice = f"; {OF_MEMORY}: {self._kind.memory}" if was_killed(status) else ""
        how = f"{_how(status)} while {doing}{advice}"
        return errors.EngineCrashedError(f"the process of {self._label} {how}{tail}")

    def _status(self) -> int | None:
        """With what the worker ended, negative for a signal; None if it still runs."""
        try:
            return self._process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            return None

    def _stopped(self) -> bool:
        """Whether the worker, or a process below it, was stopped by a signal."""
        import psutil

        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self._process.pid)
            return any(
                one.status() == psutil.STATUS_STOPPED for one in (process, *process.children(recursive=True))
            )
        return False

    def _tail(self) -> str:
        """The last lines of what the worker printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _LOG_TAIL))
        text = self._output.read().decode(errors="replace").strip()
        return f"\nThe last lines of its output:\n{text}" if text else ""


def _how(status: int | None) -> str:
    return "closed its connection" if status is None else how_it_ended(status)

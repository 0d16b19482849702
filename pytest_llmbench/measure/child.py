"""How is a worker process started, asked and ended, and what became of it?

One mechanism for the engine's process and the load client's: ``PYTHON -m MODULE FD`` answers
requests over a socket pair; see :func:`pytest_llmbench.measure.worker.serve` for its side.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmbench import errors
from pytest_llmbench.measure import wire
from pytest_llmbench.measure.worker import PROTOCOL

# Seconds that a worker may take from its start to its greeting: an interpreter and our own modules.
START_TIMEOUT = 120.0
# Seconds that a worker may take to close before it is ended.
CLOSE_TIMEOUT = 20.0
_LOG_TAIL = 2000


class Child:
    """A fresh worker process.

    :param module: what it runs.
    :param label: what messages call what it works on.
    :param kind: what messages call the process: ``"engine"``.
    :param started: is told the process's id before it does anything, so that a monitor sees all of it.
    :raises errors.BackendUnavailableError: if it cannot be started; nothing is left of it then.
    """

    def __init__(
        self,
        module: str,
        *,
        label: str,
        kind: str,
        python: str,
        environment: Mapping[str, str],
        started: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._label = label
        self._kind = kind
        self._python = python
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
            msg = f"cannot start the {kind}'s process with {python}: {error.strerror or error}"
            raise errors.BackendUnavailableError(msg) from None
        try:
            started(self._process.pid)
            greeting = self.answer("starting", START_TIMEOUT)
            if greeting["protocol"] != PROTOCOL:
                msg = (
                    f"{python} has pytest-llmbench {greeting['version']}, which speaks another "
                    "protocol than this one; install the same version there"
                )
                raise errors.BackendUnavailableError(msg)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, request: dict[str, Any], doing: str, timeout: float | None) -> dict[str, Any]:
        """The worker's answer.

        :param doing: for messages: ``"loading the model"``.
        :param timeout: seconds; None waits for ever.
        :raises errors.EngineError: and its kinds, for what failed there, or if the worker is gone.
        """
        self.tell(request, doing)
        return self.answer(doing, timeout)

    def tell(self, request: dict[str, Any], doing: str) -> None:
        """The first half of :meth:`ask`: several workers can so be asked before the first answers."""
        try:
            wire.send(self._sock, request)
        except wire.PeerGoneError:
            raise self._ended(doing) from None

    def close(self) -> None:
        """Let the worker close; end it if it does not."""
        if self._process.poll() is None:
            with contextlib.suppress(wire.PeerGoneError, TimeoutError):
                wire.send(self._sock, {"op": "close"})
                wire.receive(self._sock, CLOSE_TIMEOUT)
        self._sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_TIMEOUT)
        self.kill()

    def kill(self) -> None:
        """End the worker and whatever it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._sock.close()
        self._output.close()

    def answer(self, doing: str, timeout: float | None) -> dict[str, Any]:
        """The second half of :meth:`ask`."""
        try:
            response = wire.receive(self._sock, timeout)
        except wire.PeerGoneError:
            raise self._ended(doing) from None
        except TimeoutError:
            tail = self._tail()
            self.kill()
            msg = (
                f"{self._label} did not finish {doing} within {timeout:g} s and was ended; raise "
                f"timeout=... in the marker or --llm-timeout if it needs longer{tail}"
            )
            raise errors.EngineTimeoutError(msg) from None
        except BaseException:
            # Ctrl-C in the middle of a round: the answer will never be read, so nothing may stay behind.
            self.kill()
            raise
        if (failure := response.get("error")) is not None:
            error = getattr(errors, failure["type"])(f"{self._label}: {failure['message']}")
            if "traceback" in failure:
                error.add_note(f"In the {self._kind}'s process:\n" + failure["traceback"])
            raise error
        return response

    def _ended(self, doing: str) -> errors.LLMBenchError:
        """Why the worker is gone, as a user can use it."""
        try:
            status = self._process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            status = 0
        tail = self._tail()
        self.kill()
        if doing == "starting":
            return errors.BackendUnavailableError(
                f"{self._python} could not start the {self._kind}'s process (exit status {status}); is "
                f"pytest-llmbench installed for that interpreter?{tail}"
            )
        if status >= 0:
            return errors.EngineCrashedError(
                f"the process of {self._label} exited with status {status} while {doing}{tail}"
            )
        name = signal.Signals(-status).name
        advice = ""
        if -status == signal.SIGKILL:
            advice = (
                "; the system does that when memory runs out: try a smaller quantisation, a shorter "
                "context or a smaller model, and see the kernel's log"
            )
        return errors.EngineCrashedError(
            f"the process of {self._label} was ended by {name} while {doing}{advice}{tail}"
        )

    def _tail(self) -> str:
        """The last lines of what the worker printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _LOG_TAIL))
        text = self._output.read().decode(errors="replace").strip()
        return f"\nThe last lines of its output:\n{text}" if text else ""

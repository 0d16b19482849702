"""Where does the engine live, and what became of it?

:class:`EngineProcess` is a fresh worker process; :class:`LocalEngine` is the same engine in
pytest's own process, for a debugger. Both are asked the same things.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_llmbench import errors
from pytest_llmbench.backends.base import GenerationParams, Message
from pytest_llmbench.measure import wire
from pytest_llmbench.measure.timeline import Timeline
from pytest_llmbench.measure.worker import PROTOCOL, Host
from pytest_llmbench.models.spec import ResolvedModel

# Seconds that a worker may take from its start to its greeting: an interpreter and our own modules.
START_TIMEOUT = 120.0
# Seconds that a worker may take to free its model before it is ended.
CLOSE_TIMEOUT = 20.0
_LOG_TAIL = 2000


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a worker has to load; equal specs can share a process."""

    backend: str
    """As in ``--llm-backend``."""
    reference: str
    """``module:attribute`` of the backend, for the worker to import."""
    model: ResolvedModel
    options: Mapping[str, Any]
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What messages and progress call it."""
        return f"{self.backend} {self.model.spec.label}"

    def load_request(self, *, same_process: bool) -> dict[str, Any]:
        """The worker's ``load`` operation."""
        model = {f.name: getattr(self.model, f.name) for f in dataclasses.fields(self.model)}
        model["spec"] = dataclasses.asdict(self.model.spec)
        model["path"] = str(self.model.path)
        # Backends of a conftest or of a src layout have to be found by the worker as well.
        share_path = not same_process and self.python == sys.executable
        return {
            "op": "load",
            "backend": self.reference,
            "model": model,
            "options": dict(self.options),
            "path": list(sys.path) if share_path else None,
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the engine said when its model was ready."""

    pid: int
    load_time: float
    """Seconds, the import of the engine left out."""
    engine: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as the worker recorded it."""

    timeline: Timeline
    text: str
    peak_rss: int | None
    """Bytes, of the engine's process since its start; None without a process of its own."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked: a text, or messages for its chat template."""

    text: str | None = None
    messages: tuple[Message, ...] | None = None

    @classmethod
    def of(cls, value: str | Sequence[Message]) -> Prompt:
        """A prompt from what a user passes.

        :raises errors.UsageError: for anything but a text or messages with role and content.
        """
        if isinstance(value, str):
            return cls(text=value)
        for index, message in enumerate(value):
            if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
                msg = (
                    f"message {index} of the prompt is {message!r}; each message needs 'role' and 'content', "
                    "as in {'role': 'user', 'content': 'Hello'}"
                )
                raise errors.UsageError(msg)
        return cls(messages=tuple(value))

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text} if self.messages is None else {"messages": list(self.messages)}


class EngineHandle(Protocol):
    """A loaded engine, wherever it lives."""

    loaded: Loaded

    def prompt_of_tokens(self, tokens: int, seed: int) -> Prompt: ...

    def prepare(self, *, cold: bool) -> None: ...

    def generate(self, prompt: Prompt, params: GenerationParams) -> Generation: ...

    def reset_peak(self) -> None: ...

    def close(self) -> None: ...


class _Operations(ABC):
    """The requests, spelled once for both kinds of engine."""

    @abstractmethod
    def _ask(self, request: dict[str, Any], doing: str) -> dict[str, Any]: ...

    def prompt_of_tokens(self, tokens: int, seed: int) -> Prompt:
        """A prompt of exactly *tokens* tokens."""
        response = self._ask({"op": "prompt", "tokens": tokens, "seed": seed}, "making a prompt")
        return Prompt(text=response["text"])

    def prepare(self, *, cold: bool) -> None:
        """Empty the caches if *cold*, and do what must not happen in a round."""
        self._ask({"op": "prepare", "cold": cold}, "emptying its caches")

    def generate(self, prompt: Prompt, params: GenerationParams) -> Generation:
        """One recorded generation."""
        request = {"op": "generate", "params": dataclasses.asdict(params), **prompt.to_json()}
        response = self._ask(request, "generating")
        return Generation(Timeline.from_json(response["timeline"]), response["text"], response["peak_rss"])

    def reset_peak(self) -> None:
        """Let the peak of the resident set start anew."""
        self._ask({"op": "reset_peak"}, "resetting its memory peak")


class LocalEngine(_Operations):
    """The engine in this process: a debugger sees it, and a crash takes the session along."""

    def __init__(
        self, spec: EngineSpec, timeout: float | None = None, started: Callable[[int], None] = lambda _: None
    ) -> None:
        del timeout  # Nobody is left to end a hang in this process; the documentation says so.
        started(os.getpid())
        self._host = Host()
        response = self._ask(spec.load_request(same_process=True), "loading")
        self.loaded = Loaded(os.getpid(), response["load_time"], response["engine"], response["versions"])

    def _ask(self, request: dict[str, Any], doing: str) -> dict[str, Any]:
        del doing
        return self._host.handle(request)

    def generate(self, prompt: Prompt, params: GenerationParams) -> Generation:
        """One recorded generation; the peak memory of pytest's process is not the engine's."""
        return dataclasses.replace(super().generate(prompt, params), peak_rss=None)

    def reset_peak(self) -> None:
        """Nothing: the peak of this process is not the engine's."""

    def close(self) -> None:
        """Free the model."""
        self._host.close()


class EngineProcess(_Operations):
    """A fresh process with one engine in it.

    :param timeout: seconds that one load or one generation may take; None waits for ever.
    :param started: is told the process's id before it does anything, so that a monitor sees all of it.
    :raises errors.EngineError: and its kinds, whenever the engine fails; the process is gone then.
    """

    def __init__(
        self, spec: EngineSpec, timeout: float | None = None, started: Callable[[int], None] = lambda _: None
    ) -> None:
        self._spec = spec
        self._timeout = timeout
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        ours, theirs = socket.socketpair()
        self._sock = ours
        try:
            with theirs:
                self._process = subprocess.Popen(
                    # -P: a user's queue.py in this folder must not stand in for the library's.
                    [spec.python, "-P", "-m", "pytest_llmbench.measure.worker", str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=self._output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **spec.environment},
                    # Ctrl-C is pytest's; the worker is then ended by us, and never mid-write.
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            self._output.close()
            msg = f"cannot start the engine's process with {spec.python}: {error.strerror or error}"
            raise errors.BackendUnavailableError(msg) from None
        try:
            started(self._process.pid)
            greeting = self._receive("starting", START_TIMEOUT)
            if greeting["protocol"] != PROTOCOL:
                msg = (
                    f"{spec.python} has pytest-llmbench {greeting['version']}, which speaks another "
                    "protocol than this one; install the same version there"
                )
                raise errors.BackendUnavailableError(msg)
            response = self._ask(spec.load_request(same_process=False), "loading the model")
            self.loaded = Loaded(
                self._process.pid, response["load_time"], response["engine"], response["versions"]
            )
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """Let the worker free its model; end it if it does not."""
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

    def _ask(self, request: dict[str, Any], doing: str) -> dict[str, Any]:
        try:
            wire.send(self._sock, request)
        except wire.PeerGoneError:
            raise self._ended(doing) from None
        return self._receive(doing, self._timeout)

    def _receive(self, doing: str, timeout: float | None) -> dict[str, Any]:
        try:
            response = wire.receive(self._sock, timeout)
        except wire.PeerGoneError:
            raise self._ended(doing) from None
        except TimeoutError:
            tail = self._tail()
            self.kill()
            msg = (
                f"{self._spec.label} did not finish {doing} within {timeout:g} s and was ended; raise "
                f"timeout=... in the marker or --llm-timeout if it needs longer{tail}"
            )
            raise errors.EngineTimeoutError(msg) from None
        except BaseException:
            # Ctrl-C in the middle of a round: the answer will never be read, so nothing may stay behind.
            self.kill()
            raise
        if (failure := response.get("error")) is not None:
            error = getattr(errors, failure["type"])(f"{self._spec.label}: {failure['message']}")
            if "traceback" in failure:
                error.add_note("In the engine's process:\n" + failure["traceback"])
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
                f"{self._spec.python} could not start the engine's process (exit status {status}); is "
                f"pytest-llmbench installed for that interpreter?{tail}"
            )
        if status >= 0:
            return errors.EngineCrashedError(
                f"the process of {self._spec.label} exited with status {status} while {doing}{tail}"
            )
        name = signal.Signals(-status).name
        advice = ""
        if -status == signal.SIGKILL:
            advice = (
                "; the system does that when memory runs out: try a smaller quantisation, a shorter "
                "context or a smaller model, and see the kernel's log"
            )
        return errors.EngineCrashedError(
            f"the process of {self._spec.label} was ended by {name} while {doing}{advice}{tail}"
        )

    def _tail(self) -> str:
        """The last lines of what the worker printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _LOG_TAIL))
        text = self._output.read().decode(errors="replace").strip()
        return f"\nThe last lines of its output:\n{text}" if text else ""

"""What happens in the engine's own process?

``python -m pytest_llmbench.measure.worker FD`` answers requests over the socket FD until it is
closed. :class:`Host` does the work and is used without a process too (``--llm-isolation=none``).
The interpreter may belong to another environment, so only the standard library is imported here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pytest_llmbench import __version__, errors
from pytest_llmbench.backends.base import Backend, Engine, GenerationParams
from pytest_llmbench.backends.registry import from_reference
from pytest_llmbench.hardware.instructions import InstructionCounter, open_counter
from pytest_llmbench.measure import wire
from pytest_llmbench.measure.timeline import NANO, Recorder, Timeline, hash_tokens
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.workloads.prompts import prompt_of_tokens

PROTOCOL = 2


@dataclass(frozen=True, slots=True)
class Kind:
    """What runs in a process of ours, and what a person can do when it fails."""

    name: str
    memory: str
    """What to do when it had more memory than there is."""
    late: str
    """What to do when it did not answer in time; empty where nothing is known to help."""


ENGINE = Kind(
    "engine",
    "try a smaller quantization, a shorter context or a smaller model",
    "raise timeout=... in the marker or --llm-timeout if it needs longer",
)
LOAD_CLIENT = Kind(
    "load client",
    "it keeps what the server sends until the level is over: measure fewer requests or shorter answers",
    "",
)


class Host:
    """One engine and what can be asked of it; every request and response is JSON-able.

    :param counter: of the instructions of this process, opened before any engine's threads.
    :param uncounted: why there is none.
    """

    def __init__(self, counter: InstructionCounter | None = None, uncounted: str | None = None) -> None:
        self._engine: Engine | None = None
        self._counter = counter
        self._uncounted = uncounted
        self._operations: dict[str, Callable[..., dict[str, Any]]] = {
            "load": self.load,
            "prompt": self.prompt,
            "prepare": self.prepare,
            "generate": self.generate,
            "reset_peak": self.reset_peak,
            "close": self.close,
        }

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request ``{"op": NAME, ...}``."""
        arguments = {key: value for key, value in request.items() if key != "op"}
        return self._operations[request["op"]](**arguments)

    def load(
        self, *, backend: str, model: dict[str, Any], options: dict[str, Any], path: list[str] | None = None
    ) -> dict[str, Any]:
        """Import the engine, then load the model; only the latter is ``load_time``."""
        if path is not None:
            sys.path[:] = path
        described: Backend = from_reference(backend)
        for name in described.modules:
            importlib.import_module(name)
        resolved = ResolvedModel(
            **{**model, "spec": ModelSpec(**model["spec"]), "path": Path(model["path"])},
        )
        started = time.perf_counter_ns()
        self._engine = described.load(resolved, options)
        load_time = (time.perf_counter_ns() - started) * NANO
        # What the import and the load left is never garbage: the collector need not walk it in a round.
        gc.collect()
        gc.freeze()
        return {
            "load_time": load_time,
            "engine": {
                **self._engine.info,
                "context_length": self._engine.context_length,
                "python": platform.python_version(),
                "instructions": "counted" if self._counter is not None else self._uncounted,
            },
            "versions": dict(described.versions()),
            "peak_rss": peak_rss(),
        }

    def prompt(self, *, tokens: int, seed: int) -> dict[str, Any]:
        """A text of exactly *tokens* tokens, special tokens included."""
        engine = self._loaded()
        return {"text": prompt_of_tokens(tokens, engine.tokenize, engine.detokenize, seed=seed)}

    def prepare(self, *, cold: bool) -> dict[str, Any]:
        """What has to be done before a round and must not be in it."""
        if cold:
            self._loaded().reset()
        gc.collect()
        return {}

    def generate(
        self,
        *,
        params: dict[str, Any],
        text: str | None = None,
        messages: list[Any] | None = None,
    ) -> dict[str, Any]:
        """One generation, recorded."""
        engine = self._loaded()
        parameters = GenerationParams(**params)
        recorder = Recorder()
        clock = time.perf_counter_ns
        before = None if self._counter is None else self._counter.read()
        sent = clock()
        if messages is not None:
            prompt = engine.tokenize_rendered(engine.render_chat(messages))
        else:
            prompt = engine.tokenize(text or "")
        tokenized = clock()
        finish_reason = engine.generate(prompt, parameters, recorder)
        done = clock()
        after = None if self._counter is None else self._counter.read()
        timeline = Timeline(
            sent=sent,
            tokenized=tokenized,
            prefilled=recorder.prefill_time,
            token_times=tuple(recorder.times),
            done=done,
            prompt_tokens=len(prompt),
            output_tokens=len(recorder.tokens),
            output_hash=hash_tokens(recorder.tokens),
            prompt_hash=hash_tokens(prompt),
            finish_reason=finish_reason,
        )
        return {
            "timeline": timeline.to_json(),
            "text": engine.detokenize(recorder.tokens),
            "peak_rss": peak_rss(),
            "instructions": None if before is None else before.until(after),
        }

    def reset_peak(self) -> dict[str, Any]:
        """Let the peak of the resident set start anew, for a process that several cases share."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        return {}

    def close(self) -> dict[str, Any]:
        """Free the engine."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        gc.unfreeze()
        gc.collect()
        return {}

    def _loaded(self) -> Engine:
        if self._engine is None:
            msg = "the worker was asked to work before a model was loaded"
            raise errors.EngineError(msg)
        return self._engine


def peak_rss() -> int | None:
    """Bytes that this process had resident at most; None where the system cannot tell.

    Linux: VmHWM, which starts at this program's exec, unlike ``ru_maxrss``, which a child
    inherits from its parent.
    """
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return None


def describe(error: BaseException, kind: Kind = ENGINE) -> dict[str, Any]:
    """An exception as it crosses the socket: ours by name, any other as one of what works here."""
    if isinstance(error, errors.LLMBenchError):
        return {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, MemoryError):
        return {"type": "EngineError", "message": f"the {kind.name} ran out of memory: {kind.memory}"}
    name = type(error).__qualname__
    trace = "".join(traceback.format_exception(error, limit=-8))
    return {"type": "EngineError", "message": f"the {kind.name} raised {name}: {error}", "traceback": trace}


def _die_with_parent() -> None:
    """Have the kernel end this process when pytest ends, even inside a native call (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    import ctypes
    import signal

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prefer_for_oom_kill() -> None:
    """If memory runs out, it is this process that has it: the kernel should not take pytest."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def serve(
    fd: int,
    handle: Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]],
    kind: Kind = ENGINE,
) -> None:
    """Answer the requests of one parent over the socket *fd* until it closes that.

    What *handle* raises is the answer to that request, and the next one is waited for. Beside the request it
    gets what sends a sign of life, a small object with the key ``alive``, before the answer.
    """
    _die_with_parent()
    sock = socket.socket(fileno=fd)
    wire.send(sock, {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()})
    while True:
        try:
            request = wire.receive(sock)
        except wire.PeerGoneError:
            return
        try:
            response = handle(request, partial(wire.mention, sock))
        except Exception as error:  # noqa: BLE001  # whatever an engine raises is the case's failure
            response = {"error": describe(error, kind)}
        try:
            wire.send(sock, response)
        except wire.PeerGoneError:
            return


def main() -> None:
    """Be an engine's process."""
    _prefer_for_oom_kill()
    host = Host(*open_counter())
    serve(int(sys.argv[1]), lambda request, _: host.handle(request))


if __name__ == "__main__":
    main()

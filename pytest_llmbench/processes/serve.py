"""How does a process of ours answer its parent?

A process starts with the file descriptor of a socket and calls :func:`serve`. Its interpreter may belong
to another environment, so only the standard library is imported here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pytest_llmbench import errors
from pytest_llmbench._version import __version__
from pytest_llmbench.processes import wire
from pytest_llmbench.processes.end_with import end_with_parent
from pytest_llmbench.processes.wire import Json

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


def describe(error: BaseException, kind: Kind = ENGINE) -> Json:
    """An exception as it crosses the socket: ours by name, any other as one of what works here."""
    if isinstance(error, errors.LLMBenchError):
        return {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, MemoryError):
        return {"type": "EngineError", "message": f"the {kind.name} ran out of memory: {kind.memory}"}
    name = type(error).__qualname__
    trace = "".join(traceback.format_exception(error, limit=-8))
    return {"type": "EngineError", "message": f"the {kind.name} raised {name}: {error}", "traceback": trace}


def prefer_for_oom_kill() -> None:
    """If memory runs out, it is this process that has it: the kernel should not take pytest."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def serve(
    fd: int,
    handle: Callable[[Json, Callable[[Json], None]], Json],
    kind: Kind = ENGINE,
) -> None:
    """Answer the requests of one parent over the socket *fd* until it closes that.

    What *handle* raises is the answer to that request, and the next one is waited for. Beside the request it
    gets what sends a sign of life, a small object with the key ``alive``, before the answer.
    """
    end_with_parent(os.getppid())
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

"""How do cells run on a Ray cluster, or on a Ray of this machine's own?

Ray places the tasks, each on devices that it keeps for it alone, and says when one is lost. What talks to it
is a process of its own, :mod:`pytest_llmbench.matrix.ray_driver`: it ends with this one, whatever ends that.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from pytest_llmbench.errors import (
    BackendUnavailableError,
    ClusterError,
    EngineError,
    LLMBenchError,
    UsageError,
    needs_extra,
    one_line,
)
from pytest_llmbench.hardware.gpus import list_gpus
from pytest_llmbench.matrix.cells import digest_of
from pytest_llmbench.matrix.executor import Node, Outcome, Task
from pytest_llmbench.matrix.ray_driver import RAY
from pytest_llmbench.matrix.ray_task import ATTEMPT, TASKS
from pytest_llmbench.matrix.shares import fresh_folder
from pytest_llmbench.processes.child import Child
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.records import Market

_ADDRESS = re.compile(r"(ray://)?[A-Za-z0-9_.\-\[\]:]+:[0-9]{1,5}")
_ADVICE = (
    "; it must have this version of Ray and of Python, and where it asks for a token, set "
    "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH here"
)
_REACHED_WITHIN = 10.0
_OPEN_WITHIN = 60.0
_ANSWER_WITHIN = 90.0
"""Seconds: a node is asked what it measures with for the first time."""
_SILENT = 80.0
"""Seconds without a sign of life; Ray itself gives a head up before."""
_SHORT_PATH = 40
"""Characters: Ray adds 60 for the name of a socket, which has 107 at most."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    # Else a task without a GPU has its visible devices rewritten.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # By default what runs in a task yields to all else on the node, and is ended first for want of memory.
    "RAY_worker_niceness": "0",
    "RAY_worker_oom_score_adjustment": "0",
}
"""What Ray's processes are started with, here and on a cluster."""
_HEAD_GONE = {"RAY_gcs_rpc_server_reconnect_timeout_s": "20"}
"""Seconds until a head is given up that does not answer, unless the environment says others."""
_ALONE = {
    "RAY_AUTH_MODE": "token",
    # Named after where it is the default: Ray keeps to the loopback interface.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # An attempt's own memory is pytest's to judge.
    "RAY_memory_monitor_refresh_ms": "0",
}


def connect(
    address: str | None,
    *,
    hardware: Mapping[str, int] | None = None,
    grace: float = 60.0,
    attempt: str = ATTEMPT,
) -> RayExecutor:
    """An executor on the cluster at *address*.

    :param address: ``ray://HOST:PORT`` from anywhere, ``HOST:PORT`` from a node of the cluster; None starts a
        Ray on this machine for this run alone, and ends it with the executor.
    :param hardware: the devices of this machine by label, for its own Ray.
    :param grace: seconds that an attempt has to end when it is stopped.
    :param attempt: what makes an attempt on a node, as ``module:name``.
    :raises UsageError: for what is not an address, or if Ray is not installed.
    :raises ClusterError: if it is not reached.
    """
    if find_spec("ray") is None:
        raise needs_extra("cells on a cluster", "Ray", "matrix")
    if address is not None and _ADDRESS.fullmatch(address) is None:
        msg = f"{address!r} is not the address of a Ray cluster; write ray://HOST:PORT or HOST:PORT"
        raise UsageError(msg)
    if address is not None:
        _reach(address)
    return RayExecutor(address, hardware or {}, grace, attempt)


def _reach(address: str) -> None:
    """Find out at once whether something listens there: Ray tries for half a minute, and does not say why.

    :raises ClusterError: if nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise ClusterError(f"no Ray answers at {address}: {said}") from None


class RayExecutor:
    """Tasks on Ray; see :class:`pytest_llmbench.matrix.executor.Executor`."""

    def __init__(self, address: str | None, hardware: Mapping[str, int], grace: float, attempt: str) -> None:
        self._where = "a local Ray" if address is None else f"Ray at {address}"
        self._tasks: dict[str, Task] = {}
        self._lost: str | None = None
        request: Json = {"op": "open", "address": address, "attempt": attempt, "grace": grace}
        environment = {name: os.environ.get(name, value) for name, value in _HEAD_GONE.items()} | QUIET
        with ExitStack() as opened:
            if address is None:
                folder = opened.enter_context(fresh_folder("llmbench-ray-", _short_folder()))
                environment |= _ALONE | {"RAY_AUTH_TOKEN_PATH": str(_write_token(folder))}
                request |= {"hardware": dict(hardware), "gpus": len(list_gpus()), "folder": str(folder)}
            try:
                self._child = Child(
                    "pytest_llmbench.matrix.ray_driver",
                    label=self._where,
                    kind=RAY,
                    python=sys.executable,
                    environment=environment,
                )
            except BackendUnavailableError as error:
                raise ClusterError(one_line(str(error))) from None
            opened.callback(self._child.kill)
            try:
                self._ask(request, "connecting", _OPEN_WITHIN)
            except ClusterError as error:
                raise ClusterError(f"{error}{_ADVICE if address else ''}") from None
            self._open = opened.pop_all()

    def nodes(self) -> Sequence[Node]:
        """Those that are there now and can measure; what each measures with is asked once.

        :raises ClusterError: if the head is gone, or no node can measure.
        """
        answer = self._ask({"op": "nodes"}, "asking for its nodes", _ANSWER_WITHIN)
        return [
            Node(one["id"], one["hardware"], one["facts"], digest_of(one["facts"]), _market(one["market"]))
            for one in answer["nodes"]
        ]

    def free(self, hardware: str, count: int) -> bool:
        """Whether a task for so many devices would be started, as far as our own tasks take any."""
        request = {"op": "free", "hardware": hardware, "count": count}
        return bool(self._ask(request, "asking for devices", _ANSWER_WITHIN)["free"])

    def submit(self, task: Task) -> None:
        """Start a task, or have it wait for its devices.

        :raises ClusterError: if no node has what it asks for.
        """
        told = TASKS.dump_python(task, mode="json")
        self._ask({"op": "submit", "task": told}, "starting a cell", _ANSWER_WITHIN)
        self._tasks[task.session_id] = task

    def wait(self, seconds: float) -> Sequence[Outcome]:
        """Those that have ended by now; waits at most so long for the first."""
        request = {"op": "wait", "seconds": seconds}
        return self._outcomes(self._ask(request, "running cells", seconds + _ANSWER_WITHIN))

    def stop(self, grace: float) -> Sequence[Outcome]:
        """Have all tasks end after their round; what is left after *grace* seconds is killed, and lost."""
        request = {"op": "stop", "grace": grace}
        return self._outcomes(self._ask(request, "ending cells", grace + 2 * _ANSWER_WITHIN))

    def close(self) -> None:
        """Leave the cluster; a Ray of our own ends, with all that runs on it."""
        if self._lost is None:
            self._child.close()
        self._open.close()

    def _outcomes(self, answer: Json) -> list[Outcome]:
        return [_outcome(self._tasks.pop(one["session"]), one) for one in answer["ended"]]

    def _ask(self, request: Json, doing: str, timeout: float) -> Json:
        if self._lost is not None:
            raise ClusterError(self._lost)
        try:
            self._child.tell(request, doing, timeout)
            return self._child.answer(doing, timeout, _SILENT)
        except EngineError as error:
            raise self._gone(error) from None

    def _gone(self, error: LLMBenchError) -> ClusterError:
        # What Ray printed follows, dozens of lines of its state.
        said = one_line(str(error).partition("\n")[0])
        self._lost = f"{self._where} does not answer any more: {said}"
        return ClusterError(self._lost)


def _outcome(task: Task, told: Mapping[str, Any]) -> Outcome:
    document = told.get("document")
    return Outcome(
        task,
        told["end"],
        reason=told["reason"],
        seconds=told["seconds"],
        node=told.get("node"),
        key=told.get("key"),
        document=None if document is None else document.encode("utf-8", "surrogateescape"),
        log=told.get("log"),
    )


def _market(label: object) -> Any:
    return label if label in get_args(Market) else None


def _short_folder() -> Path | None:
    """A folder whose path leaves room for the names of Ray's sockets; None for the usual one."""
    usual = tempfile.gettempdir()
    return Path("/tmp") if len(usual) > _SHORT_PATH and Path("/tmp").is_dir() else None


def _write_token(folder: Path) -> Path:
    """A secret that everybody must know who talks to this Ray."""
    path = folder / "token"
    with suppress(FileNotFoundError):
        path.unlink()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_hex(32))
    return path

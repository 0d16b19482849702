"""What runs in a Ray worker, on whichever node?

One attempt at a cell, or the question what the node measures with. Ray hands on functions by their names: the
node has this package installed, in the driver's version.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import ClusterError, LLMBenchError, one_line
from pytest_llmbench.matrix.attempt import run_task
from pytest_llmbench.matrix.devices import Devices
from pytest_llmbench.matrix.executor import Node, Outcome, Task
from pytest_llmbench.matrix.facts import node_facts, this_node
from pytest_llmbench.matrix.shares import InUseError, exclusive_cpus, exclusive_gpus, fresh_folder
from pytest_llmbench.processes.wire import Json

ATTEMPT = f"{run_task.__module__}:{run_task.__name__}"
"""What makes an attempt."""
_IN_USE_WITHIN = 120.0
"""Seconds that devices have to become free that somebody else of ours has: under another label, or killed."""
_SET_BY_RAY = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
"""Variables that a worker has and the node has not."""
_LOOK = 0.2
"""Seconds until a wish to stop is seen."""
TASKS: TypeAdapter[Task] = TypeAdapter(Task)


class Run(Protocol):
    """As :func:`pytest_llmbench.matrix.attempt.run_task`."""

    def __call__(
        self,
        task: Task,
        node: Node,
        devices: Devices,
        folder: Path,
        *,
        stopping: Callable[[], bool],
        grace: float,
    ) -> Outcome: ...


def ask_facts() -> Json:
    """What the node measures with, and with which version of this package.

    :raises ClusterError: if what Ray runs there would be measured as slower than it is.
    """
    _undo_ray()
    return {"version": __version__, "facts": _facts()}


def measure(asked: Json) -> Json:
    """Make an attempt.

    :param asked: ``task``; ``attempt``, the function that makes it, as ``module:name``; ``grace``, the
        seconds that it has to end when it is stopped; ``totals``, how many devices of the task's label each
        node has, by its id; ``gpus``, whether these are GPUs.
    :return: the fields of the outcome but for the task.
    """
    stop, done = threading.Event(), threading.Event()
    ended: list[Json | BaseException] = []

    def run() -> None:
        try:
            ended.append(_measure(asked, stop.is_set))
        except BaseException as error:  # noqa: BLE001  # it is raised again where Ray sees it
            ended.append(error)
        done.set()

    # Ray asks a task to end by a KeyboardInterrupt at any place of the main thread, so that has none of ours.
    thread = threading.Thread(target=run, daemon=True)
    while True:
        try:
            if thread.ident is None:
                thread.start()
            while not done.wait(_LOOK):
                pass
            break
        except KeyboardInterrupt:
            stop.set()
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


def _measure(asked: Json, stopping: Callable[[], bool]) -> Json:
    task = TASKS.validate_python(asked["task"])
    _undo_ray()
    where, gpus = _placed()
    hardware = task.cell.hardware
    total = int(asked["totals"].get(where, hardware.count))
    node = this_node(where, {hardware.name: total}, market=hardware.market, facts=_facts())
    try:
        with (
            _devices(gpus if asked["gpus"] else None, total, hardware.count) as devices,
            fresh_folder("llmbench-cell-") as folder,
        ):
            run = _function(asked["attempt"])
            outcome = run(task, node, devices, folder / "attempt", stopping=stopping, grace=asked["grace"])
    except InUseError as error:
        outcome = Outcome(task, "lost", str(error), node=where)
    except LLMBenchError as error:
        outcome = Outcome(task, "transient", one_line(str(error)), node=where)
    return {
        "end": outcome.end,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        "node": where,
        "key": outcome.key,
        "document": outcome.document,
        "log": outcome.log,
    }


@contextmanager
def _devices(gpus: tuple[str, ...] | None, total: int, count: int) -> Iterator[Devices]:
    """What the attempt has for itself, for as long."""
    if gpus is not None:
        with exclusive_gpus(gpus, _IN_USE_WITHIN):
            yield Devices(gpus=gpus)
        return
    with exclusive_cpus(total, count, _IN_USE_WITHIN) as cpus:
        yield Devices(cpus=cpus)


def _placed() -> tuple[str, tuple[str, ...]]:
    """The id of the node that this runs on, and the GPUs that Ray keeps for it."""
    import ray

    context = ray.get_runtime_context()
    return context.get_node_id(), tuple(str(gpu) for gpu in ray.get_gpu_ids())


def _undo_ray() -> None:
    """Have what this thread starts run as on the node itself, and not as Ray has its workers run.

    They yield to everything else there, use one core for what follows OMP_NUM_THREADS, and are the first to
    be ended when memory runs out.

    :raises ClusterError: if they yield to others, and that cannot be changed.
    """
    raylet = int(os.environ.get("RAY_RAYLET_PID", os.getppid()))
    before = _environment(raylet)
    for name in _SET_BY_RAY:
        os.environ.pop(name, None)
        if (value := before.get(name)) is not None:
            os.environ[name] = value
    with suppress(OSError):
        score = Path(f"/proc/{raylet}/oom_score_adj").read_text()
        Path("/proc/self/oom_score_adj").write_text(score)
    with suppress(ProcessLookupError):
        wanted = os.getpriority(os.PRIO_PROCESS, raylet)
        if os.getpriority(os.PRIO_PROCESS, 0) > wanted:
            try:
                os.setpriority(os.PRIO_PROCESS, 0, wanted)
            except PermissionError:
                msg = "Ray lets everything else go first there: start the node with RAY_worker_niceness=0"
                raise ClusterError(msg) from None


def _environment(pid: int) -> dict[str, str]:
    """The variables that a process was started with; empty if that cannot be read."""
    with suppress(OSError):
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return dict(os.fsdecode(pair).partition("=")[::2] for pair in pairs)
    return {}


@cache
def _facts() -> Mapping[str, str]:
    return node_facts()


@cache
def _function(name: str) -> Run:
    module, _, function = name.partition(":")
    found: Run = getattr(import_module(module), function)
    return found

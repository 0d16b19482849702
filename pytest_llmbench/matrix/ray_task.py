"""What runs in a Ray worker, on whichever node?

One attempt at a cell, or the question what the node measures with. Ray hands on functions by their names: the
node has this package installed, in the driver's version.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from pydantic import TypeAdapter

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import LLMBenchError, one_line
from pytest_llmbench.matrix.devices import Devices
from pytest_llmbench.matrix.executor import Node, Outcome, Task
from pytest_llmbench.matrix.facts import node_facts, this_node
from pytest_llmbench.matrix.shares import InUseError, exclusive_cpus, exclusive_gpus, fresh_folder
from pytest_llmbench.processes.wire import Json

ATTEMPT = "pytest_llmbench.matrix.attempt:run_task"
"""What makes an attempt."""
_IN_USE_WITHIN = 120.0
"""Seconds that devices have to become free that somebody else of ours has: under another label, or killed."""
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
        folder: Any,
        *,
        stopping: Callable[[], bool],
        grace: float,
    ) -> Outcome: ...


def ask_facts() -> Json:
    """What the node measures with, and with which version of this package."""
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


@cache
def _facts() -> Mapping[str, str]:
    return node_facts()


@cache
def _function(name: str) -> Run:
    module, _, function = name.partition(":")
    found: Run = getattr(import_module(module), function)
    return found

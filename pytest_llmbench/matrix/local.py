"""How do cells run on this machine alone, one at a time?"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmbench.catalog.hardware import read_devices
from pytest_llmbench.errors import UsageError
from pytest_llmbench.hardware.cores import numa_nodes
from pytest_llmbench.hardware.gpus import list_gpus
from pytest_llmbench.matrix.attempt import Attempt
from pytest_llmbench.matrix.cells import digest_of
from pytest_llmbench.matrix.devices import Devices
from pytest_llmbench.matrix.executor import Node, Outcome, Task
from pytest_llmbench.matrix.facts import CPU, this_node
from pytest_llmbench.results.cell import Hardware

NODE = "local"
_NOT_IN_A_LABEL = re.compile(r"[^A-Za-z0-9_.+-]+")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_LOOK = 0.1
"""Seconds between looks at an attempt."""


def read_hardware(given: Sequence[str], kinds: Sequence[Hardware] = ()) -> dict[str, int | None]:
    """What ``--hardware LABEL[=COUNT]`` says this machine is; None for as many devices as it has.

    :param kinds: of a plan, whose labels (``H100x8``, ``L4-spot``) say the count too.
    :raises UsageError: for what is not a label and a count.
    """
    found: dict[str, int | None] = {}
    by_label = {kind.label: kind for kind in kinds}
    names = {kind.name for kind in kinds}
    for text in given:
        if (kind := by_label.get(text)) is not None and text not in names:
            found[kind.name] = max(kind.count, found.get(kind.name) or 0)
            continue
        label, equals, count = text.partition("=")
        if _LABEL.fullmatch(label) is None or (equals and not (count.isdecimal() and 0 < int(count) <= 1024)):
            msg = f"--hardware {text!r}: write LABEL or LABEL=COUNT, for example L4 or A100-80GB=8"
            raise UsageError(msg)
        found[label] = int(count) if equals else None
    return found


def local_hardware(given: Mapping[str, int | None]) -> dict[str, int]:
    """The devices of this machine by label: GPUs by their product, ``cpu`` with a device for each NUMA node.

    :param given: further labels of the same devices, or others' counts; see :func:`read_hardware`.
    """
    gpus, cpus = list_gpus(), len(numa_nodes())
    found = {CPU: cpus}
    for gpu in gpus:
        product = str(gpu.get("name"))
        label = read_devices().label(product) or product_label(product)
        found[label] = found.get(label, 0) + 1
    for label, count in given.items():
        found[label] = (len(gpus) or cpus if label != CPU else cpus) if count is None else count
    return found


def product_label(product: str) -> str:
    """A GPU's product as a label: ``NVIDIA-L4``."""
    return _NOT_IN_A_LABEL.sub("-", product).strip("-") or "GPU"


def devices_for(hardware: Hardware, scope: str = "") -> Devices:
    """The first devices of this machine of a kind: GPUs where there are any, else whole NUMA nodes."""
    if hardware.name != CPU and (gpus := list_gpus()):
        # What we hand on is not counted from what is visible here, but as the driver counts.
        told = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = told.split(",") if told is not None else list(map(str, range(len(gpus))))
        return Devices(gpus=tuple(names[: hardware.count]), scope=scope)
    nodes = numa_nodes()
    if hardware.count >= len(nodes):
        return Devices(scope=scope)
    return Devices(cpus=frozenset().union(*nodes[: hardware.count]), scope=scope)


class LocalExecutor:
    """This machine: one cell at a time, so that none disturbs another."""

    def __init__(self, folder: Path, hardware: Mapping[str, int] | None = None) -> None:
        """:param folder: where attempts have their folders."""
        self._folder = folder
        self._node = this_node(NODE, local_hardware({}) if hardware is None else hardware)
        self._attempt: Attempt | None = None

    def nodes(self) -> Sequence[Node]:
        return [self._node]

    def free(self, hardware: str, count: int) -> bool:
        return self._attempt is None and self._node.hardware.get(hardware, 0) >= count

    def submit(self, task: Task) -> None:
        assert self._attempt is None, "one at a time"
        devices = devices_for(task.cell.hardware, digest_of(str(self._folder)))
        self._attempt = Attempt(task, self._node, devices, self._folder / task.session_id)
        self._attempt.start()

    def wait(self, seconds: float) -> Sequence[Outcome]:
        if self._attempt is None or not self._attempt.wait(seconds):
            return []
        return [self._take()]

    def stop(self, grace: float) -> Sequence[Outcome]:
        if self._attempt is None:
            return []
        self._attempt.interrupt()
        end = time.monotonic() + grace
        while not self._attempt.wait(_LOOK) and time.monotonic() < end:
            pass
        self._attempt.kill()
        return [self._take()]

    def close(self) -> None:
        if self._attempt is not None:
            self._attempt.kill()
            self._attempt = None

    def _take(self) -> Outcome:
        assert self._attempt is not None
        outcome = self._attempt.outcome()
        self._attempt = None
        shutil.rmtree(self._folder / outcome.task.session_id, ignore_errors=True)
        return outcome

"""Attempts that the tests of a cluster have made on its nodes: they measure nothing, and are quick."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from pytest_llmbench.matrix.devices import Devices
from pytest_llmbench.matrix.executor import Node, Outcome, Task


def run(
    task: Task, node: Node, devices: Devices, folder: Path, *, stopping: Callable[[], bool], grace: float
) -> Outcome:
    """As the cell's suite says: ``do`` is ``note``, ``hold``, ``deaf``, ``die`` or ``raise``."""
    log = Path(str(task.cell.suite["log"]))
    note(log, f"begin {devices.text} {node.id} {os.getpid()}")
    match task.cell.suite["do"]:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError("its disk is full\nas it seems")
        case "hold":
            while not stopping():
                time.sleep(0.01)
            return Outcome(task, "lost", reason="it was told to end")
        case "deaf":
            time.sleep(600)
    note(log, f"end {devices.text} {node.id} {os.getpid()}")
    return Outcome(task, "measured", seconds=0.1, node=node.id, key=node.digest, document=b'{"\xc3\xa9": 1}')


def note(log: Path, line: str) -> None:
    """Append a line: whole, and after those of others that were before."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)

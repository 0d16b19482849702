"""Attempts that the tests of a cluster have made on its nodes: they measure nothing, and are quick."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pytest_llmbench.matrix.devices import Devices
from pytest_llmbench.matrix.executor import Node, Outcome, Task
from pytest_llmbench.processes.end_with import ending_with_us


def run(
    task: Task, node: Node, devices: Devices, folder: Path, *, stopping: Callable[[], bool], grace: float
) -> Outcome:
    """As the cell's suite says: ``do`` is ``note``, ``look``, ``hold``, ``deaf``, ``die`` or ``raise``."""
    log = Path(str(task.cell.suite["log"]))
    note(log, f"begin {devices.text} {node.id} {os.getpid()}")
    match task.cell.suite["do"]:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raise":
            raise RuntimeError("its disk is full\nas it seems")
        case "look":
            note(log, _look())
        case "hold":
            while not stopping():
                time.sleep(0.01)
            return Outcome(task, "lost", reason="it was told to end")
        case "deaf":
            time.sleep(600)
    note(log, f"end {devices.text} {node.id} {os.getpid()}")
    return Outcome(task, "measured", seconds=0.1, node=node.id, key=node.digest, document=b'{"\xc3\xa9": 1}')


def _look() -> str:
    """What an attempt's pytest would have of the node."""
    program = (
        "import os, signal\n"
        "blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "print(os.nice(0), os.environ.get('OMP_NUM_THREADS'), signal.SIGINT in blocked)"
    )
    command = ending_with_us([sys.executable, "-c", program])
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def note(log: Path, line: str) -> None:
    """Append a line: whole, and after those of others that were before."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)

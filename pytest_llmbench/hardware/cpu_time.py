"""How much CPU time did this process take, and how long did it wait for a CPU?

CPU time leaves out what others had of the machine, and, where the kernel knows of it, what a hypervisor
stole. It does not leave out what others do to the caches, the memory and the clock of a core.

Only the standard library is imported: the engine's process may be one of another environment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

_TASKS = Path("/proc/self/task")


class CpuReading(NamedTuple):
    """What this process had until now, all its threads together; ns."""

    used: int
    """In user space and in the kernel."""
    waited: int | None
    """How long its threads were ready to run and had no CPU; None where the kernel does not say. That of
    threads which have ended is not in it."""

    def until(self, end: CpuReading) -> tuple[float, float | None]:
        """Seconds of CPU time, and of waiting, between this and *end*."""
        waited = None
        if self.waited is not None and end.waited is not None and end.waited >= self.waited:
            waited = (end.waited - self.waited) * 1e-9
        return (end.used - self.used) * 1e-9, waited


def read_cpu() -> CpuReading:
    """The reading now; takes some microseconds a thread, so not inside what is timed."""
    return CpuReading(time.process_time_ns(), _waited())


def _waited() -> int | None:
    """The second number of every thread's ``schedstat``: its run delay (Documentation/scheduler)."""
    total = 0
    try:
        for task in os.listdir(_TASKS):  # noqa: PTH208 - names are all that is needed
            total += int((_TASKS / task / "schedstat").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return total

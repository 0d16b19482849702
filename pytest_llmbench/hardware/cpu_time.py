"""How much CPU time did this process take, or another with all below it, and how long did it wait for a CPU?

CPU time leaves out what others had of the machine, and, where the kernel knows of it, what a hypervisor
stole. It does not leave out what others do to the caches, the memory and the clock of a core.

Only the standard library is imported until a tree is read: the engine's process may be one of another
environment.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_llmbench.hardware.series import NANO

if TYPE_CHECKING:
    from pytest_llmbench.hardware.processes import ProcessReader

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
            waited = (end.waited - self.waited) * NANO
        return (end.used - self.used) * NANO, waited


def read_cpu() -> CpuReading:
    """The reading now; takes some microseconds a thread, so not inside what is timed."""
    return CpuReading(time.process_time_ns(), _waited())


def _waited() -> int | None:
    """The second number of every thread's ``schedstat``: its run delay (Documentation/scheduler)."""
    total = 0
    try:
        for task in os.listdir(_TASKS):  # noqa: PTH208 - names are all that is needed
            # Not through Path, nor a file object: an engine may have dozens of threads, and this is faster.
            file = os.open(f"{_TASKS}/{task}/schedstat", os.O_RDONLY)
            try:
                total += int(os.read(file, 128).split()[1])
            finally:
                os.close(file)
    except (OSError, IndexError, ValueError):
        return None
    return total


_TICK = 10_000_000
"""ns: in such steps a system tells the CPU time of children that ended (``USER_HZ``)."""
_LOOKS = 5
"""So often a tree is read anew because one of its processes ended while it was read."""


class _Had(NamedTuple):
    """What one process of a tree had until now; ns."""

    used: int
    """Itself, in user space and in the kernel; of all its threads, those too that have ended."""
    ended: int
    """Its children that ended and that it waited for, and theirs."""


_Tree = Mapping[tuple[int, float], _Had]
"""By the id of each process and when it began: ids are used again."""


class TreeTime:
    """The CPU time of a process and of all below it, from now on.

    On Linux it is exact to the nanosecond as long as no process of the tree ends: each one's clock is read
    (clock_getcpuclockid(3)). The time of one that ends goes over to the parent that waits for it, in
    ``cutime`` and ``cstime`` (proc_pid_stat(5)). Those have ticks of 10 ms, so that the sum is off by less
    than two ticks, either way, for each process that waited for others meanwhile. It never counts a process
    twice, and is never less than what those took that still live. What has been in the tree once stays in
    it, whoever became its parent.

    Elsewhere every clock is as fine as psutil's, and what processes that ended had is not told.

    A process that began and ended meanwhile without its parent waiting for it is left out: the system forgets
    what it took. Where one ends so that was there before, the whole is unknown.

    :param pid: None for a process that is not known.
    """

    __slots__ = ("_begin", "_pid")

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._begin = None if pid is None else _read_tree(pid)

    def until_now(self) -> float | None:
        """Seconds; None where it cannot be read, where the process has ended, and where this process is one
        of the tree, whose own work would be in it."""
        if self._pid is None or self._begin is None:
            return None
        end = _read_tree(self._pid, self._begin)
        return None if end is None else _between(self._begin, end)


def _between(begin: _Tree, end: _Tree) -> float | None:
    """Seconds that the processes of a tree had between two readings; None where that was lost."""
    nothing = _Had(0, 0)
    gone = begin.keys() - end.keys()
    used = sum(had.used - begin.get(one, nothing).used for one, had in end.items())
    waited = sum(had.ended - begin.get(one, nothing).ended for one, had in end.items())
    # What these had before is in what their parents were given for them.
    ended = waited - sum(sum(begin[one]) for one in gone)
    if ended < -2 * _TICK * len(gone):
        return None
    return (used + max(0, ended)) * NANO


def _read_tree(root: int, known: _Tree | None = None) -> _Tree | None:
    """What each process of a tree had until now; None where that cannot be known.

    :param known: an earlier reading, whose processes belong to it wherever they are now.
    """
    from pytest_llmbench.hardware.processes import process_reader

    reader = process_reader()
    seen: set[int] = set()
    try:
        for _ in range(_LOOKS):
            pids = _members(reader, root, known or {})
            seen.update(pids)
            found, again = _look(reader, pids), _look(reader, pids)
            itself = next((one for one in found if one[0] == root), None)
            if os.getpid() in pids or itself is None or (known is not None and itself not in known):
                return None
            # One that ended in between would be in its parent's time as well, or in none.
            if {one: had.ended for one, had in found.items()} == {
                one: had.ended for one, had in again.items()
            }:
                return found
        return None
    finally:
        for pid in seen:
            reader.forget(pid)


def _members(reader: ProcessReader, root: int, known: _Tree) -> list[int]:
    """The ids of the processes of a tree, parents before their children."""
    pids = [root, *reader.descendants(root)]
    for pid, born in known:
        if pid not in pids and (reading := reader.read(pid)) is not None and reading.born == born:
            pids += [pid, *reader.descendants(pid)]
    return list(dict.fromkeys(pids))


def _look(reader: ProcessReader, pids: Iterable[int]) -> _Tree:
    found: dict[tuple[int, float], _Had] = {}
    for pid in pids:
        if (reading := reader.read(pid)) is not None:
            clock = _clock(pid)
            used = round(reading.cpu * 1e9) if clock is None else clock
            found[pid, reading.born] = _Had(used, round(reading.cpu_of_children * 1e9))
    return found


def _clock(pid: int) -> int | None:
    """The CPU time of a process until now, ns; None where the system has no such clock for others."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel's include/linux/posix-timers_types.h, and
        # what clock_getcpuclockid(3) gives; Python has it for threads alone.
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return None

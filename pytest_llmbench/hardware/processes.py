"""What did our own processes take of the machine?

Whose CPU time and memory is "ours" decides what counts as the load of others: the trees of the
followed processes (the engines), further processes that the caller names, pytest's own process
and the sampler. Children that pytest starts and that are not followed are others.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pytest_llmbench.hardware.probes import SLOW, KernelFile


@dataclass(slots=True)
class ProcessReading:
    """One process now."""

    parent: int
    cpu: float
    """Seconds of the process itself."""
    cpu_of_children: float
    """Seconds of the children that ended and were waited for."""
    rss: int
    """Bytes, mapped files (a GGUF model, say) among them."""
    high_water: int | None
    """The kernel's own record of the largest ``rss`` so far, bytes."""
    born: float = 0.0
    """When it began, by some clock of the system: with its id, what no other process has."""


class ProcessReader(Protocol):
    """How an operating system lists its processes."""

    def read(self, pid: int) -> ProcessReading | None:
        """The process now; None once it is gone."""

    def descendants(self, pid: int) -> Iterable[int]:
        """Ids of its children, their children and so on; empty when it is gone."""

    def forget(self, pid: int) -> None:
        """The process will not be asked for again."""


class LinuxProcesses:
    """Reads /proc with files that stay open: a tenth of psutil's cost, and no reused ids."""

    def __init__(self, root: Path = Path("/proc")) -> None:
        self._root = root
        self._tick = 1.0 / os.sysconf("SC_CLK_TCK")
        self._files: dict[int, tuple[KernelFile, KernelFile]] = {}

    def read(self, pid: int) -> ProcessReading | None:
        try:
            files = self._files.get(pid)
            if files is None:
                stat, status = (
                    KernelFile(self._root / f"{pid}/stat"),
                    KernelFile(self._root / f"{pid}/status"),
                )
                files = self._files[pid] = stat, status
            # The name stands in brackets and may hold anything, so count from the last bracket.
            fields = files[0].read().rpartition(b")")[2].split()
            text = files[1].read()
        except OSError:
            return None
        return ProcessReading(
            parent=int(fields[1]),
            cpu=(int(fields[11]) + int(fields[12])) * self._tick,
            cpu_of_children=(int(fields[13]) + int(fields[14])) * self._tick,
            rss=_kibibytes(text, b"\nVmRSS:") or 0,
            high_water=_kibibytes(text, b"\nVmHWM:"),
            born=float(fields[19]),
        )

    def descendants(self, pid: int) -> Iterable[int]:
        found: list[int] = []
        waiting = [pid]
        while waiting:
            try:
                folder = self._root / f"{waiting.pop()}/task"
                for task in os.listdir(folder):  # noqa: PTH208 - names are all that is needed, every second
                    children = [int(n) for n in (folder / task / "children").read_bytes().split()]
                    found += children
                    waiting += children
            except OSError:
                continue
        return found

    def forget(self, pid: int) -> None:
        for file in self._files.pop(pid, ()):
            file.close()


def _kibibytes(text: bytes, name: bytes) -> int | None:
    at = text.find(name)
    if at < 0:
        return None
    return int(text[at + len(name) : at + len(name) + 24].split(None, 1)[0]) * 1024


class PsutilProcesses:
    """Any other system, through psutil."""

    def __init__(self) -> None:
        import psutil

        self._known: dict[int, psutil.Process] = {}

    def read(self, pid: int) -> ProcessReading | None:
        import psutil

        try:
            process = self._known.get(pid) or self._known.setdefault(pid, psutil.Process(pid))
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                return ProcessReading(
                    parent=process.ppid(),
                    cpu=times.user + times.system,
                    cpu_of_children=getattr(times, "children_user", 0.0)
                    + getattr(times, "children_system", 0.0),
                    rss=memory.rss,
                    high_water=getattr(memory, "peak_wset", None),
                    born=process.create_time(),
                )
        except psutil.Error:
            return None

    def descendants(self, pid: int) -> Iterable[int]:
        import psutil

        try:
            return [child.pid for child in psutil.Process(pid).children(recursive=True)]
        except psutil.Error:
            return []

    def forget(self, pid: int) -> None:
        self._known.pop(pid, None)


def process_reader() -> ProcessReader:
    """The reader for this system."""
    if sys.platform.startswith("linux") and Path("/proc/thread-self/children").exists():
        return LinuxProcesses()
    return PsutilProcesses()


def _created(pid: int) -> float:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


@dataclass(slots=True)
class _Member:
    root: int
    cpu: float
    """Last reading, with the children's unless alone."""
    baseline: int
    """Kernel's high water mark when we began to look, bytes: what lies above it is news."""
    parent: int = 0


@dataclass(slots=True)
class TreeRecord:
    """The largest memory of one followed tree since the test began or it was followed."""

    rss: int = 0
    """Bytes, largest sum over the tree at a sample."""
    high_water: int = 0
    """Bytes, the kernel's record of the tree's largest single process; 0 where it adds nothing."""
    processes: int = 0
    """The most processes at a sample."""


class ProcessTrees:
    """The followed trees: ``rss``, ``rss_high_water`` (bytes), ``processes``, ``own_time`` (s).

    ``rss_high_water`` is left out while the kernel's record is older than the test.
    :param alone: processes of ours whose children are not: pytest's and the sampler.
    """

    name = "processes"
    every = 0.0
    at_edges = True

    def __init__(
        self,
        reader: ProcessReader,
        alone: Iterable[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.methods: dict[str, str] = {}
        self.records: dict[int, TreeRecord] = {}
        self._reader = reader
        self._clock = clock
        self._alone = frozenset(alone)
        self._own: set[int] = set()
        self._members: dict[int, _Member] = {}
        self._own_time = 0.0
        self._looked = clock()
        self._begun = time.time()
        for pid in self._alone:
            self._add(pid, 0, fresh=False)

    def start(self) -> dict[str, str]:
        return {}

    def follow(self, pid: int) -> None:
        """Count *pid* and all below it; its memory goes into ``rss``."""
        self.records[pid] = TreeRecord()
        self._add_tree(pid, fresh=False)
        if pid in self._members and _created(pid) >= self._begun:
            # A process of this test alone: the kernel's whole record of it belongs to the test.
            self._members[pid].baseline = 0

    def own(self, pid: int) -> None:
        """Count the CPU time of *pid* and all below it as ours, and leave its memory out."""
        self._own.add(pid)
        self._add_tree(pid, fresh=False)

    def unfollow(self, pid: int) -> None:
        """Forget *pid* and all below it, its record too."""
        self.records.pop(pid, None)
        self._own.discard(pid)
        for member in [m for m, known in self._members.items() if known.root == pid]:
            self._drop(member)
            if member in self._alone:
                self._add(member, 0, fresh=False)

    def begin(self) -> None:
        """A new test begins: the records start anew."""
        self._begun = time.time()
        self.records = {pid: TreeRecord() for pid in self.records}
        for pid, member in self._members.items():
            reading = self._reader.read(pid)
            member.baseline = (reading.high_water or 0) if reading else 0

    def pids(self) -> frozenset[int]:
        """Every process that is ours."""
        return frozenset(self._members)

    def followed(self) -> frozenset[int]:
        """The processes of the followed trees, the sampler's own left out."""
        return frozenset(p for p, m in self._members.items() if m.root in self.records and p != os.getpid())

    def sample(self) -> dict[str, float]:
        if self._clock() - self._looked >= SLOW:
            self._looked = self._clock()
            for root in [*self.records, *self._own]:
                self._add_tree(root, fresh=True)
        delta = 0.0
        sums = {root: _Sum() for root in self.records}
        gone: list[int] = []
        for pid, member in self._members.items():
            reading = self._reader.read(pid)
            if reading is None:
                gone.append(pid)
                continue
            cpu = reading.cpu + (reading.cpu_of_children if member.root else 0.0)
            delta += cpu - member.cpu
            member.cpu, member.parent = cpu, reading.parent
            if member.root in sums and pid != os.getpid():
                sums[member.root].add(reading, member.baseline)
        for pid in gone:
            member = self._drop(pid)
            parent = self._members.get(member.parent)
            if parent is not None and parent.root:
                # The parent waited for it, and so its CPU time is in the parent's already.
                delta -= member.cpu
        self._own_time += max(0.0, delta)
        reading_now: dict[str, float] = {"own_time": round(self._own_time, 3)}
        if self.records:
            self._record(sums)
            reading_now["rss"] = sum(s.rss for s in sums.values())
            reading_now["processes"] = sum(s.processes for s in sums.values())
            if high := max(s.high_water for s in sums.values()):
                reading_now["rss_high_water"] = high
        return reading_now

    def _record(self, sums: dict[int, _Sum]) -> None:
        for root, now in sums.items():
            record = self.records[root]
            record.rss = max(record.rss, now.rss)
            record.high_water = max(record.high_water, now.high_water)
            record.processes = max(record.processes, now.processes)

    def _add_tree(self, root: int, *, fresh: bool) -> None:
        for pid in (root, *self._reader.descendants(root)):
            known = self._members.get(pid)
            if known is None:
                self._add(pid, root, fresh=fresh)
            elif not known.root:
                self._drop(pid)
                self._add(pid, root, fresh=False)

    def _add(self, pid: int, root: int, *, fresh: bool) -> None:
        """*fresh*: the process began since the last look, so that all it did is news."""
        reading = self._reader.read(pid)
        if reading is None:
            self._reader.forget(pid)
            return
        cpu = reading.cpu + (reading.cpu_of_children if root else 0.0)
        baseline = 0 if fresh else reading.high_water or 0
        self._members[pid] = _Member(root, 0.0 if fresh else cpu, baseline, reading.parent)

    def _drop(self, pid: int) -> _Member:
        self._reader.forget(pid)
        return self._members.pop(pid)


@dataclass(slots=True)
class _Sum:
    rss: int = 0
    high_water: int = 0
    processes: int = 0

    def add(self, reading: ProcessReading, baseline: int) -> None:
        self.processes += 1
        self.rss += reading.rss
        if reading.high_water is not None and reading.high_water > baseline:
            self.high_water = max(self.high_water, reading.high_water)

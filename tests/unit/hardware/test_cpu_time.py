"""Is the CPU time of a process, and of a tree of them, what they took: not less, not more, and none twice?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from pytest_llmbench.hardware import cpu_time, processes
from pytest_llmbench.hardware.cpu_time import CpuReading, TreeTime, read_cpu
from pytest_llmbench.hardware.processes import ProcessReading, PsutilProcesses

TICK = 0.01
IMPORTS = """
import sys
before = set(sys.modules)
import pytest_llmbench.hardware.cpu_time
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""

# -- this process -------------------------------------------------------------------------------


def test_this_process_had_no_less_than_its_own_clock_says() -> None:
    begin = read_cpu()
    inside = cpu_time.time.process_time_ns()
    sum(range(10_000))
    inside = cpu_time.time.process_time_ns() - inside
    used, waited = begin.until(read_cpu())
    assert used * 1e9 >= inside - 1
    assert waited is None or waited >= 0


def test_waiting_is_unknown_where_the_kernel_does_not_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        monkeypatch.setattr(cpu_time, "_TASKS", folder)
        (tmp_path / "1").mkdir(exist_ok=True)
        assert read_cpu().waited is None
    (tmp_path / "1" / "schedstat").write_text("5 0 1")
    for thread, line in (("1", "500 20 3\n"), ("2", "900 22 3\n")):
        (tmp_path / thread).mkdir(exist_ok=True)
        (tmp_path / thread / "schedstat").write_text(line)
    assert read_cpu().waited == 42


def test_waiting_of_threads_that_ended_is_unknown_and_not_negative() -> None:
    assert CpuReading(0, 5_000).until(CpuReading(1_000, 6_000)) == pytest.approx((1e-6, 1e-6))
    assert CpuReading(0, 5_000).until(CpuReading(1_000, 4_000))[1] is None
    assert CpuReading(0, None).until(CpuReading(1_000, 4_000))[1] is None
    assert CpuReading(0, 5_000).until(CpuReading(1_000, None))[1] is None


def test_the_engines_process_needs_only_the_standard_library_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pytest_llmbench"]


# -- a tree of processes that a test sets -------------------------------------------------------


class Processes:
    """A system's processes; ids from 10 on, below 1, which is not ours."""

    def __init__(self) -> None:
        self.table: dict[int, ProcessReading] = {}
        self.before_read: Callable[[int], None] = lambda pid: None
        self.forgotten: set[int] = set()

    def put(
        self, pid: int, parent: int, used: float, *, ended: float = 0.0, born: float | None = None
    ) -> None:
        self.table[pid] = ProcessReading(parent, used, ended, 0, None, pid if born is None else born)

    def end(self, pid: int, *, waited: bool = True) -> None:
        """It ends, and its time goes to its parent as the kernel tells it: in whole ticks."""
        gone = self.table.pop(pid)
        parent = self.table.get(gone.parent)
        if waited and parent is not None:
            whole = int((gone.cpu + gone.cpu_of_children) / TICK + 1e-6) * TICK
            self.put(gone.parent, parent.parent, parent.cpu, ended=parent.cpu_of_children + whole)
        for child, one in self.table.items():
            if one.parent == pid:
                self.table[child] = ProcessReading(1, one.cpu, one.cpu_of_children, 0, None, one.born)

    def read(self, pid: int) -> ProcessReading | None:
        self.before_read(pid)
        return self.table.get(pid)

    def descendants(self, pid: int) -> list[int]:
        below = [p for p, reading in self.table.items() if reading.parent == pid]
        return below + [deeper for p in below for deeper in self.descendants(p)]

    def forget(self, pid: int) -> None:
        self.forgotten.add(pid)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Processes:
    made = Processes()
    monkeypatch.setattr(processes, "process_reader", lambda: made)
    monkeypatch.setattr(cpu_time, "_clock", lambda pid: None)
    made.put(10, 1, 5.0, ended=2.0)
    made.put(11, 10, 3.0)
    made.put(12, 11, 1.0)
    made.put(99, 1, 50.0)
    return made


def test_a_tree_had_what_all_its_processes_had_since(system: Processes) -> None:
    span = TreeTime(10)
    assert span.until_now() == 0.0
    system.put(10, 1, 5.25, ended=2.0)
    system.put(11, 10, 3.5)
    system.put(12, 11, 2.0)
    system.put(99, 1, 80.0)
    assert span.until_now() == pytest.approx(1.75)
    assert system.forgotten == {10, 11, 12}


def test_one_that_began_meanwhile_counts_whole(system: Processes) -> None:
    span = TreeTime(10)
    system.put(13, 10, 0.5, ended=0.25)
    assert span.until_now() == pytest.approx(0.75)


@pytest.mark.parametrize("before", [0.0, 0.5])
def test_the_time_of_one_that_ends_moves_to_its_parent_and_counts_once(
    system: Processes, before: float
) -> None:
    system.put(13, 12, before)
    span = TreeTime(10)
    system.put(13, 12, before + 0.25)
    assert span.until_now() == pytest.approx(0.25)
    system.end(13)
    assert span.until_now() == pytest.approx(0.25)
    system.end(12)
    assert span.until_now() == pytest.approx(0.25)


def test_a_total_never_shrinks_below_what_the_living_had_though_ticks_are_coarse(system: Processes) -> None:
    system.put(12, 11, 0.0199)
    span = TreeTime(10)
    system.put(10, 1, 5.003, ended=2.0)
    system.end(12)
    assert span.until_now() == pytest.approx(0.003)


def test_what_a_lost_process_had_is_unknown_and_not_taken_for_nothing(system: Processes) -> None:
    span = TreeTime(10)
    system.put(10, 1, 6.0, ended=2.0)
    system.end(12, waited=False)
    assert span.until_now() is None


def test_what_was_in_the_tree_stays_in_it_with_another_parent(system: Processes) -> None:
    span = TreeTime(10)
    system.end(11)
    assert system.table[12].parent == 1
    system.put(12, 1, 1.5)
    system.put(13, 12, 0.25)
    assert span.until_now() == pytest.approx(0.75)


def test_an_id_that_is_used_again_is_another_process(system: Processes) -> None:
    span = TreeTime(10)
    system.end(12)
    system.put(12, 1, 70.0, born=12.5)
    assert span.until_now() == pytest.approx(0.0)
    system.end(10, waited=False)
    system.put(10, 1, 70.0, born=10.5)
    assert span.until_now() is None


def test_a_tree_whose_root_ended_is_unknown(system: Processes) -> None:
    span = TreeTime(10)
    system.end(10)
    assert span.until_now() is None
    assert TreeTime(10).until_now() is None
    assert TreeTime(None).until_now() is None


def test_a_tree_that_this_process_is_in_is_unknown(system: Processes) -> None:
    assert TreeTime(10).until_now() is not None
    system.put(os.getpid(), 12, 1.0)
    assert TreeTime(10).until_now() is None


@pytest.mark.parametrize(("ending", "known"), [((13,), True), (range(13, 60), False)])
def test_a_tree_is_read_again_where_a_process_ends_meanwhile(
    system: Processes, ending: Iterable[int], known: bool
) -> None:
    for pid in ending:
        system.put(pid, 10, 0.5)
    span = TreeTime(10)
    left: Iterator[int] = iter(ending)

    def end_one(pid: int) -> None:
        # The parent was read when it did not have the child's time yet, and the child is gone.
        if pid == 11 and (one := next(left, None)) is not None:
            system.end(one)

    system.before_read = end_one
    assert span.until_now() == (pytest.approx(0.0) if known else None)


# -- a real tree --------------------------------------------------------------------------------

PARENT = r"""
import subprocess, sys, time
CHILD = "import time\nwhile time.process_time_ns() < 60_000_000: pass\nprint(time.process_time_ns())"
for line in sys.stdin:
    begin = time.process_time_ns()
    child = 0
    if line == "child\n":
        made = subprocess.run([sys.executable, "-I", "-S", "-c", CHILD], capture_output=True, check=True)
        child = int(made.stdout)
    while time.process_time_ns() < begin + 30_000_000:
        pass
    print(time.process_time_ns() - begin, child, flush=True)
"""


class Parent:
    """A process that works when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout

    def work(self, what: str) -> tuple[float, float]:
        """Seconds that it says it had, and that its child says it had."""
        print(what, file=self._orders, flush=True)
        own, child = self._answers.readline().split()
        return int(own) * 1e-9, int(child) * 1e-9


@pytest.fixture
def parent() -> Iterator[Parent]:
    command = [sys.executable, "-I", "-S", "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        made = Parent(process)
        made.work("alone")
        yield made
        process.stdin.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("by", ["the system's clocks", "psutil"])
def test_a_real_process_and_its_child_had_no_less_than_they_say(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    linux = sys.platform.startswith("linux")
    if by == "psutil":
        monkeypatch.setattr(processes, "process_reader", PsutilProcesses)
        monkeypatch.setattr(cpu_time, "_clock", lambda pid: None)
    span = TreeTime(parent.pid)
    own, _ = parent.work("alone")
    alone = span.until_now()
    span = TreeTime(parent.pid)
    more, child = parent.work("child")
    both = span.until_now()
    assert alone is not None
    assert both is not None
    # On Linux the clock of another process is the one that it reads itself, and what ended has ticks;
    # elsewhere both have, and what ended is not told.
    slack = 1e-9 if linux and by != "psutil" else 2 * TICK
    assert alone >= own - slack
    assert both >= more + (child if linux else 0.0) - slack - 2 * TICK

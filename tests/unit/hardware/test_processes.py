from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pytest_llmbench.hardware.processes import (
    ProcessReader,
    ProcessReading,
    ProcessTrees,
    PsutilProcesses,
    process_reader,
)

MIB = 2**20


class FakeProcesses:
    """Processes that a test sets."""

    def __init__(self) -> None:
        self.table: dict[int, ProcessReading] = {}

    def put(
        self, pid: int, parent: int, cpu: float, *, waited: float = 0.0, rss: int = 0, high: int = 0
    ) -> None:
        self.table[pid] = ProcessReading(parent, cpu, waited, rss, high or rss)

    def read(self, pid: int) -> ProcessReading | None:
        return self.table.get(pid)

    def descendants(self, pid: int) -> list[int]:
        below = [p for p, reading in self.table.items() if reading.parent == pid]
        return below + [deeper for p in below for deeper in self.descendants(p)]

    def forget(self, pid: int) -> None: ...


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 10.0  # every look is due
        return self.now


@pytest.fixture
def fake() -> FakeProcesses:
    processes = FakeProcesses()
    processes.put(1, 0, 50.0)  # pytest
    processes.put(10, 1, 7.0, rss=100, high=300)  # an engine, after its load
    return processes


@pytest.fixture
def trees(fake: FakeProcesses) -> ProcessTrees:
    made = ProcessTrees(fake, alone=[1], clock=Clock())
    made.follow(10)
    return made


def test_cpu_time_before_the_start_is_not_counted(fake: FakeProcesses, trees: ProcessTrees) -> None:
    assert trees.sample()["own_time"] == 0.0
    fake.put(1, 0, 50.25)
    fake.put(10, 1, 8.0)
    assert trees.sample()["own_time"] == 1.25


def test_the_time_of_a_child_counts_once_though_its_parent_waits_for_it(
    fake: FakeProcesses, trees: ProcessTrees
) -> None:
    fake.put(11, 10, 2.0)
    assert trees.sample()["own_time"] == 2.0
    del fake.table[11]
    fake.put(10, 1, 7.0, waited=2.5)
    assert trees.sample()["own_time"] == 2.5


def test_a_childs_time_stays_when_pytest_waits_for_it(fake: FakeProcesses, trees: ProcessTrees) -> None:
    fake.put(10, 1, 9.0)
    trees.sample()
    del fake.table[10]
    fake.put(1, 0, 50.0, waited=9.0)
    assert trees.sample()["own_time"] == 2.0


def test_a_child_of_pytest_that_nobody_follows_is_not_ours(fake: FakeProcesses, trees: ProcessTrees) -> None:
    fake.put(20, 1, 4.0, rss=999)
    reading = trees.sample()
    assert reading["own_time"] == 0.0
    assert reading["rss"] == 100
    assert 20 not in trees.pids()


def test_memory_is_summed_over_the_tree(fake: FakeProcesses, trees: ProcessTrees) -> None:
    fake.put(11, 10, 0.0, rss=40)
    reading = trees.sample()
    assert (reading["rss"], reading["processes"]) == (140, 2)


def test_an_old_high_water_mark_of_the_kernel_says_nothing(fake: FakeProcesses, trees: ProcessTrees) -> None:
    assert "rss_high_water" not in trees.sample()
    fake.put(10, 1, 7.0, rss=100, high=400)
    assert trees.sample()["rss_high_water"] == 400


def test_a_new_test_starts_the_records_anew(fake: FakeProcesses, trees: ProcessTrees) -> None:
    fake.put(10, 1, 7.0, rss=100, high=400)
    trees.sample()
    assert trees.records[10].high_water == 400
    trees.begin()
    reading = trees.sample()
    assert "rss_high_water" not in reading
    assert (trees.records[10].rss, trees.records[10].high_water) == (100, 0)


def test_unfollowed_processes_do_not_count(fake: FakeProcesses, trees: ProcessTrees) -> None:
    trees.unfollow(10)
    fake.put(10, 1, 99.0)
    assert trees.sample() == {"own_time": 0.0}


def test_pytests_own_process_can_be_followed_and_let_go(fake: FakeProcesses) -> None:
    fake.put(1, 0, 50.0, rss=500)
    trees = ProcessTrees(fake, alone=[1], clock=Clock())
    trees.follow(1)
    assert trees.sample()["rss"] == 600
    trees.unfollow(1)
    fake.put(1, 0, 51.0)
    assert trees.sample() == {"own_time": 1.0}


def test_processes_of_ours_that_are_no_engine_count_for_time_alone(fake: FakeProcesses) -> None:
    trees = ProcessTrees(fake, clock=Clock())
    trees.own(10)
    fake.put(10, 1, 8.0, rss=100)
    assert trees.sample() == {"own_time": 1.0}


def test_following_a_process_that_is_gone_does_no_harm(fake: FakeProcesses) -> None:
    trees = ProcessTrees(fake, clock=Clock())
    trees.follow(4711)
    assert trees.sample()["rss"] == 0
    trees.unfollow(4711)


@pytest.fixture(params=[process_reader, PsutilProcesses])
def reader(request: pytest.FixtureRequest) -> ProcessReader:
    made: ProcessReader = request.param()
    return made


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    code = (
        "import subprocess, sys; a = bytearray(50 << 20); b = bytearray(100 << 20); del b;"
        "c = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE);"
        "print(c.pid, flush=True); input(); c.communicate(b'x')"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    yield process
    process.communicate(b"x\n")


def test_a_real_process_is_read(reader: ProcessReader, child: subprocess.Popen[bytes]) -> None:
    assert child.stdout is not None
    grandchild = int(child.stdout.readline())
    reading = reader.read(child.pid)
    assert reading is not None
    assert reading.parent == os.getpid()
    assert 50 * MIB < reading.rss < 100 * MIB
    assert reading.cpu > 0
    assert reading.high_water is None or reading.high_water > 150 * MIB
    assert list(reader.descendants(child.pid)) == [grandchild]


def test_a_process_that_ended_reads_as_gone(reader: ProcessReader) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert reader.read(process.pid) is not None
    process.communicate(b"\n")
    assert reader.read(process.pid) is None
    assert list(reader.descendants(process.pid)) == []
    reader.forget(process.pid)

"""Are the cores counted that this process may use, and no others?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.hardware.cores import numa_nodes, usable_cores


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Four cores of two hardware threads each: CPUs 0 to 7, 0 and 4 on one core; a group of version 2."""
    for cpu in range(8):
        folder = tmp_path / "sys/devices/system/cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a/b\n")
    (tmp_path / "proc/self/mountinfo").write_text("30 23 0:26 / /groups rw shared:9 - cgroup2 cgroup2 rw\n")
    (tmp_path / "groups/a/b").mkdir(parents=True)
    return tmp_path


def test_hardware_threads_of_one_core_count_once(machine: Path) -> None:
    assert usable_cores(frozenset(range(8)), machine) == 4


def test_only_the_cpus_of_the_affinity_count(machine: Path) -> None:
    assert usable_cores(frozenset({0, 4}), machine) == 1
    assert usable_cores(frozenset({0, 1, 4}), machine) == 2


@pytest.mark.parametrize("group", ["a/b", "a", "."])
@pytest.mark.parametrize(
    ("quota", "cores"),
    [("250000 100000", 2), ("50000 100000", 1), ("max 100000", 4), ("800000 100000", 4)],
)
def test_the_quota_of_any_group_above_bounds_the_cores(
    machine: Path, group: str, quota: str, cores: int
) -> None:
    (machine / "groups" / group / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(frozenset(range(8)), machine) == cores


def test_without_a_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    assert usable_cores(frozenset({0, 1, 2}), tmp_path) == 3


def test_numa_nodes_have_the_cpus_of_the_affinity(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3, 6}, raising=False)
    # Node 2 is memory alone.
    for node, cpus in {"node10": "6-7\n", "node0": "0-1,3\n", "node1": "4-5\n", "node2": "\n"}.items():
        folder = machine / "sys/devices/system/node" / node
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus)
    assert numa_nodes(machine) == [{0, 1, 3}, {6}]


def test_where_no_node_is_named_one_has_all(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 5}, raising=False)
    assert numa_nodes(machine) == [{0, 5}]

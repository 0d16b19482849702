"""Is the default number of threads honest about the machine?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.backends import threads
from pytest_llmbench.backends.threads import default_threads, usable_cores


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Four cores of two hardware threads each: CPUs 0 to 7, 0 and 4 on one core."""
    for cpu in range(8):
        folder = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    (tmp_path / "cgroup").mkdir()
    return tmp_path


def cores(machine: Path, cpus: range | tuple[int, ...]) -> int:
    return usable_cores(frozenset(cpus), machine / "cpu", machine / "cgroup")


def test_hardware_threads_of_one_core_count_once(machine: Path) -> None:
    assert cores(machine, range(8)) == 4


def test_only_the_cpus_of_the_affinity_count(machine: Path) -> None:
    assert cores(machine, (0, 4)) == 1
    assert cores(machine, (0, 1, 4)) == 2


def test_the_quota_of_a_container_bounds_the_cores(machine: Path) -> None:
    (machine / "cgroup" / "cpu.max").write_text("250000 100000\n")
    assert cores(machine, range(8)) == 2


def test_half_a_cpu_still_is_a_core(machine: Path) -> None:
    (machine / "cgroup" / "cpu.max").write_text("50000 100000\n")
    assert cores(machine, range(8)) == 1


def test_no_quota_bounds_nothing(machine: Path) -> None:
    (machine / "cgroup" / "cpu.max").write_text("max 100000\n")
    assert cores(machine, range(8)) == 4


def test_the_quota_of_an_old_control_group_bounds_too(machine: Path) -> None:
    folder = machine / "cgroup" / "cpu"
    folder.mkdir()
    (folder / "cpu.cfs_quota_us").write_text("300000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert cores(machine, range(8)) == 3


def test_without_a_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    assert usable_cores(frozenset({0, 1, 2}), tmp_path, tmp_path) == 3


@pytest.mark.parametrize(("usable", "expected"), [(1, 1), (2, 1), (8, 7)])
def test_one_core_stays_free(usable: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: usable)
    assert default_threads() == expected

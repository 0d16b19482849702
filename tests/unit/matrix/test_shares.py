"""Does an attempt have its devices and its folder for itself, and is nothing left of one that was killed?"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.matrix import shares
from pytest_llmbench.matrix.shares import (
    InUseError,
    cpu_sets,
    exclusive_cpus,
    exclusive_gpus,
    fresh_folder,
)

PREFIX = "llmbench-test-"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two NUMA nodes of two cores, each core of two threads, and a folder of their own for locks."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(shares, "numa_nodes", lambda: [frozenset({0, 1, 4, 5}), frozenset({2, 3, 6, 7})])
    monkeypatch.setattr(
        shares, "whole_cores", lambda cpus: [frozenset({cpu, cpu + 4}) for cpu in sorted(cpus) if cpu < 4]
    )


@pytest.mark.parametrize(
    ("total", "sets"),
    [
        (1, [{0, 1, 4, 5}]),
        (2, [{0, 1, 4, 5}, {2, 3, 6, 7}]),
        (3, [{0, 4}, {1, 5}, {2, 6}]),
        (4, [{0, 4}, {1, 5}, {2, 6}, {3, 7}]),
    ],
)
def test_a_device_is_a_numa_node_or_else_whole_cores_and_all_are_of_one_size(
    total: int, sets: list[set[int]]
) -> None:
    assert cpu_sets(total) == sets


def test_there_are_no_more_devices_than_cores() -> None:
    with pytest.raises(InUseError, match="a node of 4 cores does not have 5 devices"):
        cpu_sets(5)


def test_no_two_attempts_have_the_same_cpus_at_once() -> None:
    with ExitStack() as held:
        first = held.enter_context(exclusive_cpus(4, 1, 0))
        others = held.enter_context(exclusive_cpus(4, 3, 0))
        assert (first, others) == ({0, 4}, {1, 2, 3, 5, 6, 7})
        with pytest.raises(InUseError, match="another attempt has its CPUs"):
            held.enter_context(exclusive_cpus(4, 1, 0))
    with exclusive_cpus(4, 1, 0) as again:
        assert again == first


def test_cpus_of_devices_of_another_size_are_the_same_cpus() -> None:
    with (
        exclusive_cpus(4, 1, 0),
        exclusive_cpus(2, 1, 0) as other,
        pytest.raises(InUseError),
        exclusive_cpus(2, 1, 0),
    ):
        pass
    assert other == {2, 3, 6, 7}


def test_who_does_not_get_all_keeps_none() -> None:
    with exclusive_cpus(2, 1, 0), pytest.raises(InUseError), exclusive_cpus(2, 2, 0):
        pass
    with exclusive_cpus(2, 2, 0) as both:
        assert len(both) == 8


def test_no_two_attempts_have_the_same_gpu_at_once() -> None:
    with exclusive_gpus(["0", "1"], 0):
        with exclusive_gpus(["2"], 0):
            pass
        with pytest.raises(InUseError, match="another attempt has GPU 1, 3"), exclusive_gpus(["1", "3"], 0):
            pass
        with exclusive_gpus(["3"], 0):
            pass


def test_the_devices_of_one_that_was_killed_are_free() -> None:
    program = (
        "import sys, tempfile; from pytest_llmbench.matrix.shares import exclusive_gpus\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "with exclusive_gpus(['0'], 0): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, tempfile.gettempdir()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InUseError), exclusive_gpus(["0"], 0):
            pass
        holder.kill()
        holder.wait()
        with exclusive_gpus(["0"], 0):
            pass


def test_a_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with fresh_folder(PREFIX) as folder:
        (folder / "a").mkdir()
        (folder / "a" / "file").touch()
        assert folder.parent == tmp_path
        assert folder.name.startswith(PREFIX)
        assert folder.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_what_one_that_was_killed_has_left_behind_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    (left / "in-use").touch()
    (left / "large").touch()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "in-use").touch()
    with fresh_folder(PREFIX) as first, fresh_folder(PREFIX) as second:
        assert not left.exists()
        assert first.exists()
        assert second.exists()
        assert foreign.exists()


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(ResultsError, match=r"cannot be made in .*none: No such file"),
        fresh_folder(PREFIX, tmp_path / "none"),
    ):
        pass

"""Are the limits of all control groups found, the own and those above, wherever they are mounted?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pytest_llmbench.hardware import memory
from pytest_llmbench.hardware.cgroups import limits, memory_left

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1_CPU = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
HYBRID_V2 = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
NO_LIMIT = "9223372036854771712"


def system(root: Path, groups: str, mounts: list[str], files: Mapping[str, str]) -> Path:
    own = root / "proc/self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(groups)
    (own / "mountinfo").write_text(
        "".join(f"{line}\n" for line in ["1 1 8:1 / / rw - ext4 /dev/sda rw", *mounts])
    )
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def test_the_tightest_of_the_own_group_and_those_above_holds(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        "0::/user.slice/job.scope/inner\n",
        [V2],
        {
            "sys/fs/cgroup/user.slice/cpu.max": "400000 100000",
            "sys/fs/cgroup/user.slice/job.scope/cpu.max": "150000 100000",
            "sys/fs/cgroup/user.slice/job.scope/inner/cpu.max": "max 100000",
            "sys/fs/cgroup/user.slice/memory.max": "1073741824",
            "sys/fs/cgroup/user.slice/job.scope/inner/memory.max": "max",
            "sys/fs/cgroup/other.slice/cpu.max": "1000 100000",
        },
    )
    found = limits(root)
    assert (found.cpus, found.memory, found.unknown) == (1.5, 2**30, {})


def test_version_1_has_a_hierarchy_for_each_controller(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        "4:memory:/jobs/one\n1:cpu,cpuacct:/slow/jobs\n",
        [V1_CPU, V1_MEMORY],
        {
            "sys/fs/cgroup/cpu,cpuacct/slow/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu,cpuacct/slow/cpu.cfs_period_us": "200000",
            "sys/fs/cgroup/cpu,cpuacct/slow/jobs/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu,cpuacct/slow/jobs/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT,
            "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": "536870912",
        },
    )
    found = limits(root)
    assert (found.cpus, found.memory) == (0.25, 2**29)


def test_both_versions_side_by_side_are_read(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        "1:cpu,cpuacct:/a\n0::/b\n",
        [V1_CPU, HYBRID_V2],
        {
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "300000",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/unified/b/memory.max": "1048576",
        },
    )
    found = limits(root)
    assert (found.cpus, found.memory) == (3.0, 2**20)


def test_a_container_sees_its_group_at_the_mount_point(tmp_path: Path) -> None:
    # The groups of the host's namespace, and what is mounted is the container's own part of them.
    root = system(
        tmp_path,
        "1:cpu,cpuacct:/docker/abc/inner\n",
        ["33 31 0:30 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct"],
        {
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us": "100000",
            "sys/fs/cgroup/cpu/inner/cpu.cfs_period_us": "100000",
        },
    )
    assert limits(root).cpus == 1.0


@pytest.mark.parametrize("groups", ["0::/\n", "0::/../../elsewhere\n", "0::/not/mounted/here\n"])
def test_a_group_of_another_namespace_has_the_limit_of_what_is_mounted(tmp_path: Path, groups: str) -> None:
    root = system(tmp_path, groups, [V2], {"sys/fs/cgroup/cpu.max": "100000 100000"})
    assert limits(root).cpus == 1.0


def test_a_mount_of_another_part_of_the_hierarchy_says_nothing(tmp_path: Path) -> None:
    elsewhere = "44 23 0:26 /other /srv/groups rw - cgroup2 cgroup2 rw"
    root = system(tmp_path, "0::/mine\n", [elsewhere], {"srv/groups/cpu.max": "100000 100000"})
    found = limits(root)
    assert found.cpus is None
    assert found.unknown["cpus"] == "no control group for cpu is mounted"


def test_a_mount_point_may_have_blanks(tmp_path: Path) -> None:
    mount = r"30 23 0:26 / /my\040groups rw - cgroup2 cgroup2 rw"
    root = system(tmp_path, "0::/a\n", [mount], {"my groups/a/cpu.max": "100000 100000"})
    assert limits(root).cpus == 1.0


@pytest.mark.parametrize(
    "text", ["max 100000", "", "0 100000", "1000 0", "-5 100000", "x y", "9" * 30 + " x"]
)
def test_what_is_no_quota_bounds_nothing(tmp_path: Path, text: str) -> None:
    root = system(tmp_path, "0::/\n", [V2], {"sys/fs/cgroup/cpu.max": text})
    found = limits(root)
    assert found.cpus is None
    assert found.unknown["cpus"] == "no limit is set"


def test_a_system_without_control_groups_has_no_limits_and_a_reason(tmp_path: Path) -> None:
    found = limits(tmp_path)
    assert (found.cpus, found.memory) == (None, None)
    assert set(found.unknown) == {"cpus", "memory"}
    assert memory_left(tmp_path) is None


def test_memory_left_is_the_least_of_all_groups_and_pages_of_old_files_count_as_free(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        "0::/a/b\n",
        [V2],
        {
            "sys/fs/cgroup/a/memory.max": "1000",
            "sys/fs/cgroup/a/memory.current": "900",
            "sys/fs/cgroup/a/memory.stat": "anon 600\ninactive_file 200",
            "sys/fs/cgroup/a/b/memory.max": "500",
            "sys/fs/cgroup/a/b/memory.current": "100",
        },
    )
    assert memory_left(root) == 300
    assert memory.available(root) == 300


def test_memory_left_is_known_of_version_1(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        "4:memory:/a\n",
        [V1_MEMORY],
        {
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "900",
            "sys/fs/cgroup/memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 50",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT,
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "999999",
        },
    )
    assert memory_left(root) == 150


def test_this_machine_can_be_asked() -> None:
    found = limits()
    assert found.cpus is None or found.cpus > 0
    assert found.memory is None or found.memory > 0
    assert memory.available() > 0

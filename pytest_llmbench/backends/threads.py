"""How many compute threads is an honest default on this machine?

One core stays free: compute threads spin at barriers, so a single other busy process on the last
core slows all of them many times over, and pytest, the sampler and the system need a core as well.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def default_threads() -> int:
    """Physical cores that this process may use, minus one, at least one.

    What it may use is bounded by its CPU affinity and by the CPU quota of its control group.
    """
    return max(1, usable_cores() - 1)


def usable_cores(
    cpus: frozenset[int] | None = None,
    topology: Path = Path("/sys/devices/system/cpu"),
    cgroup: Path = Path("/sys/fs/cgroup"),
) -> int:
    """Physical cores among *cpus* (by default this process's affinity), at most the CPU quota."""
    allowed = _affinity() if cpus is None else cpus
    cores = {_siblings(topology, cpu) for cpu in allowed}
    count = len(cores)
    if sys.platform == "darwin" and cpus is None:
        count = _physical_cores_of_macos() or count
    quota = _quota(cgroup)
    return max(1, count if quota is None else min(count, int(quota)))


def _affinity() -> frozenset[int]:
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _siblings(topology: Path, cpu: int) -> str:
    """Which hardware threads share *cpu*'s core, as the kernel writes it; the CPU alone if unknown."""
    try:
        return (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota(cgroup: Path) -> float | None:
    """CPUs that the control group (version 2, or 1) may use at once; None where it is not bounded.

    Inside a container the group's own files lie at the mount point. See ``cpu.max`` in the kernel's
    Documentation/admin-guide/cgroup-v2.rst.
    """
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _physical_cores_of_macos() -> int | None:
    import subprocess

    try:
        answer = subprocess.run(
            ["sysctl", "-n", "hw.physicalcpu"], capture_output=True, text=True, check=True
        )
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None

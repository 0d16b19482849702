"""How many cores may this process use?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pytest_llmbench.hardware.cgroups import HERE, limits


def usable_cores(cpus: frozenset[int] | None = None, root: Path = HERE) -> int:
    """Physical cores among *cpus* (by default this process's affinity), at most the CPU quota; at least one.

    The quota is that of its control groups, its own and those above: :func:`.cgroups.limits`.
    """
    allowed = _affinity() if cpus is None else cpus
    count = len(whole_cores(allowed, root))
    if sys.platform == "darwin" and cpus is None:
        count = _physical_cores_of_macos() or count
    quota = limits(root).cpus
    return max(1, count if quota is None else min(count, int(quota)))


def whole_cores(cpus: frozenset[int], root: Path = HERE) -> list[frozenset[int]]:
    """*cpus* by the physical core that they share, the lowest first."""
    cores: dict[str, set[int]] = {}
    for cpu in sorted(cpus):
        cores.setdefault(_siblings(root / "sys/devices/system/cpu", cpu), set()).add(cpu)
    return [frozenset(core) for core in cores.values()]


def numa_nodes(root: Path = HERE) -> list[frozenset[int]]:
    """The CPUs of each NUMA node that this process may use, by the node's number.

    Nodes without CPUs (memory alone) are left out; where the system names none, one has all.
    """
    allowed = _affinity()
    folders = (root / "sys/devices/system/node").glob("node[0-9]*")
    nodes = []
    for folder in sorted(folders, key=lambda path: int(path.name.removeprefix("node"))):
        try:
            cpus = _read_list((folder / "cpulist").read_text()) & allowed
        except (OSError, ValueError):
            continue
        if cpus:
            nodes.append(cpus)
    return nodes or [allowed]


def _read_list(text: str) -> frozenset[int]:
    """``0-3,8`` as the kernel writes a set of CPUs."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


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


def _physical_cores_of_macos() -> int | None:
    import subprocess

    try:
        answer = subprocess.run(
            ["sysctl", "-n", "hw.physicalcpu"], capture_output=True, text=True, check=True
        )
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None

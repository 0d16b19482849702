"""How much CPU and memory do the control groups of this process leave it?

A limit may be set on the process's own group or on any above it, and the tightest holds. Where a group
lies is in ``/proc/self/cgroup`` (its path) and ``/proc/self/mountinfo`` (what part of the hierarchy is
mounted, and where); version 1, version 2 and both side by side are read.
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html,
https://docs.kernel.org/scheduler/sched-bwc.html
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

HERE = Path("/")
Controller = Literal["cpu", "memory"]
_UNLIMITED = 2**60
"""Bytes; version 1 writes no limit as the largest number of pages that it can count."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the control groups allow; None for what they do not bound, with the reason in ``unknown``."""

    cpus: float | None
    """CPU seconds a second. CPUs that are not allowed at all (cpusets) are not in the affinity either."""
    memory: int | None
    """Bytes."""
    unknown: dict[str, str]
    """``cpus`` and ``memory``."""


def limits(root: Path = HERE) -> Limits:
    """The tightest limits of this process's own control groups and of those above them.

    :param root: below which ``proc`` and ``sys`` lie.
    """
    unknown: dict[str, str] = {}
    cpus = _tightest("cpu", root, unknown)
    memory = _tightest("memory", root, unknown)
    return Limits(cpus, None if memory is None else int(memory), unknown)


def memory_left(root: Path = HERE) -> int | None:
    """Bytes that the control groups let this process and its children still take; None without a limit.

    Pages of files that were not used for a while count as free: the kernel gives them back first.
    """
    left = [
        limit - used + (_entry(group, "inactive_file", "total_inactive_file") or 0)
        for group in _groups("memory", root)
        if (limit := _memory(group)) is not None
        and (used := _number(group, "memory.current", "memory.usage_in_bytes")) is not None
    ]
    return max(0, min(left)) if left else None


def _tightest(controller: Controller, root: Path, unknown: dict[str, str]) -> float | None:
    key = {"cpu": "cpus"}.get(controller, controller)
    groups = list(_groups(controller, root))
    read = {"cpu": _cpus, "memory": _memory}[controller]
    found = [limit for group in groups if (limit := read(group)) is not None]
    if found:
        return min(found)
    if not sys.platform.startswith("linux"):
        unknown[key] = "only Linux has control groups"
    elif groups:
        unknown[key] = "no limit is set"
    else:
        unknown[key] = f"no control group for {controller} is mounted"
    return None


def _groups(controller: Controller, root: Path) -> Iterator[Path]:
    """The folders of this process's groups: its own, then those above it, as far as they can be seen."""
    own = _own_groups(root)
    seen: set[Path] = set()
    for controllers, top, mounted in _mounts(root):
        if controllers is not None and controller not in controllers:
            continue
        path = own.get(None if controllers is None else controller)
        if path is None or (below := _below(path, top)) is None:
            continue
        mount = root / mounted.relative_to("/")
        for folder in (mount / below, *(mount / parent for parent in below.parents)):
            if folder not in seen and folder.is_dir():
                seen.add(folder)
                yield folder


def _own_groups(root: Path) -> dict[str | None, PurePosixPath]:
    """The path of this process's group by controller; that of version 2 under None."""
    own: dict[str | None, PurePosixPath] = {}
    for line in _lines(root / "proc/self/cgroup"):
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        # A group that was removed meanwhile has these words behind its name.
        where = PurePosixPath(path.removesuffix(" (deleted)") or "/")
        if number == "0" and not names:
            own[None] = where
        for name in filter(None, names.split(",")):
            own[name] = where
    return own


def _mounts(root: Path) -> Iterator[tuple[frozenset[str] | None, PurePosixPath, PurePosixPath]]:
    """Of each mounted hierarchy: its controllers (None for version 2), its topmost group, and where it is."""
    for line in _lines(root / "proc/self/mountinfo"):
        place, dash, kind = line.partition(" - ")
        fields, after = place.split(" "), kind.split(" ")
        if not dash or len(fields) < 5 or len(after) < 3 or after[0] not in ("cgroup", "cgroup2"):
            continue
        top, mounted = (PurePosixPath(_unescaped(field)) for field in fields[3:5])
        if mounted.is_absolute():
            yield None if after[0] == "cgroup2" else frozenset(after[2].split(",")), top, mounted


def _below(path: PurePosixPath, top: PurePosixPath) -> PurePosixPath | None:
    """Where the group *path* lies below a mount that shows the hierarchy from *top* on; None if not there."""
    if ".." in path.parts or ".." in top.parts:
        # Outside of this process's namespace of groups: what is mounted is as near as one comes.
        return PurePosixPath()
    try:
        return path.relative_to(top)
    except ValueError:
        return None


def _cpus(group: Path) -> float | None:
    words = _words(group / "cpu.max")
    if words:
        quota, period = words[0], words[1] if len(words) > 1 else "100000"
    else:
        quota, period = (
            next(iter(_words(group / name)), "") for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
    if not (quota.isdecimal() and period.isdecimal()) or not int(period) or not int(quota):
        return None
    return int(quota) / int(period)


def _memory(group: Path) -> int | None:
    limit = _number(group, "memory.max", "memory.limit_in_bytes")
    return limit if limit is not None and limit < _UNLIMITED else None


def _number(group: Path, *names: str) -> int | None:
    words = next((found for name in names if (found := _words(group / name))), [])
    return int(words[0]) if words and words[0].isdecimal() else None


def _entry(group: Path, *names: str) -> int | None:
    """A line ``NAME NUMBER`` of the group's memory statistics; of several names, the last that is there.

    Version 1 has a group's own figure and, as ``total_...``, that of all below it too.
    """
    entries = dict(line.split(" ", 1) for line in _lines(group / "memory.stat") if " " in line)
    known = [entries[name] for name in names if entries.get(name, "").isdecimal()]
    return int(known[-1]) if known else None


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> Iterable[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ()


def _unescaped(field: str) -> str:
    r"""A field of mountinfo: blanks and the like are written ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)

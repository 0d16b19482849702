"""Which backends, on which machine, in one line above the tests?

It is read at every start of pytest: no engine is imported, and no driver is asked.
"""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.backends.threads import THREADS, default_threads
from pytest_llmbench.hardware.cgroups import limits
from pytest_llmbench.metrics.units import count

if TYPE_CHECKING:
    from pytest_llmbench.backends.base import Backend

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class MachineSummary:
    """What the header says of the machine; None for what cannot be found cheaply."""

    cpu: str | None = None
    cores: int | None = None
    """Logical cores that this process may run on."""
    memory: int | None = None
    """Bytes."""
    quota: float | None = None
    """Of the cores, how many it may use at once, by its control groups; None if they do not bound it."""
    memory_limit: int | None = None
    """Bytes that it may use, by its control groups; None if they do not bound it."""
    gpus: tuple[str, ...] | None = None
    """Names of NVIDIA GPUs."""

    @classmethod
    def here(cls, root: Path = Path("/")) -> MachineSummary:
        """This machine, from what the kernel keeps as text; *root* is where its files lie."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        allowed = limits(root)
        return cls(_cpu(root), cores, _memory(), allowed.cpus, allowed.memory, _gpus(root))

    def __str__(self) -> str:
        parts = []
        if self.cores is not None:
            cpu = f" ({self.cpu})" if self.cpu else ""
            bound = "" if self.quota is None or self.quota >= self.cores else f"{self.quota:.3g} of "
            parts.append(f"{bound}{count(self.cores, 'core')}{cpu}")
        if self.memory is not None:
            limit = self.memory_limit
            bound = "" if limit is None or limit >= self.memory else f"{limit / _GIB:.3g} of "
            parts.append(f"{bound}{self.memory / _GIB:.0f} GiB")
        if self.gpus is not None:
            counted = Counter(self.gpus)
            parts += [name if count == 1 else f"{count} x {name}" for name, count in counted.items()]
            if not counted:
                parts.append("no NVIDIA GPU")
        return ", ".join(parts)


def header_line(
    backends: Iterable[Backend],
    machine: MachineSummary | None = None,
    options: Mapping[str, Mapping[str, object]] | None = None,
    *,
    one_thread: bool = False,
) -> str:
    """Backends that can run here with their engine's version and threads, the machine, and what is missing.

    For example ``llmbench: llamacpp 0.3.36 (1 thread) | 2 cores, 24 GiB, no NVIDIA GPU | missing: vllm
    (pip install 'pytest-llmbench[vllm]')``. An engine that is installed but does not work shows
    its reason instead. *options* are those of the command line and the ini file, by backend; *one_thread*
    says that engines have one unless these say otherwise.
    """
    present, absent = [], []
    for backend in backends:
        availability = backend.availability()
        versions = backend.versions()
        # The engine's own distribution comes first.
        version = next(iter(versions.values()), "")
        if availability.available:
            threads = _threads(backend, (options or {}).get(backend.name, {}), one_thread)
            present.append(" ".join(part for part in (backend.name, version, threads) if part))
        elif version and availability.reason:
            absent.append(f"{backend.name} ({availability.reason})")
        else:
            absent.append(f"{backend.name} (pip install 'pytest-llmbench[{backend.extra}]')")
    parts = [", ".join(present) or "no backend", str(machine or MachineSummary.here())]
    if absent:
        parts.append(f"missing: {', '.join(absent)}")
    return "llmbench: " + " | ".join(part for part in parts if part)


def _threads(backend: Backend, options: Mapping[str, object], one_thread: bool) -> str:
    """``(1 thread)``, as a load will have them unless a test's marker says otherwise; else nothing."""
    if not any(option.name == THREADS for option in backend.options):
        return ""
    if one_thread and not options.get(THREADS):
        return "(1 thread, to be judged by CPU time)"
    threads = options.get(THREADS) or default_threads()
    return f"({threads} thread{'' if str(threads) == '1' else 's'})"


def _cpu(root: Path) -> str | None:
    name = ""
    try:
        with (root / "proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
            name = next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")
    except OSError:
        # Starts a process on some systems, hence only where the kernel's file is not there.
        name = platform.processor()
    # The marks and the base clock of Intel's names tell nothing here.
    name = re.sub(r"\((R|TM)\)|\bCPU\b|@.*", " ", name, flags=re.IGNORECASE)
    return " ".join(name.split()) or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus(root: Path) -> tuple[str, ...] | None:
    proc = root / "proc"
    if not proc.is_dir():
        return None
    names = []
    for card in sorted((proc / "driver/nvidia/gpus").glob("*/information")):
        try:
            text = card.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = re.search(r"^Model:\s*(.+)$", text, re.MULTILINE)
        names.append(found[1].strip() if found else "NVIDIA GPU")
    return tuple(names)

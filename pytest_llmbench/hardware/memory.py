"""How much memory did the machine have left, and who had to wait for what?"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from pytest_llmbench.hardware.cgroups import HERE, memory_left
from pytest_llmbench.hardware.probes import SLOW, KernelFile, why


def available(root: Path = HERE) -> int:
    """Bytes that a new process can take without swapping: the machine's, or what its control groups leave."""
    left = memory_left(root)
    free = _free(root)
    return free if left is None else min(free, left)


def _free(root: Path) -> int:
    # An engine's environment may hold nothing but the engine.
    with suppress(OSError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    import psutil

    return int(psutil.virtual_memory().available)


class Memory:
    """The system's memory, bytes: ``memory_used``, ``memory_available``; and swapping since boot.

    ``swap_in_bytes`` and ``swap_out_bytes`` are counters.
    """

    name = "memory"
    every = SLOW
    at_edges = True

    def __init__(self) -> None:
        self.methods: dict[str, str] = {}
        self._swap = True

    def start(self) -> dict[str, str]:
        import psutil

        if sys.platform == "win32":
            self._swap = False
            return {"swap": "Windows does not report how much was swapped"}
        try:
            psutil.swap_memory()
        except (OSError, RuntimeError) as error:
            self._swap = False
            return {"swap": why(error)}
        return {}

    def sample(self) -> dict[str, float]:
        import psutil

        memory = psutil.virtual_memory()
        reading: dict[str, float] = {"memory_used": memory.used, "memory_available": memory.available}
        if self._swap:
            swap = psutil.swap_memory()
            reading["swap_in_bytes"] = swap.sin
            reading["swap_out_bytes"] = swap.sout
        return reading


class Pressure:
    """Linux's pressure stall information (PSI), s since boot.

    ``cpu_pressure_time``: some task could run and had to wait for a core. ``memory_pressure_time``
    and ``io_pressure_time``: every task that was not idle waited for memory, for input or output.
    https://docs.kernel.org/accounting/psi.html
    """

    name = "pressure"
    every = 0.0
    at_edges = True
    _lines = (("cpu", b"some"), ("memory", b"full"), ("io", b"full"))

    def __init__(self, root: Path = Path("/")) -> None:
        self.methods: dict[str, str] = {}
        self._folder = root / "proc/pressure"
        self._files: list[tuple[str, bytes, KernelFile]] = []

    def start(self) -> dict[str, str]:
        reasons = {}
        for name, line in self._lines:
            try:
                file = KernelFile(self._folder / name)
                file.read()
            except OSError as error:
                reasons[f"{name}_pressure"] = (
                    f"no pressure stall information ({why(error)}): Linux has it from 4.20 on, "
                    "some kernels only with psi=1 on their command line"
                )
            else:
                self._files.append((f"{name}_pressure_time", line, file))
        return reasons

    def sample(self) -> dict[str, float]:
        reading = {}
        for name, wanted, file in self._files:
            for line in file.read().splitlines():
                if line.startswith(wanted):
                    reading[name] = int(line.rpartition(b"total=")[2]) * 1e-6
        return reading

"""How busy, fast and hot were the processor's cores?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pytest_llmbench.hardware.probes import SLOW, KernelFile, why

SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "cpu-thermal")
"""hwmon chips that sit on the processor."""
ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal", "soc_thermal", "cpu")
"""Types of thermal zones that stand for the processor, where hwmon has no chip of these names."""
MAX_FREQUENCY_FILES = 16
"""Reading a core's frequency may interrupt that core, so only so many are read, evenly spread."""


class CpuTime:
    """Time that each core worked for tasks: ``cpu_time_coreN``, and ``steal_time`` of all, s.

    User, nice and system time; interrupts are left out, as they belong to no task and would look
    like the work of others. The kernel counts in ticks, 10 ms as a rule.
    """

    name = "cpu"
    every = 0.0
    at_edges = True

    def __init__(self, root: Path = Path("/")) -> None:
        self.methods: dict[str, str] = {}
        self._path = root / "proc/stat"
        self._file: KernelFile | None = None
        self._tick = 0.01

    def start(self) -> dict[str, str]:
        if not sys.platform.startswith("linux"):
            return {"steal": "only Linux shows the time that a hypervisor took"}
        self._tick = 1.0 / os.sysconf("SC_CLK_TCK")
        try:
            self._file = KernelFile(self._path)
        except OSError as error:
            return {"cpu_percent": why(error), "foreign_cpu": why(error), "steal": why(error)}
        return {}

    def sample(self) -> dict[str, float]:
        if not sys.platform.startswith("linux"):
            import psutil

            cores = psutil.cpu_times(percpu=True)
            return {
                f"cpu_time_core{n}": c.user + c.system + getattr(c, "nice", 0.0) for n, c in enumerate(cores)
            }
        if self._file is None:
            return {}
        reading: dict[str, float] = {}
        for line in self._file.read().split(b"\n"):
            if not line.startswith(b"cpu"):
                break
            fields = line.split()
            if fields[0] == b"cpu":
                reading["steal_time"] = int(fields[8]) * self._tick
            else:
                ticks = int(fields[1]) + int(fields[2]) + int(fields[3])
                reading[f"cpu_time_core{int(fields[0][3:])}"] = round(ticks * self._tick, 3)
        return reading


class CpuFrequency:
    """``frequency_coreN``, Hz, as cpufreq reports it."""

    name = "frequency"
    every = SLOW
    at_edges = False

    def __init__(self, root: Path = Path("/")) -> None:
        self.methods: dict[str, str] = {}
        self._folder = root / "sys/devices/system/cpu"
        self._files: dict[str, KernelFile] = {}

    def start(self) -> dict[str, str]:
        if not sys.platform.startswith("linux"):
            return self._start_elsewhere()
        numbers = sorted(int(p.name[3:]) for p in self._folder.glob("cpu[0-9]*"))
        reason = "no cpufreq in /sys: a virtual machine, or no driver for this processor"
        for number in numbers[:: max(1, -(-len(numbers) // MAX_FREQUENCY_FILES))]:
            try:
                self._files[f"frequency_core{number}"] = KernelFile(
                    self._folder / f"cpu{number}/cpufreq/scaling_cur_freq"
                )
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = why(error)
        return {} if self._files else {"frequency": reason}

    def _start_elsewhere(self) -> dict[str, str]:
        import psutil

        # Not every system that psutil runs on has this function.
        read = getattr(psutil, "cpu_freq", None)
        try:
            known = read is not None and read() is not None
        except (OSError, RuntimeError) as error:
            return {"frequency": why(error)}
        return {} if known else {"frequency": "psutil does not report a frequency on this system"}

    def sample(self) -> dict[str, float]:
        if not sys.platform.startswith("linux"):
            import psutil

            return {"frequency": psutil.cpu_freq().current * 1e6}
        return {name: file.number() * 1e3 for name, file in self._files.items()}


class CpuTemperature:
    """``temperature``, degrees Celsius: the package's sensor, or the hottest of the processor's."""

    name = "temperature"
    every = SLOW
    at_edges = False

    def __init__(self, root: Path = Path("/")) -> None:
        self.methods: dict[str, str] = {}
        self._sys = root / "sys/class"
        self._files: list[KernelFile] = []

    def start(self) -> dict[str, str]:
        if not sys.platform.startswith("linux"):
            return {"temperature": "no library reads the processor's temperature on this system"}
        for path in self._sensors():
            try:
                file = KernelFile(path)
                file.number()
            except (OSError, ValueError):
                continue
            self._files.append(file)
        if not self._files:
            return {"temperature": "no sensor of the processor in /sys/class/hwmon or /sys/class/thermal"}
        return {}

    def _sensors(self) -> list[Path]:
        found: list[Path] = []
        for chip in sorted(self._sys.glob("hwmon/hwmon*")):
            if _text(chip / "name") not in SENSORS:
                continue
            inputs = sorted(chip.glob("temp*_input"))
            labels = {path: _text(path.with_name(path.name.replace("input", "label"))) for path in inputs}
            package = [p for p in inputs if labels[p].startswith(("Package", "Tdie", "Tctl"))]
            found += package or inputs
        if found:
            return found
        zones = sorted(self._sys.glob("thermal/thermal_zone*"))
        return [zone / "temp" for zone in zones if _text(zone / "type") in ZONES]

    def sample(self) -> dict[str, float]:
        return {"temperature": max(file.number() for file in self._files) / 1e3} if self._files else {}


class CpuThrottling:
    """``throttle_count``: how often the cores and packages slowed down for heat since boot."""

    name = "throttling"
    every = SLOW
    at_edges = True

    def __init__(self, root: Path = Path("/")) -> None:
        self.methods: dict[str, str] = {}
        self._folder = root / "sys/devices/system/cpu"
        self._files: list[KernelFile] = []

    def start(self) -> dict[str, str]:
        seen: set[tuple[str, ...]] = set()
        for cpu in sorted(self._folder.glob("cpu[0-9]*")):
            package = _text(cpu / "topology/physical_package_id")
            core = _text(cpu / "topology/core_id") or cpu.name
            # Hardware threads of a core share its counter, cores of a package the package's.
            for key, name in (((package, core), "core"), ((package,), "package")):
                if key not in seen:
                    seen.add(key)
                    try:
                        self._files.append(KernelFile(cpu / f"thermal_throttle/{name}_throttle_count"))
                    except OSError:
                        continue
        if not self._files:
            return {"throttle_count": "no thermal_throttle counters in /sys: not Intel, or a virtual machine"}
        return {}

    def sample(self) -> dict[str, float]:
        return {"throttle_count": sum(file.number() for file in self._files)} if self._files else {}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

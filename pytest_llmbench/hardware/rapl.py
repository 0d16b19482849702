"""How much energy did the processor's packages take?"""

from __future__ import annotations

import re
from pathlib import Path

from pytest_llmbench.hardware.probes import KernelFile, why


class Rapl:
    """``packageN_energy``, J, from the kernel's powercap folder.

    Packages alone: the zones below them (core, uncore, dram) are parts of them or, like psys,
    hold them, so that a sum would count twice. A zone's counter starts again at
    ``max_energy_range_uj``; the energy given here goes on, provided that it is read at least once
    a turn (about 40 minutes at 100 W).
    """

    name = "rapl"
    every = 0.0
    at_edges = True

    def __init__(self, root: Path = Path("/")) -> None:
        self.methods: dict[str, str] = {}
        self._folder = root / "sys/class/powercap"
        self._zones: dict[str, _Zone] = {}

    def start(self) -> dict[str, str]:
        reasons: dict[str, str] = {}
        for folder in sorted(self._folder.glob("*-rapl:*")):
            # intel-rapl-mmio shows the packages of intel-rapl a second time.
            if not re.fullmatch(r"intel-rapl:\d+|amd-rapl:\d+", folder.name):
                continue
            try:
                label = (folder / "name").read_text().strip()
                if not label.startswith("package"):
                    continue
                field = f"package{label.removeprefix('package').lstrip('-') or 0}_energy"
                self._zones[field] = _Zone(folder)
            except PermissionError:
                reasons["package_energy"] = (
                    f"only root may read RAPL on this machine (to allow it: chmod a+r {folder / 'energy_uj'})"
                )
            except (OSError, ValueError) as error:
                reasons["package_energy"] = why(error)
        if not self._zones and not reasons:
            reasons["package_energy"] = "no RAPL package in /sys/class/powercap"
        return reasons

    def sample(self) -> dict[str, float]:
        return {field: zone.joules() for field, zone in self._zones.items()}


class _Zone:
    def __init__(self, folder: Path) -> None:
        self._file = KernelFile(folder / "energy_uj")
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last = self._file.number()
        self._turns = 0

    def joules(self) -> float:
        now = self._file.number()
        if now < self._last:
            self._turns += 1
        self._last = now
        return (self._turns * self._range + now) * 1e-6

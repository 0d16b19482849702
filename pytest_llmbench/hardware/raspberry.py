"""Did the Raspberry Pi's firmware hold the processor back?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pytest_llmbench.hardware.probes import SLOW, KernelFile

NOW = {0: "under_voltage", 1: "frequency_capped", 2: "throttled", 3: "soft_temperature_limit"}
"""Bits that hold while it happens; each has a twin 16 higher that stays set until the next boot."""
STICKY = 16


def reasons_between(before: int, *readings: int) -> list[str]:
    """Names of what was so at one of *readings*, or happened since *before* unseen.

    https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
    """
    seen = 0
    for bits in readings:
        seen |= bits | ((bits & ~before) >> STICKY)
    return [name for bit, name in NOW.items() if seen >> bit & 1]


class RaspberryThrottling:
    """``pi_throttled``: the firmware's bits as they are now."""

    name = "raspberry"
    at_edges = False

    def __init__(self, root: Path = Path("/")) -> None:
        self.methods: dict[str, str] = {}
        self.every = SLOW
        self._root = root
        self._file: KernelFile | None = None
        self._command: str | None = None

    def start(self) -> dict[str, str]:
        try:
            self._file = KernelFile(self._root / "sys/devices/platform/soc/soc:firmware/get_throttled")
        except OSError:
            self._command = shutil.which("vcgencmd")
            # A process a second would cost more than all other probes together.
            self.every = 10 * SLOW
        else:
            self.methods["pi_throttled"] = "sysfs"
            return {}
        if self._command is None:
            return {"pi_throttled": "not a Raspberry Pi: no get_throttled in /sys, no vcgencmd"}
        self.methods["pi_throttled"] = "vcgencmd"
        return {}

    def sample(self) -> dict[str, float]:
        if self._file is not None:
            return {"pi_throttled": int(self._file.read(), 16)}
        if self._command is None:
            return {}
        answer = subprocess.run(
            [self._command, "get_throttled"], capture_output=True, text=True, timeout=5, check=True
        )
        return {"pi_throttled": int(answer.stdout.strip().partition("=")[2], 16)}

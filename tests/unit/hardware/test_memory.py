"""Are memory and pressure read as the kernel tells them?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.hardware.memory import Memory, Pressure

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and /sys")
Put = Callable[[str, str], Path]


def test_what_is_not_there_has_a_reason_and_no_value(tmp_path: Path) -> None:
    made = Pressure(tmp_path)
    assert made.start()["cpu_pressure"]
    assert made.sample() == {}


def test_pressure_is_the_total_of_the_right_line_in_seconds(put: Put, tmp_path: Path) -> None:
    some, full = "some avg10=0.00 avg60=0.00 avg300=0.00 total={}\n", "full avg10=1.00 total={}\n"
    put("proc/pressure/cpu", some.format(2_500_000) + full.format(1))
    put("proc/pressure/memory", some.format(9) + full.format(750_000))
    probe = Pressure(tmp_path)
    assert set(probe.start()) == {"io_pressure"}
    assert probe.sample() == {"cpu_pressure_time": 2.5, "memory_pressure_time": 0.75}


def test_the_systems_memory_is_read() -> None:
    probe = Memory()
    probe.start()
    reading = probe.sample()
    assert reading["memory_used"] > 0
    assert reading["memory_available"] > 0

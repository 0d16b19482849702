"""Are time, frequency, temperature and throttling of the processor read as the kernel tells them?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.hardware.cpu import CpuFrequency, CpuTemperature, CpuThrottling, CpuTime

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and /sys")
Put = Callable[[str, str], Path]


def test_cpu_time_is_read_per_core_in_seconds_without_interrupts(put: Put, tmp_path: Path) -> None:
    tick = 1 / os.sysconf("SC_CLK_TCK")
    stat = (
        "cpu  9 0 9 9 9 9 9 21 0 0\ncpu0 100 20 30 900 5 70 80 8 50 0\ncpu1 1 2 3 4 5 6 7 8 0 0\nintr 1 2\n"
    )
    put("proc/stat", stat)
    probe = CpuTime(tmp_path)
    assert probe.start() == {}
    assert probe.sample() == pytest.approx(
        {"steal_time": 21 * tick, "cpu_time_core0": 150 * tick, "cpu_time_core1": 6 * tick}
    )


def test_frequency_is_in_hertz(put: Put, tmp_path: Path) -> None:
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2400000\n")
    put("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "800000\n")
    probe = CpuFrequency(tmp_path)
    assert probe.start() == {}
    assert probe.sample() == {"frequency_core0": 2.4e9, "frequency_core1": 0.8e9}


def test_only_some_cores_of_a_large_machine_are_asked_for_their_frequency(put: Put, tmp_path: Path) -> None:
    for core in range(100):
        put(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", "1000\n")
    probe = CpuFrequency(tmp_path)
    probe.start()
    assert len(probe.sample()) <= 16


@pytest.mark.parametrize(
    ("probe", "field"),
    [
        (CpuTime, "steal"),
        (CpuFrequency, "frequency"),
        (CpuTemperature, "temperature"),
        (CpuThrottling, "throttle_count"),
    ],
)
def test_what_is_not_there_has_a_reason_and_no_value(probe: type, field: str, tmp_path: Path) -> None:
    made = probe(tmp_path)
    assert made.start()[field]
    assert made.sample() == {}


def test_the_temperature_is_the_packages_where_a_sensor_says_so(put: Put, tmp_path: Path) -> None:
    put("sys/class/hwmon/hwmon0/name", "nvme\n")
    put("sys/class/hwmon/hwmon0/temp1_input", "99000\n")
    put("sys/class/hwmon/hwmon1/name", "coretemp\n")
    put("sys/class/hwmon/hwmon1/temp1_input", "61000\n")
    put("sys/class/hwmon/hwmon1/temp1_label", "Package id 0\n")
    put("sys/class/hwmon/hwmon1/temp2_input", "72000\n")
    put("sys/class/hwmon/hwmon1/temp2_label", "Core 0\n")
    probe = CpuTemperature(tmp_path)
    assert probe.start() == {}
    assert probe.sample() == {"temperature": 61.0}


def test_the_temperature_comes_from_a_thermal_zone_where_there_is_no_chip(put: Put, tmp_path: Path) -> None:
    put("sys/class/thermal/thermal_zone0/type", "wifi\n")
    put("sys/class/thermal/thermal_zone0/temp", "30000\n")
    put("sys/class/thermal/thermal_zone1/type", "cpu-thermal\n")
    put("sys/class/thermal/thermal_zone1/temp", "48500\n")
    probe = CpuTemperature(tmp_path)
    assert probe.start() == {}
    assert probe.sample() == {"temperature": 48.5}


def test_throttling_counters_of_a_core_and_a_package_count_once(put: Put, tmp_path: Path) -> None:
    for cpu, core in ((0, 0), (1, 1), (2, 0), (3, 1)):  # two hardware threads a core
        folder = f"sys/devices/system/cpu/cpu{cpu}"
        put(f"{folder}/topology/core_id", str(core))
        put(f"{folder}/topology/physical_package_id", "0")
        put(f"{folder}/thermal_throttle/core_throttle_count", str(10 + core))
        put(f"{folder}/thermal_throttle/package_throttle_count", "5")
    probe = CpuThrottling(tmp_path)
    assert probe.start() == {}
    assert probe.sample() == {"throttle_count": 10 + 11 + 5}

"""CPU, memory, pressure, RAPL and Raspberry Pi probes on a fake root of /proc and /sys."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.hardware.cpu import CpuFrequency, CpuTemperature, CpuThrottling, CpuTime
from pytest_llmbench.hardware.memory import Memory, Pressure
from pytest_llmbench.hardware.rapl import Rapl
from pytest_llmbench.hardware.raspberry import RaspberryThrottling, reasons_between

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
        (Pressure, "cpu_pressure"),
        (Rapl, "package_energy"),
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


def zone(put: Put, folder: str, name: str, energy: int, limit: int = 1_000_000) -> Path:
    put(f"sys/class/powercap/{folder}/name", name + "\n")
    put(f"sys/class/powercap/{folder}/max_energy_range_uj", f"{limit}\n")
    return put(f"sys/class/powercap/{folder}/energy_uj", f"{energy}\n")


def test_rapl_counts_each_package_once_and_nothing_inside_or_around_it(put: Put, tmp_path: Path) -> None:
    zone(put, "intel-rapl:0", "package-0", 2_000_000)
    zone(put, "intel-rapl:0:0", "core", 1)
    zone(put, "intel-rapl:1", "package-1", 3_000_000)
    zone(put, "intel-rapl:2", "psys", 9_000_000)
    zone(put, "intel-rapl-mmio:0", "package-0", 2_000_000)
    probe = Rapl(tmp_path)
    assert probe.start() == {}
    assert probe.sample() == {"package0_energy": 2.0, "package1_energy": 3.0}


def test_rapl_goes_on_when_its_counter_starts_again(put: Put, tmp_path: Path) -> None:
    counter = zone(put, "intel-rapl:0", "package-0", 900_000, limit=1_000_000)
    probe = Rapl(tmp_path)
    probe.start()
    for value in (950_000, 50_000, 100_000, 20_000):
        counter.write_text(f"{value}\n")
        last = probe.sample()["package0_energy"]
    assert last == pytest.approx(2.02)


def test_rapl_for_root_alone_is_a_reason_that_says_what_to_do(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(put, "intel-rapl:0", "package-0", 1)
    real = os.open

    def deny(path: Path | str, *rest: int) -> int:
        if str(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest)

    monkeypatch.setattr("pytest_llmbench.hardware.probes.os.open", deny)
    probe = Rapl(tmp_path)
    assert "chmod" in probe.start()["package_energy"]
    assert probe.sample() == {}


def test_the_raspberrys_bits_are_read_from_sysfs(put: Put, tmp_path: Path) -> None:
    put("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    probe = RaspberryThrottling(tmp_path)
    assert probe.start() == {}
    assert probe.sample() == {"pi_throttled": 0x50005}


def test_the_raspberrys_bits_are_read_from_vcgencmd_where_sysfs_has_none(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("bin/vcgencmd", "#!/bin/sh\necho throttled=0x20002\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    probe = RaspberryThrottling(tmp_path)
    assert probe.start() == {}
    assert probe.methods == {"pi_throttled": "vcgencmd"}
    assert probe.sample() == {"pi_throttled": 0x20002}


def test_a_sticky_bit_of_the_raspberry_counts_only_when_it_is_new() -> None:
    assert reasons_between(0x50000, 0x50000) == []
    assert reasons_between(0x50000, 0x50002) == ["frequency_capped"]
    assert reasons_between(0x10000, 0x10000, 0x50000) == ["throttled"]

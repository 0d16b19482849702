"""Does RAPL's energy count every package once, and go on when a counter starts again?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.hardware.rapl import Rapl

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and /sys")
Put = Callable[[str, str], Path]


def test_what_is_not_there_has_a_reason_and_no_value(tmp_path: Path) -> None:
    made = Rapl(tmp_path)
    assert made.start()["package_energy"]
    assert made.sample() == {}


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

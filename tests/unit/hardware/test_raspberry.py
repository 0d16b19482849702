"""Are the Raspberry Pi's bits of throttling read, and what they say between two readings?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmbench.hardware.raspberry import RaspberryThrottling, reasons_between

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and /sys")
Put = Callable[[str, str], Path]


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

"""What is known of hardware, and of what it costs?"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from pytest_llmbench.catalog.hardware import read_devices
from pytest_llmbench.errors import UsageError

OWN = """\
hardware:
  L4:
    memory: 24
    date: 2026-11-01
    prices:
      - {provider: mine, usd_per_hour: 0.2, market: spot, date: 2026-11-01, source: invoice}
      - {provider: mine, usd_per_hour: 4, devices: 8, date: 2026-11-01, source: invoice}
  box: {memory: 96, power: 300, date: 2026-11-01}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "hardware.yaml"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_every_figure_that_is_shipped_has_a_source_and_a_date() -> None:
    devices = read_devices()
    for label, row in devices.rows.items():
        assert row.source, label
        for price in row.prices:
            assert price.source.startswith("https://"), label
            assert date(2020, 1, 1) < price.date <= date.today(), label


def test_devices_are_known_by_label_and_by_what_drivers_call_them() -> None:
    devices = read_devices()
    assert devices.find("NVIDIA A100-SXM4-80GB") is devices.find("a100-80gb") is devices.rows["A100-80GB"]
    assert devices.memory("H100", 2) == 2 * 80 * 2**30
    assert devices.find("cpu") is devices.memory("cpu", 1) is devices.price("cpu") is None


def test_a_price_is_that_of_one_device_times_how_many() -> None:
    devices = read_devices()
    price = devices.price("H100")
    assert price is not None
    assert price.each == price.usd_per_hour / 8
    assert devices.usd_per_hour("H100", 4) == pytest.approx(price.usd_per_hour / 2)


def test_a_price_of_another_market_is_none(own: Path) -> None:
    assert read_devices().usd_per_hour("L4", 1, "spot") is None
    devices = read_devices(own)
    assert devices.usd_per_hour("L4", 2, "spot") == 0.4
    assert devices.usd_per_hour("L4", 2) == 1.0


def test_a_file_replaces_whole_labels_and_adds_others(own: Path) -> None:
    devices = read_devices(own)
    row = devices.find("l4")
    assert row is not None
    assert row.power is None
    assert devices.memory("box", 1) == 96 * 2**30
    assert devices.find("H100") is not None
    price = devices.price("L4")
    assert price is not None
    assert price.days_old(date(2026, 11, 28)) == 27


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "this is not valid YAML"),
        ("", "the file"),
        ("hardware: {L4: {date: 2026-01-01, memory: 0}}", "hardware.L4.memory"),
        ("hardware: {L4: {memory: 1}}", "hardware.L4.date"),
        ("hardware: {L4: {date: 2026-01-01, price: 1}}", "hardware.L4.price: Extra inputs"),
        ("hardware: {L4: {date: x, memory: .nan}}", "hardware.L4"),
        ("a: &x 1\nb: *x\n", "anchors and aliases"),
        ("hardware: {L4: {date: 2026-01-01, prices: [{usd_per_hour: -1}]}}", "hardware.L4.prices.0"),
    ],
)
def test_a_file_that_is_not_valid_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "h.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        read_devices(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_devices(tmp_path / "absent")
    (tmp_path / "large").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read_devices(tmp_path / "large")

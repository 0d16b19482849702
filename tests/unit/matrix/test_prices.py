"""Which price holds for the hardware of a cell?"""

from __future__ import annotations

import datetime

from pytest_llmbench.catalog.hardware import Device, Devices, Price
from pytest_llmbench.matrix.prices import hourly
from pytest_llmbench.results.cell import Hardware

TODAY = datetime.date(2026, 11, 28)
DEVICES = Devices.of(
    {
        "L4": Device(
            date=TODAY,
            prices=(
                Price(provider="a", usd_per_hour=2.0, devices=2, date=TODAY, source="a bill"),
                Price(provider="a", usd_per_hour=0.25, market="spot", date=TODAY, source="a bill"),
            ),
        )
    }
)


def test_it_is_that_of_the_market_and_of_all_devices() -> None:
    price = hourly(DEVICES)
    assert price(Hardware("L4")) == 1.0
    assert price(Hardware("L4", 4, "on_demand")) == 4.0
    assert price(Hardware("L4", 4, "spot")) == 1.0
    assert price(Hardware("H100")) is None

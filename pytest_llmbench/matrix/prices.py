"""What does an hour of the hardware of a matrix cost?"""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmbench.catalog.hardware import Devices
from pytest_llmbench.results.cell import Hardware

Hourly = Callable[[Hardware], float | None]
"""US dollars an hour of all devices; None where that is not known."""


def hourly(devices: Devices) -> Hourly:
    """At the lowest prices that are known, on demand where no market is said."""
    return lambda hardware: devices.usd_per_hour(
        hardware.name, hardware.count, hardware.market or "on_demand"
    )

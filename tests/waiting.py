"""How does a test wait for what has to come?"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Ask until *condition* holds; how long that takes is the machine's affair."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain")
        time.sleep(0.02)

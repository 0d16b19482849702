"""What else is a setting called?"""

from __future__ import annotations

from pytest_llmbench.settings.case import SETTINGS


def short_names() -> dict[str, str]:
    """What a suite without a version may call a setting to its key."""
    return {name: row.key for row in SETTINGS.values() for name in row.short}


def other_names() -> dict[str, str]:
    """What other tools call a setting to its key."""
    called = {name: row.key for row in SETTINGS.values() for name in row.also}
    return called | {name.replace("_", "-"): key for name, key in short_names().items()}

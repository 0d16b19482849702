"""What does one place say of the settings, and from where are its paths meant?"""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Source(dict[str, Any]):
    """What one place says of the settings, by key, and from where its paths are meant."""

    folder: Path | None = None
    """None: from the working directory."""


def folder_of(settings: object) -> Path | None:
    """From where the paths in *settings* are meant; None where they say nothing of it."""
    return getattr(settings, "folder", None)

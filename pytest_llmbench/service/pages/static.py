"""Which files does a page load, and from where?

Nothing comes from another host. A file's address has a part of its hash, so that a browser keeps it for as
long as it stays what it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

PREFIX = "/static/"
KEPT = "public, max-age=31536000, immutable"
"""Of a file that is asked for with its hash."""

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""What is served, and as what; the other files of the folders (licenses) are not."""

FOLDERS = ("report/page/static", "service/static")
"""Of the package. The first has what a report has too: its style, the charts and the tables."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is served."""

    name: str
    content: bytes
    media_type: str
    digest: str
    """The first 16 digits of its SHA-256."""

    @property
    def address(self) -> str:
        """Where a page finds it."""
        return f"{PREFIX}{self.name}?v={self.digest}"


@cache
def static_files() -> dict[str, StaticFile]:
    """Every file that pages load, by its name."""
    root = files("pytest_llmbench")
    found = (one for folder in FOLDERS for one in _listed(root.joinpath(*folder.split("/"))))
    return {one.name: one for one in sorted(map(_read, found), key=lambda one: one.name)}


def _listed(folder: Traversable) -> list[Traversable]:
    if not folder.is_dir():
        return []
    return [one for one in folder.iterdir() if one.is_file() and _suffix(one.name) in TYPES]


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2]}"


def _read(file: Traversable) -> StaticFile:
    content = file.read_bytes()
    return StaticFile(file.name, content, TYPES[_suffix(file.name)], hashlib.sha256(content).hexdigest()[:16])

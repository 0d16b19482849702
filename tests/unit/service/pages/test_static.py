"""Does a page load what was pinned, and nothing else?"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from pytest_llmbench.service.pages.static import TYPES, static_files

HTMX = "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
"""SHA-256 of htmx.min.js of the package htmx.org 4.0.1."""


def test_htmx_is_the_release_that_was_looked_at() -> None:
    assert hashlib.sha256(static_files()["htmx.min.js"].content).hexdigest() == HTMX


def test_its_license_comes_with_it() -> None:
    folder = files("pytest_llmbench").joinpath("service", "static")

    assert "Zero-Clause BSD" in folder.joinpath("htmx.LICENSE").read_text()
    assert "htmx.LICENSE" not in static_files()


def test_an_address_changes_with_the_file() -> None:
    for file in static_files().values():
        assert file.address == f"/static/{file.name}?v={hashlib.sha256(file.content).hexdigest()[:16]}"
        assert file.media_type in TYPES.values()

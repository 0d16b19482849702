"""Which versions of an engine's packages are installed?

The header of every pytest run asks, so the metadata, which ends in a whole README, is not parsed.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution

_VERSION = re.compile(r"^Version:\s*(\S+)", re.MULTILINE)


def installed_versions(*names: str) -> dict[str, str]:
    """Distribution name to version, of those of *names* that are installed, in their order."""
    found = {}
    for name in names:
        try:
            there = distribution(name)
        except PackageNotFoundError:
            continue
        # A checkout that was built in its folder has the latter.
        metadata = there.read_text("METADATA") or there.read_text("PKG-INFO") or ""
        if match := _VERSION.search(metadata):
            found[name] = match[1]
    return found

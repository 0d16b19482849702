"""Is there the part of the hot path that is written in C?

A package that was built without a C compiler does not have it, and the client takes more CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from array import array

    from pytest_llmbench.client.segments import Arrived, Segment

NO_EXTENSIONS = "LLMBENCH_NO_EXTENSIONS"
"""Environment variable; with any value nothing that was built from C is used."""

receive: Callable[[int, dict[int, list[Segment]], array[int], int], list[Arrived]] | None = None
skip_chunks: Callable[[bytes, int], int] | None = None

if not os.environ.get(NO_EXTENSIONS):
    # What an older source was built to has another name for the first, and is not used.
    with suppress(ImportError, AttributeError):
        from pytest_llmbench.client import _native

        receive, skip_chunks = _native.receive_within, _native.skip_chunks

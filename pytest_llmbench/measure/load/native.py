"""Is there the part of the hot path that is written in C?

Where the package was built without a C compiler there is not, and the client takes more CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.measure.load.flight import Segment
    from pytest_llmbench.measure.load.receiver import Arrived

NO_EXTENSIONS = "LLMBENCH_NO_EXTENSIONS"
"""Environment variable; with any value nothing that was built from C is used."""

receive: Callable[[int, dict[int, list[Segment]], int], list[Arrived]] | None = None
skip_chunks: Callable[[bytes, int], int] | None = None

if not os.environ.get(NO_EXTENSIONS):
    with suppress(ImportError):
        from pytest_llmbench.measure.load._native import receive as receive
        from pytest_llmbench.measure.load._native import skip_chunks as skip_chunks

"""How many compute threads is an honest default on this machine?

One core stays free: compute threads spin at barriers, so a single other busy process on the last
core slows all of them many times over, and pytest, the sampler and the system need a core as well.
"""

from __future__ import annotations

from pytest_llmbench.hardware.cores import usable_cores

THREADS = "n_threads"
"""What every engine's option for it is called."""


def default_threads() -> int:
    """Physical cores that this process may use, minus one, at least one.

    What it may use is bounded by its CPU affinity and by the CPU quota of its control groups.
    """
    return max(1, usable_cores() - 1)

"""What was the machine like while something was measured?"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

_STAT = Path("/proc/stat")
_IDLE = (3, 4)
_STEAL = 7
_TIMES = 8
"""What follows is in the first ones already: guests' time."""


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """One span of time on the machine."""

    seconds: float
    steal: float | None
    """Of the CPU time that the machine wanted, the share that the hypervisor gave to others; None where the
    kernel does not tell."""
    load: float
    """The load average of the last minute, at the end: how many processes ran or wanted to, ours too."""

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)


class Watch:
    """Sees what the machine does, from now on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._before = cpu_ticks()

    def seen(self) -> Meanwhile:
        """Until now."""
        return Meanwhile(
            time.monotonic() - self._began, stolen(self._before, cpu_ticks()), os.getloadavg()[0]
        )


def cpu_ticks() -> list[int] | None:
    """The CPU times of the machine since its start, from ``/proc/stat``: user, nice, system, idle, ..."""
    try:
        return [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1 : _TIMES + 1]]
    except (OSError, ValueError):
        return None


def stolen(before: Sequence[int] | None, after: Sequence[int] | None) -> float | None:
    """The share of steal between two readings, of the time in which a CPU was wanted."""
    if before is None or after is None or min(len(before), len(after)) <= _STEAL:
        return None
    grown = [b - a for a, b in zip(before, after, strict=True)]
    wanted = sum(grown) - sum(grown[i] for i in _IDLE)
    return grown[_STEAL] / wanted if wanted > 0 else 0.0


HEADS = ("steal", "load")
"""The columns of :func:`columns`."""


def columns(spans: Sequence[Meanwhile]) -> tuple[str, str]:
    """Mean and highest steal, and the mean load average, of all *spans*."""
    if not spans:
        return "–", "–"
    steals = [one.steal for one in spans if one.steal is not None]
    steal = f"{fmean(steals):.1%} (≤ {max(steals):.1%})" if steals else "not known"
    return steal, f"{fmean(one.load for one in spans):.1f}"

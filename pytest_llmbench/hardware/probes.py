"""What must a source of hardware figures offer so that the sampler can read it?

A probe reads one source. The sampler process makes the probes, asks each once what it cannot
read, then reads it beat after beat. A reading is flat, in SI units:

- a gauge is a value as it is now: ``rss`` (bytes), ``gpu0_power`` (W), ``temperature`` (degrees
  Celsius), ``gpu0_clock_sm`` (Hz), ``gpu0_utilization`` (percent);
- a counter only grows and ends in ``_time`` (s), ``_energy`` (J), ``_bytes`` or ``_count``, or
  has that before ``_coreN``. Rates come from counters later, in the reading process
  (:mod:`pytest_llmbench.hardware.summary`).

Third parties add probes with the entry point group ``pytest_llmbench.probes``; each entry point
is called without arguments in the sampler process and returns a probe.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

SLOW = 1.0
"""Seconds between two reads of a source that changes slowly or is expensive to read."""
STOPPED = "stopped"
"""Begins the reason of a source that could be read at first."""


class Probe(Protocol):
    """One source of hardware figures."""

    name: str
    """Lower case, no spaces; stands for the whole source among the reasons."""
    every: float
    """Seconds between two reads; 0 reads at every beat."""
    at_edges: bool
    """Also read when the monitor asks for an edge; true for cheap counters."""
    methods: dict[str, str]
    """Field to how it is read, where there are several ways; filled by :meth:`start`."""

    def start(self) -> Mapping[str, str]:
        """Open the source. Returns field to reason for all that cannot be read on this machine."""

    def sample(self) -> Mapping[str, float]:
        """Read now. What cannot be read is left out, never 0.

        An exception ends the probe, with the exception as the reason; the others go on.
        """


class KernelFile:
    """A file of /proc or /sys that is opened once and read again and again from its start."""

    __slots__ = ("_fd",)

    def __init__(self, path: Path | str) -> None:
        self._fd = os.open(path, os.O_RDONLY)

    def read(self) -> bytes:
        """The content now, 64 KiB at most.

        :raises OSError: for one, ESRCH when the process that the file is about is gone.
        """
        return os.pread(self._fd, 65536, 0)

    def number(self) -> int:
        """The content as one whole number."""
        return int(self.read())

    def close(self) -> None:
        """Give the file descriptor back."""
        os.close(self._fd)


def why(error: BaseException) -> str:
    """An exception as a reason that a person can read."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"

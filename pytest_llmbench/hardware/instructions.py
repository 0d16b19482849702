"""How many instructions did this process run?

The CPU counts them, and ``perf_event_open(2)`` reads the count: of this process alone, of what runs in
user space, with every thread and process that is started later. Unlike a time it does not depend on
the clock's frequency or on other programs, so that two runs of the same work differ by little. Threads
that wait in a loop for each other do count: with several of them the number varies.

Only the standard library is imported: the engine's process may be one of another environment.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HARDWARE_INSTRUCTIONS = (0, 1)
"""PERF_TYPE_HARDWARE and PERF_COUNT_HW_INSTRUCTIONS."""

_NUMBERS = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "ppc64le": 319, "s390x": 331, "i686": 336}
"""The system call's number by machine."""
_INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 1, 1 << 5, 1 << 6
_TIMES = 1 | 2
"""Read with the times for which the event was enabled and for which it was counted."""
_CLOSE_ON_EXEC = 8
_READING = struct.Struct("=QQQ")
_PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")

Open = Callable[[bytes], int]
"""Opens the event that a ``perf_event_attr`` describes, on this process. Returns its file descriptor."""


class Reading(NamedTuple):
    """The counter at one moment; times are nanoseconds, of all threads together."""

    value: int
    enabled: int
    running: int

    def until(self, end: Reading | None) -> int | None:
        """How many came between this and *end*.

        None if the counter had to be shared meanwhile, or did not count on every kind of core: what
        it saw is then a part that can only be guessed from.
        """
        if end is None or end.running - self.running < end.enabled - self.enabled:
            return None
        return end.value - self.value


class InstructionCounter:
    """A counter that runs. Use :func:`open_counter`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self) -> Reading | None:
        """The counter now, with all threads that were started since it was opened."""
        try:
            data = os.read(self._fd, _READING.size)
        except OSError:
            return None
        return Reading(*_READING.unpack(data)) if len(data) == _READING.size else None

    def close(self) -> None:
        """Give the file descriptor back."""
        os.close(self._fd)


def open_counter(
    event: tuple[int, int] = HARDWARE_INSTRUCTIONS, open_event: Open | None = None
) -> tuple[InstructionCounter | None, str | None]:
    """The counter, or None and the reason why it is not available.

    It counts the thread that opens it and what this starts from then on, so it has to be opened before
    the engine starts its threads. It takes no privilege where ``kernel.perf_event_paranoid`` is 2 or
    less.

    :param event: the kind and the number of the event, as in ``perf_event_attr``.
    """
    if open_event is None:
        if not sys.platform.startswith("linux"):
            return None, "only Linux counts instructions for a single process"
        if platform.machine() not in _NUMBERS:
            return None, f"the number of perf_event_open is not known for {platform.machine()}"
        open_event = _perf_event_open
    kind, config = event
    flags = _INHERIT | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    # The first version of perf_event_attr: 64 bytes, which every kernel takes.
    attributes = struct.pack("=IIQQQQQIIQ", kind, 64, config, 0, 0, _TIMES, flags, 0, 0, 0)
    try:
        return InstructionCounter(open_event(attributes)), None
    except OSError as error:
        return None, _why(error)


def _perf_event_open(attributes: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    number = ctypes.c_long(_NUMBERS[platform.machine()])
    # Of this thread and its children (0), on any core (-1), in no group (-1).
    fd = libc.syscall(
        number,
        ctypes.c_char_p(attributes),
        ctypes.c_int(0),
        ctypes.c_int(-1),
        ctypes.c_int(-1),
        ctypes.c_ulong(_CLOSE_ON_EXEC),
    )
    if fd < 0:
        number_of_error = ctypes.get_errno()
        raise OSError(number_of_error, os.strerror(number_of_error))
    return int(fd)


def _why(error: OSError) -> str:
    """Why there is no counter, and what would give one."""
    said = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        try:
            level = int(_PARANOID.read_text())
        except (OSError, ValueError):
            level = 0
        if level > 2:
            return f"{said}: kernel.perf_event_paranoid is {level}, and 2 or less is needed"
        return f"{said}: a container's seccomp profile forbids perf_event_open"
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
        return "this machine has no instruction counter; most virtual machines have none"
    return said

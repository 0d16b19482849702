"""Why did a server not start, in words that a user can do something with, and without their keys?"""

from __future__ import annotations

import os
import re
from typing import BinaryIO

from pytest_llmbench.errors import printable
from pytest_llmbench.processes.endings import OF_MEMORY, was_killed
from pytest_llmbench.secrets import mask

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\x1b\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)")
"""Colors, moves of the cursor and titles: what programs write to a terminal and means nothing in a log."""
_PORT_TAKEN = re.compile(
    r"address already in use|EADDRINUSE|couldn't bind|port is already allocated|port \S+ is in use",
    re.IGNORECASE,
)
_NO_MODULE = re.compile(r"No module named '?([\w.]+)|Missing dependencies for serving")
_NO_MEMORY = re.compile(
    r"out of memory|OutOfMemory|MemoryError|Cannot allocate memory|bad_alloc|memory .{0,80} is less than",
    re.IGNORECASE,
)
_ERROR = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception): \S.*|error: \S.*)$", re.IGNORECASE)
_LESS_MEMORY = "try a shorter context, a smaller model or quantization, or fewer requests at once"
_LONGEST = 300
"""Characters of one line that are shown."""
_MOST_READ = 2 * 2**20
"""Bytes at the end of a log that are looked at."""


def tail(log: BinaryIO, *, lines: int = 20) -> str:
    """The last lines of a log that have text, without colors and keys."""
    found = _lines(log)[-lines:]
    return "\n".join(mask(line)[:_LONGEST] for line in found)


def errors_named(log: BinaryIO, *, most: int = 3) -> list[str]:
    """The last few different lines of a log that name an error, in their order.

    The very last is often only what followed from one before it, in another process.
    """
    found: dict[str, None] = {}
    for line in _lines(log):
        if match := _ERROR.search(line):
            error = mask(match[1])[:_LONGEST]
            found.pop(error, None)
            found[error] = None
    return list(found)[-most:]


def port_was_taken(log: BinaryIO) -> bool:
    """Whether the server found its port in use."""
    return any(_PORT_TAKEN.search(line) for line in _lines(log))


def missing_module(log: BinaryIO) -> str | None:
    """What Python did not find, where that is how the log ends."""
    for line in reversed(_lines(log)[-5:]):
        if match := _NO_MODULE.search(line):
            return match[1] or "what serving needs"
    return None


def advice(status: int | None, log: BinaryIO) -> str:
    """What may help, as the end of a sentence; empty where nothing is known."""
    if was_killed(status):
        return f"; {OF_MEMORY}: {_LESS_MEMORY}"
    if any(_NO_MEMORY.search(line) for line in _lines(log)):
        return f"; memory ran out: {_LESS_MEMORY}"
    return ""


def _lines(log: BinaryIO) -> list[str]:
    # By pread: the server writes through the same file description, and its place must not move.
    size = os.fstat(log.fileno()).st_size
    first = max(0, size - _MOST_READ)
    text = os.pread(log.fileno(), size - first, first).decode(errors="replace")
    return [printable(line.rstrip()) for line in _ESCAPES.sub("", text).split("\n") if line.strip()]

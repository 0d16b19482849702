"""Why did a server not start, in words that a user can do something with, and without their keys?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO

from pytest_llmbench.endings import OF_MEMORY, was_killed
from pytest_llmbench.printable import printable

HIDDEN = "***"
_SECRET_NAME = re.compile(r"(^|[-_])(key|token|secret|password)$", re.IGNORECASE)
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


def hide(command: Sequence[str], hidden: Iterable[str] = ()) -> list[str]:
    """*command* without the values of options that hold keys, and without *hidden* anywhere."""
    shown: list[str] = []
    secret = False
    for word in command:
        name, equals, _ = word.partition("=")
        if word.startswith("-"):
            secret = _is_secret(name)
            shown.append(f"{name}={HIDDEN}" if secret and equals else word)
        elif equals and _is_secret(name):
            shown.append(f"{name}={HIDDEN}")
        else:
            shown.append(HIDDEN if secret else word)
    return [_without(word, hidden) for word in shown]


def secrets(command: Sequence[str], environment: Mapping[str, str]) -> set[str]:
    """The keys in a command and in the variables of its process."""
    pairs = zip(command, hide(command), strict=True)
    found = {word.partition("=")[2] or word for word, shown in pairs if word != shown}
    found |= {value for name, value in environment.items() if _is_secret(name)}
    # Shorter ones would make any text unreadable.
    return {value.strip() for value in found if len(value.strip()) >= 6}


def tail(log: BinaryIO, hidden: Iterable[str], *, lines: int = 20) -> str:
    """The last lines of a log that have text, without colours and keys."""
    found = _lines(log)[-lines:]
    return _without("\n".join(line[:_LONGEST] for line in found), hidden)


def errors_named(log: BinaryIO, hidden: Iterable[str], *, most: int = 3) -> list[str]:
    """The last few different lines of a log that name an error, in their order.

    The very last is often only what followed from one before it, in another process.
    """
    found: dict[str, None] = {}
    for line in _lines(log):
        if match := _ERROR.search(line):
            error = _without(match[1][:_LONGEST], hidden)
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


def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name.lstrip("-")) is not None


def _without(text: str, hidden: Iterable[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, HIDDEN)
    return text


def _lines(log: BinaryIO) -> list[str]:
    # By pread: the server writes through the same file description, and its place must not move.
    size = os.fstat(log.fileno()).st_size
    first = max(0, size - _MOST_READ)
    text = os.pread(log.fileno(), size - first, first).decode(errors="replace")
    return [printable(line.rstrip()) for line in _ESCAPES.sub("", text).split("\n") if line.strip()]

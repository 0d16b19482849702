"""Who drives a matrix? One process at a time, for as long as it lives."""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

from pytest_llmbench.errors import ResultsError, UsageError, one_line
from pytest_llmbench.results.files import lock, make_folder, results_error

_LOCK = "lock"
_TRIES = 10
_BETWEEN = 0.05
"""Seconds: who only looks whether it is held has it for a moment."""
_LONGEST = 1024


class MatrixLock:
    """The right to drive a matrix, which goes with the process; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LOCK
        self._fd = -1

    def __enter__(self) -> MatrixLock:
        """Take it.

        :raises UsageError: if another process has it, saying who.
        :raises ResultsError: if the folder cannot be written, or its file system has no locks.
        """
        make_folder(self._path.parent)
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise results_error("write", self._path, error) from error
        for left in reversed(range(_TRIES)):
            held = lock(self._fd)
            if held:
                break
            if held is None:
                self._close()
                msg = (
                    f"{self._path} cannot be locked, so that two drivers could measure at once; use a store "
                    "on another file system"
                )
                raise ResultsError(msg)
            if not left:
                who = _who(self._path)
                self._close()
                msg = (
                    f"matrix {self._path.parent.name} is being run already{who}: end that first; 'llmbench "
                    "matrix status' shows how far it is"
                )
                raise UsageError(msg)
            time.sleep(_BETWEEN)
        told = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode()
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, told, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_driven(folder: Path) -> bool:
    """Whether a process drives the matrix of a folder now."""
    try:
        fd = os.open(folder / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return lock(fd) is False
    finally:
        os.close(fd)


def _who(path: Path) -> str:
    """`` by process 4711 on host a``; empty where that is not known."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        with path.open("rb") as file:
            told = json.loads(file.read(_LONGEST))
        return f" by process {int(told['pid'])} on {one_line(str(told['host']), 60)}"
    return ""

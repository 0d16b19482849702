"""Who drives a matrix? One process at a time, for as long as it lives; or one for each batch.

Who drives all of it has ``STORE/matrix/NAME/lock`` alone. Who drives a batch shares that with those of other
batches, and has ``lock-BATCH`` alone. The kernel takes a lock away when its process ends.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pytest_llmbench.errors import ResultsError, UsageError, one_line
from pytest_llmbench.results.files import make_folder, results_error

_TRIES = 6
_BETWEEN = 0.05
"""Seconds: who only looks whether a lock is held has it for a moment."""
_LONGEST = 1024


class DrivenError(UsageError):
    """Another process drives the matrix, or the batch."""


@contextmanager
def driving(folder: Path, part: str | None = None) -> Iterator[None]:
    """Be the one that drives a matrix, by its folder.

    :param part: the batch, as its files are called; None for all of the matrix.
    :raises DrivenError: if another process does, saying which.
    :raises ResultsError: if the folder cannot be written, or its file system has no locks.
    """
    make_folder(folder)
    with ExitStack() as held:
        whole = lock_path(folder, None)
        if part is None:
            fd = _take(held, whole, f"matrix {folder.name}", alone=True)
        else:
            _take(held, whole, f"matrix {folder.name}", alone=False)
            fd = _take(held, lock_path(folder, part), f"batch {part} of matrix {folder.name}", alone=True)
        told = json.dumps({"pid": os.getpid(), "host": platform.node()}).encode()
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, told, 0)
        yield


def is_driven(folder: Path, part: str | None = None) -> bool:
    """Whether a process drives all of a matrix now, or a batch."""
    import fcntl

    path = lock_path(folder, part)
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Those of batches share the lock of the whole.
        return not _try(fd, fcntl.LOCK_SH)
    except OSError:
        return False
    finally:
        os.close(fd)


def lock_path(folder: Path, part: str | None) -> Path:
    """The file that is locked."""
    return folder / ("lock" if part is None else f"lock-{part}")


def _take(held: ExitStack, path: Path, what: str, *, alone: bool) -> int:
    import fcntl

    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        held.callback(os.close, fd)
    except OSError as error:
        raise results_error("write", path, error) from error
    for _ in range(_TRIES):
        try:
            if _try(fd, fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
                return fd
        except OSError as error:
            msg = (
                f"{path} cannot be locked ({error.strerror}), so that two drivers could measure at once; use "
                "a store on another file system"
            )
            raise ResultsError(msg) from None
        time.sleep(_BETWEEN)
    how_far = "'llmbench matrix status' shows how far it is"
    msg = f"{what} is being run already{_who(path)}: end that first; {how_far}"
    raise DrivenError(msg)


def _try(fd: int, how: int) -> bool:
    """:raises OSError: where the file system has no locks."""
    import fcntl

    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _who(path: Path) -> str:
    """`` by process 4711 on host a``; empty where that is not known."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        with path.open("rb") as file:
            told = json.loads(file.read(_LONGEST))
        return f" by process {int(told['pid'])} on {one_line(str(told['host']), 60)}"
    return ""

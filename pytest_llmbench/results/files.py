"""How is a file written so that neither a kill nor a full disk spoils it?"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from pytest_llmbench.errors import ResultsError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space, or write to another disk",
    errno.EDQUOT: "the disk quota is used up: free some space, or write to another disk",
    errno.EACCES: "writing is not permitted here: change the folder's permissions, or name another folder",
    errno.EPERM: "writing is not permitted here: change the folder's permissions, or name another folder",
    errno.EROFS: "the file system is read-only: name a folder on another one",
    errno.ENOTDIR: "a part of the path is a file, not a folder: name another path",
    errno.EEXIST: "a file has the name of the folder that is needed: name another path",
    errno.EISDIR: "this is a folder: name a file in it",
    errno.ENOENT: "a part of the path does not exist",
    errno.ENAMETOOLONG: "the name is too long for this file system: choose a shorter one",
}


def results_error(what: str, path: Path, error: OSError) -> ResultsError:
    """A :class:`ResultsError` that says what failed, where, why, and what to do."""
    advice = _ADVICE.get(error.errno or 0, "check the disk and the path")
    return ResultsError(f"cannot {what} {path}: {error.strerror or error}; {advice}")


def make_folder(path: Path) -> None:
    """Create the folder *path* and those above it.

    :raises ResultsError: if it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise results_error("create the folder", path, error) from error


MAX_FILE = 2**30
"""Bytes of a document or journal that are read: a thousand times what a long session writes."""


def read_bounded(path: Path, what: str) -> bytes:
    """What is in a file, that anybody may have written.

    :param what: what messages call it.
    :raises ResultsError: if it cannot be read, or is longer than :data:`MAX_FILE`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise results_error(f"read {what}", path, error) from error
    if len(data) > MAX_FILE:
        msg = f"{path} is longer than {MAX_FILE // 2**20} MiB, and no results are; it is not read"
        raise ResultsError(msg)
    return data


def is_plain_file(path: Path) -> bool:
    """Whether there is a file itself: no link to one elsewhere, no folder, no pipe."""
    return path.is_file() and not path.is_symlink()


def lock(fd: int) -> bool | None:
    """Lock an open file for as long as it is open; False where another process holds it, None where none can.

    The lock goes with the process, however it ends.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def take_name(hidden: Path, path: Path) -> None:
    """Give the file *hidden* the name *path*, which no other file has.

    :raises FileExistsError: if there is one.
    """
    try:
        os.link(hidden, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links; names have random digits.
        if os.path.lexists(path):
            raise
        hidden.rename(path)
    else:
        hidden.unlink()


def write_all(fd: int, data: bytes) -> None:
    """Write the whole of *data*; a short write is followed by another, which shows its cause."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def atomic_write(path: Path, data: bytes) -> None:
    """Put *data* at *path*: whole, or not at all.

    The bytes go to a file beside it and to the disk, and only then take the name. A link is
    followed; a device or a pipe is written to and not replaced.

    :raises ResultsError: if it cannot be written. What was at *path* before is still there, and
        no other file was left.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        _write_in_place(path, data)
        return
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise results_error("write", path, error) from error
        raise
    _sync_folder(path.parent)


def _write_in_place(path: Path, data: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
    except OSError as error:
        raise results_error("write", path, error) from error


def _sync_folder(folder: Path) -> None:
    """Have the new name survive a power cut; not every system can sync a folder."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

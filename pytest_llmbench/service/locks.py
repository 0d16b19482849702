"""Who measures on a device? One process, which holds a lock that the kernel frees when it dies.

Beside SQLite it is ``flock`` on a file of its folder, in PostgreSQL an advisory lock of a connection. There
is no clock in it: a worker that is stopped for a while keeps its device, and one that was killed has lost it.
``flock`` is of one machine: a store on a network file system needs PostgreSQL.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_llmbench.errors import ResultsError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pytest_llmbench.results.index.connection import Database

_AGAIN = 0.05
"""Seconds until a lock is asked for again that another process has."""


class Lock(Protocol):
    """The lock of one device."""

    def take(self) -> bool:
        """Take it; False if another process has it.

        :raises ResultsError: if it cannot be asked for.
        """

    def held(self) -> bool:
        """Whether it is still held: with a connection that is lost, it is lost too."""

    def free(self) -> None:
        """Let the next one have it."""


def device_lock(database: Database, device: str) -> Lock:
    """The lock of *device* among all that use *database*."""
    if database.dialect == "postgresql":
        return _AdvisoryLock(database, device)
    name = database.engine.url.database
    assert name is not None
    return _FileLock(Path(name).with_name(f"{Path(name).name}.{device}.lock"))


def wait_for(lock: Lock, stopping: Callable[[], bool]) -> bool:
    """Wait until *lock* is ours; False if we are to stop before.

    :raises ResultsError: if it cannot be asked for.
    """
    while not stopping():
        if lock.take():
            return True
        time.sleep(_AGAIN)
    return False


class _FileLock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> bool:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            msg = f"the lock {self._path} cannot be opened: {error.strerror}"
            raise ResultsError(msg) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def held(self) -> bool:
        return self._fd >= 0

    def free(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class _AdvisoryLock:
    def __init__(self, database: Database, device: str) -> None:
        self._database = database
        digest = hashlib.sha256(f"llmbench device {device}".encode()).digest()
        self._number = int.from_bytes(digest[:8], "big", signed=True)
        self._connection: Connection | None = None

    def take(self) -> bool:
        from sqlalchemy import text

        with self._database.told():
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            asked = text("SELECT pg_try_advisory_lock(:number)")
            if connection.execute(asked, {"number": self._number}).scalar_one():
                self._connection = connection
                return True
            connection.close()
            return False

    def held(self) -> bool:
        from sqlalchemy import text

        if self._connection is None:
            return False
        try:
            with self._database.told():
                self._connection.execute(text("SELECT 1"))
        except ResultsError:
            self.free()
            return False
        return True

    def free(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Its end is what frees the lock: a connection of the pool would keep it.
            connection.invalidate()
            connection.close()

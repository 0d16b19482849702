"""What is made of the index, and is made again only when that has changed?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy import func, select

from pytest_llmbench.results.index.tables import sessions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pytest_llmbench.results.index.connection import Database

T = TypeVar("T")
Version = tuple[object, ...]

_VERSION = select(
    func.count(), func.max(sessions.c.id), func.max(sessions.c.modified), func.sum(sessions.c.size)
)


def version_of(connection: Connection) -> Version:
    """It is another one when the index has changed."""
    return tuple(connection.execute(_VERSION).one())


class Indexed(Generic[T]):
    """One thing that is made of the index. Threads may share it.

    Who finds the index changed makes it anew, beside the one that is there; the others are given that one
    meanwhile, and wait only where there is none yet.
    """

    def __init__(self, make: Callable[[Database], T]) -> None:
        self._make = make
        self._making = threading.Lock()
        self._kept: tuple[Version, T] | None = None

    def get(self, database: Database) -> T:
        """What is made of the index.

        :raises ResultsError: if the database does not answer.
        """
        with database.reading() as connection:
            version = version_of(connection)
        kept = self._kept
        if kept is not None and kept[0] == version:
            return kept[1]
        if not self._making.acquire(blocking=kept is None):
            assert kept is not None
            return kept[1]
        try:
            # Somebody may have made it while this one waited.
            if (now := self._kept) is not None and now[0] == version:
                return now[1]
            made = self._make(database)
            # What changed while it was made has another version the next time.
            self._kept = (version, made)
            return made
        finally:
            self._making.release()

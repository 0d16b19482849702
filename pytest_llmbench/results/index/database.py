"""How is the database of a store opened, with the tables that this version knows?"""

from __future__ import annotations

from pytest_llmbench.results.index.connection import Database, connect
from pytest_llmbench.results.store import Store


def open_database(store: Store, url: str | None = None) -> Database:
    """The database of *store*; its tables are made where they are not there.

    :param url: by default what a variable says, or SQLite in the store.
    :raises ResultsError: if it does not answer, the URL is not one, or its tables are of another version.
    :raises UsageError: without the extra.
    """
    database = connect(store, url)
    from pytest_llmbench.results.index.schema import make_ready

    make_ready(database)
    return database

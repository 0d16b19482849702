"""Where is the database, and how is it talked to?

SQLite beside the documents by default; PostgreSQL, or SQLite elsewhere, where ``LLMBENCH_DATABASE_URL`` or
``DATABASE_URL`` names it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import ResultsError, needs_extra, one_line
from pytest_llmbench.results.store import Store
from pytest_llmbench.secrets import mask

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

VARIABLES = ("LLMBENCH_DATABASE_URL", "DATABASE_URL")
"""The first one that is set holds."""
FILE = "index.sqlite3"
SCHEMA = "llmbench"
"""Of PostgreSQL: what else is in the database is not touched."""
_BUSY = 30_000
"""ms that a writer waits for another one."""


def database_url(store: Store, url: str | None = None) -> str:
    """The URL of the database: *url*, what a variable says, or the file in the store."""
    for named in (url, *(os.environ.get(name) for name in VARIABLES)):
        if named:
            return _driver(named)
    return f"sqlite:///{store.path / FILE}"


def _driver(url: str) -> str:
    """The URL with the driver that the extra installs, however others write it."""
    for name in ("postgresql://", "postgres://"):
        if url.startswith(name):
            return "postgresql+psycopg://" + url.removeprefix(name)
    return url


class Database:
    """An engine of SQLAlchemy, and how its transactions begin. Use :func:`connect`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.engine.dialect.name

    @property
    def shown(self) -> str:
        """Its URL without a password."""
        return self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reading: a snapshot, which waits for no writer.

        :raises ResultsError: if the database does not answer.
        """
        with self.told(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it, or nothing. Of SQLite there is one at a time.

        :raises ResultsError: if the database does not answer, or cannot be written.
        """
        with self.told(), self.engine.connect() as connection:
            writer = connection.execution_options(llmbench_writes=True)
            with writer.begin():
                yield writer

    @contextmanager
    def told(self) -> Iterator[None]:
        """Have what the driver raises be one line.

        :raises ResultsError: for what a person can do something about.
        """
        from sqlalchemy.exc import DatabaseError, InterfaceError

        try:
            yield
        except (DatabaseError, InterfaceError) as error:
            why = one_line(str(error.orig or error), 200)
            msg = f"the database {self.shown} cannot be used: {mask(why)}"
            raise ResultsError(msg) from error

    def close(self) -> None:
        """Close its connections."""
        self.engine.dispose()


def connect(store: Store, url: str | None = None) -> Database:
    """The database of *store*, whatever tables it has. Nothing is asked of it yet.

    :raises ResultsError: if the URL is not one.
    :raises UsageError: without the extra.
    """
    try:
        from sqlalchemy import create_engine, event, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    except ImportError:
        raise needs_extra("an index and jobs", "SQLAlchemy", "store") from None
    try:
        parsed = make_url(database_url(store, url))
    except ArgumentError:
        msg = "the database's URL is not one; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        raise ResultsError(msg) from None
    if "@" in (parsed.host or ""):
        msg = "the database's URL has more than one '@': write one in a password as %40, and '/' as %2F"
        raise ResultsError(msg)
    options: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        store.create()
        options["connect_args"] = {"timeout": _BUSY / 1000}
    elif parsed.get_backend_name() == "postgresql":
        options["pool_pre_ping"] = True
        options["connect_args"] = {"connect_timeout": 10, "options": f"-c search_path={SCHEMA}"}
    else:
        msg = f"the database is {parsed.get_backend_name()}; it can be SQLite or PostgreSQL"
        raise ResultsError(msg)
    try:
        engine = create_engine(parsed, **options)
    except (ImportError, NoSuchModuleError):
        raise needs_extra("indexes in PostgreSQL", "psycopg", "postgres") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
    else:
        event.listen(engine, "connect", lambda *_: setattr(engine.dialect, "default_schema_name", SCHEMA))
    return Database(engine)


def _prepare(connection: Any, _: Any) -> None:
    # Transactions begin where we say so, those that define tables too.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={_BUSY}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    end = time.monotonic() + _BUSY / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:
            # Of several that open a new file, one changes it, and the others are not let wait by SQLite.
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
    cursor.close()


def _begin(connection: Connection) -> None:
    # One that begins as a reader and writes later fails at once where another one wrote meanwhile.
    writes = connection.get_execution_options().get("llmbench_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

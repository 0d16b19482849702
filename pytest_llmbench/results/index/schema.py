"""Does the database have the tables that this version knows, and how does it get them?

Each change of the tables is a step of Alembic. An upgrade is one transaction, which a lock keeps others out
of: who is killed amid it leaves what was there before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import ResultsError, UsageError, needs_extra
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.index.connection import SCHEMA
from pytest_llmbench.results.index.tables import metadata

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

    from pytest_llmbench.results.index.connection import Database

REVISION = "0004"
"""The step that makes the tables as :mod:`pytest_llmbench.results.index.tables` has them."""
VERSION_TABLE = "alembic_version"
_LOCK = 0x6C6C6D62656E6368
"""Of PostgreSQL, for upgrades."""


def revision(connection: Connection) -> str | None:
    """The step that was the last one; None in a database without our tables."""
    from sqlalchemy import inspect, text

    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(
        text(f"SELECT version_num FROM {VERSION_TABLE}")
    ).scalar_one_or_none()
    return found


def make_ready(database: Database) -> None:
    """Have the tables there that this version needs: made where there are none, upgraded in SQLite.

    :raises ResultsError: for a database of a newer version, or one in PostgreSQL of an older version.
    """
    with database.reading() as connection:
        found = revision(connection)
    if found == REVISION:
        return
    if found is not None and found > REVISION:
        msg = (
            f"the database is at step {found}, and this version of pytest-llmbench knows {REVISION}: take "
            "the version that made it, or a newer one"
        )
        raise ResultsError(msg)
    if found is not None and database.dialect == "postgresql":
        msg = (
            f"the database is at step {found}, and this version needs {REVISION}: stop the services that "
            "use it, and run 'llmbench index upgrade'"
        )
        raise ResultsError(msg)
    upgrade(database)


def upgrade(database: Database, to: str = "head") -> str | None:
    """Take the steps up to *to*; all of them, or none. Returns the step that was the last one before.

    :raises ResultsError: if the database does not answer, or cannot be written.
    :raises UsageError: without the extra.
    """
    return _run(database, "upgrade", to)


def downgrade(database: Database, to: str) -> str | None:
    """Take steps back to *to*; ``base`` leaves nothing of ours. What they made is lost.

    :raises ResultsError: as :func:`upgrade`.
    :raises UsageError: as :func:`upgrade`.
    """
    return _run(database, "downgrade", to)


def _run(database: Database, what: str, to: str) -> str | None:
    try:
        from alembic import command
        from alembic.util import CommandError
    except ImportError:
        raise needs_extra("an index and jobs", "Alembic", "store") from None
    from sqlalchemy import text
    from sqlalchemy.schema import CreateSchema

    with database.writing() as connection:
        if database.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
        before = revision(connection)
        try:
            getattr(command, what)(alembic_config(connection), to)
        except CommandError as error:
            msg = f"there is no step {to!r}: {error}"
            raise UsageError(msg) from None
    return before


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration, which needs no file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def comparison(connection: Connection) -> Json:
    """How Alembic looks at the database: in PostgreSQL the connection sees our own schema alone."""
    return {
        "connection": connection,
        "target_metadata": metadata,
        "render_as_batch": connection.dialect.name == "sqlite",
        "compare_type": True,
    }

"""How is the index of the store kept: ``llmbench index``?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.documents import warn
from pytest_llmbench.cli.options import STORE, StoreOption, asked, say
from pytest_llmbench.metrics.units import count

if TYPE_CHECKING:
    from pytest_llmbench.results.index.build import Index, Update
    from pytest_llmbench.results.index.connection import Database

index_app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    help="Keep an index of the store, for queries and trends. It is made of the documents and can always be "
    "made again. SQLite in the store, or the database of LLMBENCH_DATABASE_URL or DATABASE_URL.",
)


@index_app.callback()
def update_index(context: typer.Context, store: StoreOption = STORE) -> None:
    """Bring the index to what the store has now; documents that did not change are not read."""
    if context.invoked_subcommand is None:
        index = open_index(store)
        _tell(index, index.update())


@index_app.command("rebuild")
def rebuild_index(store: StoreOption = STORE) -> None:
    """Make the index anew of all documents. Jobs stay."""
    index = open_index(store)
    _tell(index, index.rebuild())


@index_app.command("status")
def show_status(store: StoreOption = STORE) -> None:
    """Say where the index is, and what it has."""
    index = open_index(store)
    from sqlalchemy import func, select

    from pytest_llmbench.results.index.schema import REVISION
    from pytest_llmbench.results.index.tables import cases, damaged, jobs, sessions

    say(f"Database {index.database.shown}, step {REVISION}")
    with index.database.reading() as connection:
        for table in (sessions, cases, damaged, jobs):
            number = connection.execute(select(func.count()).select_from(table)).scalar_one()
            typer.echo(f"{number:>8} {table.name}")


@index_app.command("upgrade")
def upgrade_index(store: StoreOption = STORE) -> None:
    """Bring the tables to those of this version."""
    database = _connect(store)
    from pytest_llmbench.results.index.schema import REVISION, upgrade

    before = upgrade(database)
    typer.echo(f"The database is at step {REVISION}; it was at {before or 'none'}.")


@index_app.command("downgrade")
def downgrade_index(
    step: Annotated[str, typer.Argument(help="The step to go back to; 'base' takes every table away.")],
    store: StoreOption = STORE,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask. Jobs that the tables had are lost.")
    ] = False,
) -> None:
    """Take the tables back to those of an older version."""
    database = _connect(store)
    from pytest_llmbench.results.index.schema import downgrade

    if yes or asked("Take the tables back? What only they have, such as jobs, is lost."):
        downgrade(database, step)


def _connect(path: Path) -> Database:
    from pytest_llmbench.results.index.connection import connect
    from pytest_llmbench.results.store import Store

    return connect(Store(path))


def open_index(path: Path) -> Index:
    """The index of the store at *path*.

    :raises UsageError: without the extra.
    :raises ResultsError: if its database cannot be used.
    """
    from pytest_llmbench.results.index.database import open_database
    from pytest_llmbench.results.store import Store

    database = open_database(Store(path))
    from pytest_llmbench.results.index.build import Index

    return Index(Store(path), database)


def _tell(index: Index, done: Update) -> None:
    warn(done.problems)
    total = len(done.added) + done.unchanged
    typer.echo(
        f"{count(total, 'session')} in the index: {len(done.added)} read, {done.unchanged} unchanged, "
        f"{len(done.removed)} removed."
    )

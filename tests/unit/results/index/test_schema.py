"""Does the database have the tables that this version knows, and how does it get them?"""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("alembic")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.index.connection import SCHEMA, Database, connect
from pytest_llmbench.results.index.database import open_database
from pytest_llmbench.results.index.schema import (
    REVISION,
    alembic_config,
    comparison,
    downgrade,
    make_ready,
    revision,
    upgrade,
)
from pytest_llmbench.results.index.tables import metadata
from pytest_llmbench.results.store import Store


def _tables(database: Database) -> set[str]:
    schema = SCHEMA if database.dialect == "postgresql" else None
    with database.reading() as connection:
        return set(inspect(connection).get_table_names(schema=schema)) - {"alembic_version"}


def _steps(database: Database) -> list[str]:
    with database.reading() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def test_every_step_goes_up_and_down(store: Store, url: str | None) -> None:
    database = connect(store, url)
    steps = _steps(database)
    assert steps[-1] == REVISION
    seen = [_tables(database)]
    for step in steps:
        upgrade(database, step)
        seen.append(_tables(database))
    assert seen[-1] == set(metadata.tables)
    for step, before in zip(["base", *steps[:-1]][::-1], seen[-2::-1], strict=True):
        downgrade(database, step)
        assert _tables(database) == before
    database.close()


def test_the_steps_make_the_tables_as_the_code_has_them(store: Store, url: str | None) -> None:
    database = open_database(store, url)
    with database.reading() as connection:
        options = comparison(connection)
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert revision(connection) == REVISION
    database.close()


def test_the_tables_of_others_are_left_alone(store: Store, postgres_server: str) -> None:
    import psycopg

    from tests import postgres

    url = postgres.empty_database(postgres_server, "shared")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE cases (theirs int)")
        connection.execute("INSERT INTO cases VALUES (1)")
    database = open_database(store, url)
    downgrade(database, "base")
    database.close()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT theirs FROM public.cases").fetchall() == [(1,)]


def test_several_that_upgrade_at_once_do_it_once(store: Store, url: str | None) -> None:
    databases = [connect(store, url) for _ in range(3)]
    failed: list[Exception] = []

    def go(database: Database) -> None:
        try:
            make_ready(database)
        except Exception as error:  # noqa: BLE001  # whatever it is, the test says so
            failed.append(error)

    threads = [threading.Thread(target=go, args=(one,)) for one in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert _tables(databases[0]) == set(metadata.tables)
    for one in databases:
        one.close()


def test_an_upgrade_that_fails_half_way_leaves_what_was_there(
    store: Store, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic.operations import Operations

    database = connect(store, url)
    upgrade(database, "0001")
    before = _tables(database)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Operations, "create_index", fail)
        with pytest.raises(KeyboardInterrupt):
            upgrade(database)
    assert _tables(database) == before
    upgrade(database)
    assert _tables(database) == set(metadata.tables)
    database.close()


def test_one_of_a_newer_version_is_refused(store: Store, url: str | None) -> None:
    database = open_database(store, url)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ResultsError, match="is at step 9999, and this version of pytest-llmbench knows"):
        open_database(store, url)


def test_one_of_an_older_version_is_upgraded_in_sqlite_and_refused_in_postgresql(
    store: Store, url: str | None
) -> None:
    database = connect(store, url)
    upgrade(database, "0001")
    if database.dialect == "postgresql":
        with pytest.raises(ResultsError, match="run 'llmbench index upgrade'"):
            make_ready(database)
    else:
        make_ready(database)
        assert _tables(database) == set(metadata.tables)
    database.close()


def test_a_database_that_does_not_answer_is_one_line_without_its_password(store: Store) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ResultsError) as raised:
        open_database(store, "postgresql://me:pa55-word@127.0.0.1:1/none")
    assert "pa55-word" not in str(raised.value)
    assert "cannot be used" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("url", ["x", "mysql://a/b", "postgresql://["])
def test_what_is_no_url_of_a_database_is_refused(store: Store, url: str) -> None:
    with pytest.raises(ResultsError, match=r"database"):
        open_database(store, url)

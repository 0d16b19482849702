"""How long does it take to keep the index of a store, and to ask it?"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING

from documents import CASES, measured_documents, timed
from pairs import Bound, Measured, NotMeasuredError, Row

from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.store import Store

if TYPE_CHECKING:
    from sqlalchemy import Table

    from pytest_llmbench.results.index.build import Index

_SESSIONS = 100
_SMALL = 30


@contextmanager
def _store(cases: int = CASES) -> Iterator[Store]:
    """A store of one session."""
    with measured_documents() as (path,), TemporaryDirectory() as folder:
        store = Store(Path(folder))
        document = read_document(path)
        document.cases = document.cases[:cases]
        store.write(document)
        del document
        gc.collect()
        yield store


def _index(store: Store) -> Index:
    try:
        from pytest_llmbench.results.index.database import open_database

        database = open_database(store)
    except LLMBenchError as error:
        raise NotMeasuredError(str(error)) from None
    from pytest_llmbench.results.index.build import Index

    return Index(store, database)


def _rebuild(times: int) -> Measured:
    with _store() as store:
        index = _index(store)
        values = timed(times, index.rebuild)
        size = (store.path / "index.sqlite3").stat().st_size / 1e6
        index.close()
    return Measured(values, {"size of the index, MB": size})


def _add(times: int) -> Measured:
    """What another session of a few cases takes beside a large one."""
    with _store() as store:
        index = _index(store)
        index.update()
        document = read_document(store.paths()[0])
        document.cases = document.cases[:_SMALL]
        values = []
        for number in range(times + 1):
            document.session.id = f"20270101T000000Z-{number:08}"
            store.write(document)
            started = perf_counter()
            index.update()
            values.append(perf_counter() - started)
        index.close()
    return Measured(values[1:])


def _filter(times: int) -> Measured:
    """A page of what a few conditions leave of all cases of all sessions, the best first."""
    from sqlalchemy import text

    from pytest_llmbench.results.index.query import Query, run

    with _store() as store:
        index = _index(store)
        index.update()
        with index.database.writing() as connection:
            # The same cases on other days; the numbers of cases are far enough apart.
            for table, changed in (
                ("sessions", {"id": "id || '-' || :n", "path": "path || :n", "started": _LATER}),
                ("cases", {"id": "id + :n", "session_id": "session_id || '-' || :n", "started": _LATER}),
                ("metrics", {"case_id": "case_id + :n", "started": _LATER}),
            ):
                names = [column.name for column in _table(table).columns]
                values = ", ".join(changed.get(name, f'"{name}"') for name in names)
                only = {"sessions": "id", "cases": "session_id"}.get(table)
                where = (
                    f"WHERE {only} NOT LIKE '%-%-%'"
                    if only
                    else "WHERE started = (SELECT min(started) FROM sessions)"
                )
                for n in range(1, _SESSIONS):
                    columns = ", ".join(f'"{name}"' for name in names)
                    connection.execute(
                        text(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} {where}"),
                        {"n": n},
                    )
            connection.execute(text("ANALYZE"))
        asked = Query(
            where=["nodeid~test_case[42", "backend=llamacpp", "started>=2026-02-01", "ttft<1s"],
            columns=["session", "nodeid", "ttft", "tpot"],
        )
        page = run(index.database, asked)
        if len(page.rows) != asked.limit:
            msg = f"the query found {len(page.rows)} rows"
            raise NotMeasuredError(msg)
        taken = timed(times, lambda: run(index.database, asked))
        size = (store.path / "index.sqlite3").stat().st_size / 1e6
        index.close()
        shutil.rmtree(store.path)
    return Measured(taken, {"size of the index, MB": size})


_LATER = "datetime(started, '+' || :n || ' days') || '.000000'"


def _table(name: str) -> Table:
    from pytest_llmbench.results.index.tables import metadata

    return metadata.tables[name]


ROWS = (
    Row("index-rebuild", f"making the index of {CASES:,} cases anew", Bound(at_most=20.0), 3, _rebuild, "s"),
    Row(
        "index-add",
        f"a session of {_SMALL} cases into an index of {CASES:,}",
        Bound(at_most=0.3),
        5,
        _add,
        "s",
    ),
    Row(
        "index-filter",
        f"a page of {CASES:,} cases in {_SESSIONS} sessions by four conditions",
        Bound(at_most=0.05),
        20,
        _filter,
        "s",
    ),
)

"""How does the index follow the documents of the store?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import select

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.index.tables import INDEXED
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.store import Store

FIRST, SECOND = "20260102T030405Z-0a1b2c3d", "20260103T030405Z-0a1b2c3d"
MakeDocument = Callable[..., ResultsDocument]


def _rows(index: Index) -> dict[str, list[Any]]:
    with index.database.reading() as connection:
        return {t.name: sorted(map(tuple, connection.execute(select(t))), key=repr) for t in INDEXED}


@pytest.fixture
def index(store: Store, document_maker: MakeDocument, url: str | None) -> Iterator[Index]:
    """The index of two documents."""
    for session in (FIRST, SECOND):
        store.write(document_maker(session))
    made = Index.open(store, url)
    yield made
    made.close()


def test_only_what_is_new_is_read(index: Index, document_maker: MakeDocument) -> None:
    assert sorted(index.update().added) == [FIRST, SECOND]
    again = index.update()
    assert (again.added, again.removed, again.unchanged) == ([], [], 2)
    index.store.write(document_maker(SECOND, cases=3))
    assert index.update().added == [SECOND]


def test_a_document_that_was_removed_goes_out_of_it(index: Index) -> None:
    index.update()
    index.store.document_path(FIRST).unlink()
    assert index.update().removed == [FIRST]
    assert {row[0] for row in _rows(index)["sessions"]} == {SECOND}


def test_rows_are_the_same_when_it_is_made_anew(index: Index) -> None:
    index.update()
    before = _rows(index)
    index.rebuild()
    assert _rows(index) == before
    assert all(before[name] for name in ("sessions", "cases", "metrics"))


def test_a_damaged_document_is_named_each_time_and_passed_over(index: Index) -> None:
    index.store.document_path(FIRST).write_text("{")
    first, again = index.update(), index.update()
    assert first.added == [SECOND]
    assert first.problems == again.problems
    assert FIRST in first.problems[0]

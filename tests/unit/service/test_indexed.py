"""Is what is made of the index made again when that has changed, and only then?"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.index.connection import Database
from pytest_llmbench.results.index.tables import sessions
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.indexed import Indexed

Measure = Callable[[int], None]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index that is empty."""
    found = Index.open(Store(tmp_path / "store"))
    yield found
    found.close()


@pytest.fixture
def measure(index: Index, a_session: Callable[..., ResultsDocument]) -> Measure:
    """Puts the session of a day into the store and its index."""

    def put(day: int) -> None:
        index.store.write(a_session(day))
        index.update()

    return put


def counted(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(select(func.count()).select_from(sessions)).scalar_one())


def test_it_is_made_again_when_the_index_has_changed_and_only_then(index: Index, measure: Measure) -> None:
    made: list[int] = []

    def make(database: Database) -> int:
        made.append(counted(database))
        return made[-1]

    kept = Indexed(make)
    assert [kept.get(index.database) for _ in range(3)] == [0, 0, 0]
    measure(1)
    assert [kept.get(index.database) for _ in range(3)] == [1, 1, 1]
    index.store.paths()[0].unlink()
    index.update()
    assert kept.get(index.database) == 0
    assert made == [0, 1, 0]


def test_while_it_is_made_again_others_are_given_the_one_that_is_there(
    index: Index, measure: Measure
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def make(database: Database) -> int:
        number = counted(database)
        if number:
            begun.set()
            assert go_on.wait(30)
        return number

    kept = Indexed(make)
    assert kept.get(index.database) == 0
    measure(1)
    told: list[int] = []
    maker = threading.Thread(target=lambda: told.append(kept.get(index.database)))
    maker.start()
    assert begun.wait(30)
    assert kept.get(index.database) == 0
    go_on.set()
    maker.join(30)
    assert told == [kept.get(index.database)] == [1]


def test_one_that_could_not_be_made_is_tried_again(index: Index) -> None:
    tries: list[int] = []

    def make(database: Database) -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        return 7

    kept = Indexed(make)
    with pytest.raises(ZeroDivisionError):
        kept.get(index.database)
    assert kept.get(index.database) == 7


def test_many_at_once_make_it_once(index: Index) -> None:
    made: list[int] = []
    gate = threading.Barrier(8)

    def make(database: Database) -> int:
        made.append(1)
        return 7

    kept = Indexed(make)
    told: list[int] = []

    def ask() -> None:
        gate.wait(30)
        told.append(kept.get(index.database))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (told, made) == ([7] * 8, [1])

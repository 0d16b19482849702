"""How does the index follow the documents of the store?"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import delete, select

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.index.tables import INDEXED, metric_rows, sessions
from pytest_llmbench.results.records import MetricRow, ResultsDocument
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


def test_rows_are_the_same_in_whatever_order_documents_come(
    store: Store, document_maker: MakeDocument, url: str | None
) -> None:
    documents = [document_maker(f"2026010{day}T030405Z-0a1b2c3d", cases=day) for day in (1, 2, 3)]
    for day, document in enumerate(documents):
        row = MetricRow(unit="s", better="lower", scope="round", formula=f"as day {day} has it")
        document.metrics["ttft"] = row
    index = Index.open(store, url)
    seen = []
    for order in permutations(documents):
        for document in order:
            store.write(document)
            index.update()
        seen.append(_without_times(_rows(index)))
        index.rebuild()
        seen.append(_without_times(_rows(index)))
        for document in order:
            store.document_path(document.session.id).unlink()
        index.update()
        assert not any(_rows(index).values())
    index.close()
    assert all(rows == seen[0] for rows in seen)
    assert len(seen[0]["metric_rows"]) == 3


def _without_times(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """All but when the files were written."""
    place = [column.name for column in sessions.columns].index("modified")
    return {**rows, "sessions": [(*row[:place], *row[place + 1 :]) for row in rows["sessions"]]}


@pytest.mark.parametrize(
    "hostile",
    [
        {"session": {"started": "yesterday"}},
        {"session": {"host": "a\0b", "ended": "2026-13-40"}},
        {"machine": {"id": "m", "memory": {"total": 10**30}}},
        {"machine": {"id": "m", "memory": {"total": ["much"]}}},
        {"schema_version": "2." + "0" * 40, "session": {"ended": "x"}},
    ],
)
def test_a_document_that_no_database_takes_is_named_and_the_others_are_kept(
    index: Index, hostile: dict[str, Any]
) -> None:
    path = index.store.document_path(FIRST)
    document = json.loads(path.read_text())
    for key, value in hostile.items():
        document[key] = {**document[key], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(document))
    done = index.update()
    assert done.added == [SECOND]
    assert [FIRST in line and "\n" not in line for line in done.problems] == [True]
    assert index.update().problems == done.problems
    assert {row[0] for row in _rows(index)["sessions"]} == {SECOND}


def test_what_cannot_be_a_document_is_passed_over(index: Index) -> None:
    folder = index.store.results
    (folder / os.fsdecode(b"odd\xff\n.json")).write_text("{}")
    os.mkfifo(folder / "20260104T030405Z-0a1b2c3d.json")
    (folder / "20260105T030405Z-0a1b2c3d.json").mkdir()
    done = index.update()
    assert sorted(done.added) == [FIRST, SECOND]
    assert len(done.problems) == 3


def test_a_file_of_the_same_size_and_time_is_read_where_it_is_another(index: Index) -> None:
    index.update()
    path = index.store.document_path(FIRST)
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().replace(b"A CPU", b"B CPU"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert index.update().added == [FIRST]


def test_readers_have_the_old_index_until_the_new_one_is_whole(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.update()
    before = _rows(index)
    seen: list[dict[str, list[Any]]] = []
    add = Index._add

    def look(self: Index, *given: Any) -> None:
        seen.append(_rows(index))
        add(self, *given)

    monkeypatch.setattr(Index, "_add", look)
    index.rebuild()
    assert seen == [before, before]


def test_several_that_update_at_once_are_one_after_the_other(
    index: Index, url: str | None, document_maker: MakeDocument
) -> None:
    others = [Index.open(index.store, url) for _ in range(3)]
    failed: list[Exception] = []

    def go(one: Index) -> None:
        try:
            one.rebuild()
            one.update()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test says so
            failed.append(error)

    threads = [threading.Thread(target=go, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in others:
        one.close()
    assert failed == []
    before = _rows(index)
    index.rebuild()
    assert _rows(index) == before


def test_an_update_that_is_broken_off_leaves_what_was_there(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Index, "_add", stop)
        with pytest.raises(KeyboardInterrupt):
            index.update()
    assert not any(_rows(index).values())
    assert sorted(index.update().added) == [FIRST, SECOND]


def test_a_metric_of_a_plugin_is_known_by_what_the_documents_say(index: Index) -> None:
    from pytest_llmbench.metrics.table import METRICS
    from pytest_llmbench.results.index.query import metric_names

    index.update()
    row = MetricRow(unit="s", better="lower", scope="round", formula="a time", source="ours").model_dump()
    name = "time_to_index_it"
    with index.database.writing() as connection:
        connection.execute(metric_rows.insert().values(session_id=FIRST, name=name, row=row))
    with index.database.reading() as connection:
        assert name in metric_names(connection)
    assert METRICS[name].unit == "s"
    with index.database.writing() as connection:
        connection.execute(delete(metric_rows).where(metric_rows.c.name == name))

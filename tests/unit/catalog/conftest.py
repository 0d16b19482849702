"""An index of what was measured, for the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.results.store import Store
from tests.unit.results.conftest import make_document

MakeIndex = Callable[..., Index]


@pytest.fixture
def indexed(tmp_path: Path) -> Iterator[Callable[..., Index]]:
    """Write documents into a store, and index it; each is changed by a function first."""
    opened: list[Index] = []

    def make(*changes: Callable[[ResultsDocument], object], cases: int = 3) -> Index:
        store = Store(tmp_path / "store")
        for number, change in enumerate(changes):
            session = f"202601{number + 1:02}T030405Z-0a1b2c3d"
            document = make_document(session, cases=cases)
            for case in document.cases:
                for process in case.processes:
                    for one in process.rounds:
                        one.disturbance = []
            document.session.started = f"2026-01-{number + 1:02}T03:04:05Z"
            change(document)
            store.write(document)
        index = Index.open(store)
        opened.append(index)
        assert not index.update().problems
        return index

    yield make
    for index in opened:
        index.close()

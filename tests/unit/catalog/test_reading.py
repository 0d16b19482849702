"""Are configurations read from the index with the values that comparisons take?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import select

from pytest_llmbench.catalog import reading
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.index.tables import metrics

MakeIndex = Callable[..., Index]


def test_a_median_is_the_one_that_comparisons_take(indexed: MakeIndex) -> None:
    index = indexed(lambda document: None)
    catalog = Catalog.load(index.database)
    with index.database.reading() as connection:
        asked = select(metrics.c.case_id, metrics.c.level).where(metrics.c.name == "ttft")
        levels = {row.case_id: row.level for row in connection.execute(asked)}
    assert catalog.column("ttft").tolist() == [levels[row.case] for row in catalog.rows]


def test_many_are_read_as_few_are(indexed: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index = indexed(lambda document: None)
    few = Catalog.load(index.database)
    monkeypatch.setattr(reading, "_FEW", 0)
    many = Catalog.load(index.database)
    assert few.columns.keys() == many.columns.keys()
    assert few.column("tpot.p95").tolist() == many.column("tpot.p95").tolist()


def test_more_than_a_catalog_holds_are_refused(indexed: MakeIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index = indexed(lambda document: None)
    monkeypatch.setattr(reading, "MOST", 2)
    with pytest.raises(ResultsError, match="more than 2 configurations"):
        Catalog.load(index.database)

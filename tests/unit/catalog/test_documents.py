"""Is the catalog of documents the one that their index has?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from pytest_llmbench.catalog.documents import catalog_of
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.records import CellRecord, ResultsDocument
from pytest_llmbench.results.store import Store

L4 = CellRecord(matrix="m", id="0" * 16, key="1" * 16, hardware="L4", count=2, market="spot")


def table(catalog: Catalog) -> dict[Any, Any]:
    """Each row with its values; the numbers of cases differ between an index and documents."""
    return {
        replace(row, case=0): {
            name: column[place] for name, column in catalog.columns.items() if not np.isnan(column[place])
        }
        for place, row in enumerate(catalog.rows)
    }


def failed(document: ResultsDocument) -> ResultsDocument:
    for case in document.cases:
        case.outcome = "failed"
    return document


def on(document: ResultsDocument, cell: CellRecord) -> ResultsDocument:
    document.session.cell = cell
    return document


def test_it_is_the_same(tmp_path: Any, a_session: Callable[..., Any], a_case: Callable[..., Any]) -> None:
    both = [a_case(f"test_x[llamacpp-tiny-{name}]", quantization=name) for name in ("q8_0", "f16")]
    load = a_case("test_load[vllm-tiny-c8]", concurrency=8, engine={"server": "vllm"})
    documents = [
        a_session(1, both),
        a_session(2, slow=2.0),
        # Later and spoiled: the one before stands.
        a_session(3, disturbed=15, slow=3.0),
        failed(a_session(4)),
        on(a_session(5, [load, a_case("test_y", measurement="warm", outcome="failed")]), L4),
        on(a_session(6, [load.model_copy()]), L4.model_copy(update={"count": 4})),
    ]
    store = Store(tmp_path / "store")
    for document in documents:
        store.write(document)
    index = Index.open(store)
    index.update()
    loaded = Catalog.load(index.database)
    index.close()
    found = catalog_of(documents)
    assert table(found) == table(loaded)
    assert found.failed == loaded.failed == 1
    assert len(found) == 4


def test_none_is_an_empty_catalog() -> None:
    found = catalog_of([])
    assert (len(found), found.failed, found.column("ttft").tolist()) == (0, 0, [])

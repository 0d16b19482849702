"""An application over a store of its own, with what is in its index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.service.app import create_app
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service

FIRST, SECOND = "20260101T000000Z-00000001", "20260102T000000Z-00000002"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    suites = tmp_path / "suites"
    suites.mkdir()
    (suites / "quick.llm.yaml").write_text(
        "version: 1\ncases:\n  - name: a\n    models: [tiny]\n    prompt: hello\n"
    )
    made = Service(Configuration(store=tmp_path / "store", suites=(suites,)))
    yield made
    made.close()


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), base_url="http://localhost") as asked:
        yield asked


@pytest.fixture
def measured(service: Service, a_session: Callable[..., ResultsDocument]) -> list[ResultsDocument]:
    """Two sessions in the store and in its index; the second one is slower, and failed for it."""
    documents = [a_session(1), a_session(2, slow=1.5)]
    documents[1].cases[0].verdict = "fail"
    for document in documents:
        service.store.write(document)
    Index(service.store, service.database).update()
    return documents

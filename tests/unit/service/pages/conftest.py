"""A service over a store with a matrix, and a browser of sorts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service


@pytest.fixture
def measured_matrix(tmp_path: Path, copy_matrix: Callable[[Path], None]) -> Iterator[Service]:
    """A service whose store has a matrix of 108 cells: five failed, 22 are left, the others are measured."""
    copy_matrix(tmp_path / "store")
    service = Service(Configuration(store=tmp_path / "store"))
    yield service
    service.close()


@pytest.fixture
def asks(measured_matrix: Service) -> Iterator[object]:
    """Asks that service."""
    testclient = pytest.importorskip("fastapi.testclient")
    from pytest_llmbench.service.app import create_app

    app = create_app(measured_matrix)
    with testclient.TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as found:
        yield found

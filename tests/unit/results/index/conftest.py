"""Databases: SQLite in a folder, and a real PostgreSQL."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

pytest.importorskip("sqlalchemy")

from tests import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a server that is there for all tests of this process."""
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Of an empty database; None is SQLite in the store."""
    if request.param == "sqlite":
        return None
    server: str = request.getfixturevalue("postgres_server")
    return postgres.empty_database(server, f"t{secrets.token_hex(4)}")

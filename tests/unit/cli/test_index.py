"""Is the index kept by a command, and does it say what it did?"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

pytest.importorskip("alembic")

from pytest_llmbench.cli.app import app
from pytest_llmbench.results.records import Machine, ResultsDocument, Session
from pytest_llmbench.results.store import Store

SESSION = "20260102T030405Z-0a1b2c3d"
NAMED = "LLMBENCH_DATABASE_URL"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in (NAMED, "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    store = Store(tmp_path / "store")
    session = Session(id=SESSION, started="2026-01-02T03:04:05Z", state="finished")
    store.write(ResultsDocument(session=session, machine=Machine(id="0123456789abcdef")))
    return store


def llmbench(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["index", "--store", str(store.path), *arguments])


def of(store: Store, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["index", command, *arguments, "--store", str(store.path)])


def test_it_says_what_was_read(store: Store) -> None:
    assert llmbench(store).output == "1 session in the index: 1 read, 0 unchanged, 0 removed.\n"
    assert llmbench(store).output == "1 session in the index: 0 read, 1 unchanged, 0 removed.\n"
    assert of(store, "rebuild").output == "1 session in the index: 1 read, 0 unchanged, 0 removed.\n"
    assert "1 sessions" in of(store, "status").output


def test_a_damaged_document_is_named(store: Store) -> None:
    store.document_path(SESSION).write_text("{")
    shown = llmbench(store).output
    assert SESSION in shown
    assert "0 sessions in the index" in shown


def test_tables_go_up_and_down(store: Store) -> None:
    assert "it was at none" in of(store, "upgrade").output
    assert of(store, "downgrade", "base").exit_code == 2
    assert of(store, "downgrade", "base", "--yes").exit_code == 0
    assert "it was at none" in of(store, "upgrade").output
    refused = of(store, "downgrade", "nix", "--yes")
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:pa55/w@rd-of-mine@127.0.0.1:1/none",
        "postgresql://me:pa55-word-of-mine@127.0.0.1:1/none",
        "sqlite:////dev/null/index.sqlite3",
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(
    store: Store, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv(NAMED, url)
    for shown in (llmbench(store), of(store, "status"), of(store, "upgrade")):
        assert (shown.exit_code, shown.output.count("\n")) == (2, 1)
        assert "of-mine" not in shown.output


def test_what_is_no_database_is_left_as_it_is(store: Store) -> None:
    file = store.path / "index.sqlite3"
    file.write_bytes(b"theirs" * 1000)
    shown = llmbench(store)
    assert (shown.exit_code, shown.output.count("\n")) == (2, 1)
    assert file.read_bytes() == b"theirs" * 1000

"""Can what a journal, a document or a baseline has in it decide which file is read, written or removed?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results import files
from pytest_llmbench.results.baselines import Place, save_baseline, take_place
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.ids import is_session_id, new_session_id
from pytest_llmbench.results.journal import Journal, journals, recover
from pytest_llmbench.results.records import Header, ResultsDocument, Session
from pytest_llmbench.results.store import Store

Maker = Callable[..., Any]
ID = "20260102T030405Z-0a1b2c3d"
OTHER = "20260102T030405Z-ffffffff"


def journal_with(store: Store, case: Any, session_id: str = ID, **session: Any) -> Path:
    """The journal of a session that was killed, with another header."""
    started = "2026-01-02T03:04:05Z"
    journal = Journal.create(store, Header(session=Session(id=session_id, started=started)))
    journal.append(case)
    journal.close()
    head, rest = journal.path.read_bytes().split(b"\n", 1)
    data = json.loads(head)
    data["session"].update(session)
    journal.path.write_bytes(json.dumps(data).encode() + b"\n" + rest)
    return journal.path


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("said", ["../../../EVIL", "/tmp/EVIL", OTHER, "latest", ""])
def test_an_id_within_a_journal_decides_no_path(store: Store, case_maker: Maker, said: str) -> None:
    other = store.write(ResultsDocument(session=Session(id=OTHER, started="x")))
    kept = other.read_bytes()
    journal_with(store, case_maker(), id=said)
    outside = files_of(store.path.parent) - files_of(store.path)
    (found,) = recover(store)
    assert (found.session_id, found.status, found.path) == (ID, "recovered", store.results / f"{ID}.json")
    assert "its header is of another session" in found.problems[0]
    assert read_document(store.results / f"{ID}.json").session.id == ID
    assert other.read_bytes() == kept
    assert not any("EVIL" in name for name in files_of(store.path.parent) | outside)


@pytest.mark.parametrize("pid", [-1, 0, -(2**40), 10**30, 1.5, "x", [1]])
def test_a_pid_that_none_is_ends_nothing(store: Store, case_maker: Maker, pid: Any) -> None:
    journal_with(store, case_maker(), pid=pid)
    journal_with(store, case_maker(), OTHER)
    assert [one.status for one in recover(store)] == ["recovered", "recovered"]


@pytest.mark.parametrize("pid", [-1, 0, 10**30])
def test_a_pid_that_none_is_ends_nothing_where_there_are_no_locks(
    store: Store, case_maker: Maker, pid: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.results.journal.lock", lambda _: None)
    journal_with(store, case_maker(), pid=pid)
    running = journal_with(store, case_maker(), OTHER)
    assert [one.status for one in recover(store)] == ["recovered", "running"]
    assert running.exists()


def test_a_journal_has_no_name_before_it_has_its_lock_and_header(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def take_name(hidden: Path, path: Path) -> None:
        seen.append((recover(store, force=True), journals(store), hidden.read_bytes().endswith(b"\n")))
        files.take_name(hidden, path)

    monkeypatch.setattr("pytest_llmbench.results.journal.take_name", take_name)
    journal = Journal.create(store, Header(session=Session(id=ID, started="2026-01-02T03:04:05Z")))
    assert seen == [([], [], True)]
    assert [one.status for one in recover(store, force=True)] == ["running"]
    journal.close()


def test_a_lock_tells_a_running_session_whatever_its_header_says(store: Store, case_maker: Maker) -> None:
    journal = Journal.create(store, Header(session=Session(id=ID, started="2026-01-02T03:04:05Z")))
    journal.append(case_maker())
    journal.path.write_bytes(b"{\n")
    assert [one.status for one in recover(store, force=True)] == ["running"]
    journal.close()


def test_a_file_in_place_of_the_document_is_not_replaced(
    store: Store, case_maker: Maker, tmp_path: Path
) -> None:
    journal = journal_with(store, case_maker())
    place = store.results / f"{ID}.json"
    for make in (
        lambda: place.write_bytes(b"not ours"),
        place.mkdir,
        lambda: place.symlink_to(tmp_path / "elsewhere.json"),
    ):
        make()
        (found,) = recover(store)
        assert (found.status, found.kept) == ("failed", (journal,))
        assert "is not a document of this session" in found.problems[0]
        if place.is_dir():
            place.rmdir()
        else:
            place.unlink()
    assert not (tmp_path / "elsewhere.json").exists()
    assert [one.status for one in recover(store)] == ["recovered"]


def test_what_is_no_journal_is_left_alone(store: Store, case_maker: Maker, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jsonl"
    journal_with(store, case_maker()).rename(outside)
    (store.journals / f"{ID}.jsonl").symlink_to(outside)
    (store.journals / f"{OTHER}.jsonl").mkdir()
    (store.journals / "..jsonl").write_text("{}\n")
    (store.journals / "notes.jsonl").write_text("{}\n")
    assert recover(store, force=True) == []
    assert outside.exists()
    assert (store.journals / "notes.jsonl").exists()


def test_only_a_journal_that_was_removed_is_called_so(store: Store, case_maker: Maker) -> None:
    path = journal_with(store, case_maker())
    recover(store)
    path = journal_with(store, case_maker())
    with path.open("ab") as file:
        file.write(b'{"half')
    done = CliRunner().invoke(app, ["recover", "--store", str(store.path)])
    assert "has a document already, journal kept: " in done.output
    assert f"{path.name}.damaged" in done.output
    assert "journal removed" not in done.output
    journal_with(store, case_maker())
    done = CliRunner().invoke(app, ["recover", "--store", str(store.path)])
    assert "has a document already, journal removed" in done.output


@pytest.mark.parametrize("deep", [b"[" * 100_000, b'{"a":' * 100_000])
def test_deep_json_is_damage_and_nothing_more(store: Store, case_maker: Maker, deep: bytes) -> None:
    path = journal_with(store, case_maker())
    with path.open("ab") as file:
        file.write(b'{"nodeid":' + deep + b"\n")
    (found,) = recover(store)
    assert (found.status, found.cases) == ("recovered", 1)
    document = store.path / "deep.json"
    document.write_bytes(b'{"schema_version":"1.0","session":' + deep)
    with pytest.raises(ResultsError):
        read_document(document)


def test_files_are_read_to_a_bound(store: Store, case_maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = journal_with(store, case_maker())
    monkeypatch.setattr(files, "MAX_FILE", 100)
    (found,) = recover(store)
    assert found.status == "failed"
    assert "is longer than" in found.problems[0]
    assert path.exists()


@pytest.mark.parametrize("said", ["../../EVIL", "/EVIL", "a", ".hidden", "20260102T030405Z-0a1b2c3d/../x"])
def test_an_id_that_no_session_has_becomes_no_file(store: Store, said: str, tmp_path: Path) -> None:
    document = ResultsDocument(session=Session(id=said, started="x"))
    with pytest.raises(ResultsError, match="is not a session's id"):
        store.write(document)
    with pytest.raises(ResultsError, match="is not a session's id"):
        save_baseline(store, "main", document)
    with pytest.raises(ResultsError, match=r"is not a session's id|there is no"):
        store.find(said)
    assert not any("EVIL" in name for name in files_of(tmp_path))


def test_what_is_replaced_is_kept_under_a_name_that_is_no_path(store: Store, tmp_path: Path) -> None:
    base = tmp_path / "base.json"
    base.write_bytes(
        ResultsDocument(session=Session(id="../../EVIL", started="x")).model_dump_json().encode()
    )
    take_place(Place(base), store, ResultsDocument(session=Session(id=ID, started="x")))
    assert (store.path / "replaced" / "base.json").exists()
    assert not any("EVIL" in name for name in files_of(tmp_path))


def test_the_rule_that_makes_ids_is_the_rule_that_checks_them() -> None:
    assert is_session_id(new_session_id(time.time()))
    assert not is_session_id(f"{ID}\n")
    assert not is_session_id(f"../{ID}")

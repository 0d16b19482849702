"""Is a document found by what a person writes, whatever lies beside it?"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.environment import new_session
from pytest_llmbench.results.store import Store

Maker = Callable[..., Any]
OLD = "20260102T030405Z-0a1b2c3d"
NEW = "20260103T030405Z-0affffff"


@pytest.fixture
def filled(store: Store, document_maker: Maker) -> Store:
    store.write(document_maker(OLD))
    store.write(document_maker(NEW))
    return store


def test_a_new_store_keeps_results_out_of_git(store: Store) -> None:
    store.create()
    assert "*" in (store.path / ".gitignore").read_text().splitlines()


def test_a_gitignore_that_a_user_changed_stays(store: Store) -> None:
    store.create()
    (store.path / ".gitignore").write_text("journal\n")
    store.create()
    assert (store.path / ".gitignore").read_text() == "journal\n"


def test_documents_are_listed_newest_first(filled: Store) -> None:
    entries, problems = filled.documents()
    assert [entry.id for entry in entries] == [NEW, OLD]
    assert entries[0].header.session.outcomes == {"passed": 2}
    assert problems == []


def test_a_store_that_is_not_there_is_empty(store: Store) -> None:
    assert store.documents() == ([], [])


@pytest.mark.parametrize("damage", [b"", b'{"schema_version":"1.0","session":{}', b"\xff\xfe"])
def test_a_damaged_document_is_named_and_skipped(filled: Store, damage: bytes) -> None:
    bad = filled.document_path("20260104T030405Z-00000000")
    bad.write_bytes(damage)
    entries, problems = filled.documents()
    assert [entry.id for entry in entries] == [NEW, OLD]
    assert len(problems) == 1
    assert str(bad) in problems[0]
    passed_over: list[str] = []
    assert filled.find("latest", passed_over) == filled.document_path(NEW)
    assert passed_over == problems


@pytest.mark.parametrize(
    ("ref", "found"), [("latest", NEW), (OLD, OLD), ("20260102", OLD), ("0a1b", OLD), ("0af", NEW)]
)
def test_a_session_is_found_by(filled: Store, ref: str, found: str) -> None:
    assert filled.find(ref) == filled.document_path(found)


def test_a_path_is_found_before_an_id(filled: Store, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}")
    assert filled.find(path) == path
    assert filled.find(str(path)) == path


def test_a_part_that_fits_two_sessions_is_refused(filled: Store) -> None:
    with pytest.raises(ResultsError, match=r"'0a' means 2 sessions .*write more"):
        filled.find("0a")


@pytest.mark.parametrize("ref", ["nothing", "", "no/such/file.json", "../results"])
def test_an_unknown_reference_is_refused(filled: Store, ref: str) -> None:
    with pytest.raises(ResultsError, match="there is no results document"):
        filled.find(ref)


def test_a_mistyped_latest_is_suggested(filled: Store) -> None:
    with pytest.raises(ResultsError, match="did you mean 'latest'"):
        filled.find("lastest")


def test_latest_of_an_empty_store_says_what_to_do(store: Store) -> None:
    with pytest.raises(ResultsError, match="run pytest"):
        store.find("latest")


def test_sessions_that_start_at_once_have_ids_of_their_own(tmp_path: Path) -> None:
    assert len({new_session(tmp_path).id for _ in range(50)}) == 50


SESSION = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from pytest_llmbench.results.records import Header, ResultsDocument, CaseRecord
    from pytest_llmbench.results.environment import new_session
    from pytest_llmbench.results.journal import Journal, finish
    from pytest_llmbench.results.store import Store

    store = Store(sys.argv[1])
    header = Header(session=new_session(Path(".")))
    print(header.session.id, flush=True)
    sys.stdin.readline()
    journal = Journal.create(store, header)
    cases = []
    for number in range(20):
        case = CaseRecord.model_validate_json(sys.argv[2])
        case.nodeid = f"a.py::test[{number}]"
        journal.append(case)
        cases.append(case)
    journal.close()
    finish(store, ResultsDocument(session=header.session, cases=cases))
    """
)


def test_two_sessions_at_once_lose_nothing(store: Store, case_maker: Maker) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SESSION, str(store.path), case_maker().model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    ids = []
    for process in processes:
        assert process.stdout is not None
        ids.append(process.stdout.readline().strip())
    for process in processes:
        process.communicate("go\n")
        assert process.returncode == 0
    for session_id in ids:
        assert len(read_document(store.document_path(session_id)).cases) == 20
    assert list(store.journals.iterdir()) == []

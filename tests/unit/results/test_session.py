"""Is everything kept that a session measured, and does its document say how it ended?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.journal import journals, read_journal
from pytest_llmbench.results.session import ResultsSession
from pytest_llmbench.results.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_case_is_on_the_disk_at_once_and_in_the_document_at_the_end(
    store: Store, tmp_path: Path, a_case: Any
) -> None:
    with ResultsSession.open(store, json=tmp_path / "now.json") as results:
        results.append(a_case("test_x"), a_case("test_y"))
        (journal,) = journals(store)
        assert [case.name for case in read_journal(journal)[0].cases] == ["test_x", "test_y"]
        results.append(a_case("test_x", outcome="failed"))
    assert journals(store) == []
    assert len(results.written) == 2
    for path in results.written:
        document = read_document(path)
        assert [(case.name, case.outcome) for case in document.cases] == [
            ("test_x", "failed"),
            ("test_y", "passed"),
        ]
        assert document.session.state == "finished"
        assert document.session.outcomes == {"failed": 1, "passed": 1}
        assert document.session.exit_status == 0


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "finished")])
def test_what_was_measured_before_an_exception_is_kept(
    store: Store, a_case: Any, error: type[BaseException], state: str
) -> None:
    def measure(results: ResultsSession) -> None:
        with results:
            results.append(a_case())
            raise error

    results = ResultsSession.open(store)
    with pytest.raises(error):
        measure(results)
    document = read_document(results.written[0])
    assert len(document.cases) == 1
    assert (document.session.state, document.session.exit_status) == (state, 1)


def test_a_store_that_cannot_be_written_is_a_problem_and_the_exit_status_says_so(
    store: Store, tmp_path: Path, a_case: Any
) -> None:
    results = ResultsSession.open(store, json=tmp_path / "now.json")
    results.append(a_case())
    store.results.rmdir()
    store.results.write_text("in the way")
    results.end()
    status, told = results.write()
    assert (status, told) == (1, [])
    (problem,) = results.problems
    assert "Every finished case is in" in problem
    assert "llmbench recover" in problem
    assert read_document(tmp_path / "now.json").session.exit_status == 1


def test_a_script_is_told_of_a_store_that_cannot_be_written(store: Store, a_case: Any) -> None:
    def measure() -> None:
        with ResultsSession.open(store) as results:
            results.append(a_case())
            store.results.rmdir()
            store.results.write_text("in the way")

    with pytest.raises(ResultsError, match="llmbench recover"):
        measure()


def test_what_is_done_afterwards_finds_the_document_and_its_failure_changes_the_status(
    store: Store, a_case: Any
) -> None:
    results = ResultsSession.open(store)
    results.append(a_case())
    found: list[Path] = []

    def look() -> str:
        found.extend(results.written)
        return "looked"

    def fail() -> str:
        msg = "no baseline"
        raise ResultsError(msg)

    results.end()
    assert results.write(0, [look, fail]) == (1, ["looked"])
    assert found == list(results.written)
    assert list(results.problems) == ["no baseline"]
    assert read_document(found[0]).session.exit_status == 1


def test_the_journals_of_workers_become_one_document(store: Store, a_case: Any) -> None:
    controller = ResultsSession.open(store)
    header = controller.document
    for worker in ("gw0", "gw1"):
        part = ResultsSession.open(store, header, worker=worker)
        part.append(a_case(f"test_{worker}"))
        part.leave()
    merged = ResultsSession.merged(store, header.session.id)
    controller.leave()
    assert merged is not None
    merged.end()
    assert merged.write(0) == (0, [])
    assert [case.name for case in read_document(merged.written[0]).cases] == ["test_gw0", "test_gw1"]
    assert ResultsSession.merged(Store(store.path / "other"), header.session.id) is None


def test_a_session_that_measures_nothing_leaves_nothing(store: Store) -> None:
    results = ResultsSession.open(store)
    results.discard()
    assert journals(store) == []

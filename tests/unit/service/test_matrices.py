"""Is a matrix as it is told, and is it read again only when it changed?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.matrix import state as matrix_state
from pytest_llmbench.matrix.executor import Outcome, Task
from pytest_llmbench.matrix.journal import MatrixJournal
from pytest_llmbench.matrix.lock import driving
from pytest_llmbench.matrix.summary import KeptPlan, matrix_folder, write_plan
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.matrices import Matrices
from tests.unit.matrix.plans import a_cell, a_plan, stored

ONE, TWO = a_cell("one"), a_cell("two")
SESSION = "20260102T030405Z-00000001"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a plan of two cells."""
    found = Store(tmp_path / "store")
    write_plan(found, a_plan(ONE, TWO))
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The matrices that were read, one for each time."""
    names: list[str] = []
    before = matrix_state.state_of

    def state_of(found: Store, plan: KeptPlan, *more: object) -> matrix_state.State:
        names.append(plan.name)
        return before(found, plan, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(matrix_state, "state_of", state_of)
    return names


def test_it_is_read_again_when_a_document_the_journal_the_plan_or_the_driver_is_another(
    store: Store, read: list[str]
) -> None:
    found = Matrices(store)

    def counts() -> list[int]:
        first = found.state("m")
        assert found.state("m") is first
        return list(first.counts.values())

    assert counts() == [0, 0, 0, 2]
    stored(store, ONE)
    assert counts() == [1, 0, 0, 1]
    journal = MatrixJournal(matrix_folder(store, "m"))
    task = Task(TWO, "m", SESSION)
    journal.start(task)
    with driving(matrix_folder(store, "m")):
        assert counts() == [1, 1, 0, 0]
    assert counts() == [1, 0, 0, 1]
    journal.end(Outcome(task, "engine", "it crashed"), failed=True)
    assert counts() == [1, 0, 1, 0]
    journal.close()
    write_plan(store, a_plan(ONE))
    assert counts() == [1, 0, 0, 0]
    assert len(read) == 6


def test_what_is_kept_has_a_bound(store: Store, read: list[str]) -> None:
    names = [f"m{n}" for n in range(12)]
    for name in names:
        write_plan(store, a_plan(ONE, name=name))
    found = Matrices(store)
    for name in [*names, names[-1], names[0]]:
        found.state(name)
    assert len(read) == 13

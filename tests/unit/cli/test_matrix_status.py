"""What do ``llmbench matrix status``, ``retry`` and ``export`` say?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.matrix.executor import Outcome, Task
from pytest_llmbench.matrix.journal import MatrixJournal
from pytest_llmbench.matrix.lock import driving
from pytest_llmbench.matrix.summary import matrix_folder, write_plan
from pytest_llmbench.results.store import Store
from tests.unit.matrix.plans import a_cell, a_plan, stored

CELLS = [a_cell(name) for name in ("one", "two", "three")]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a matrix of which one cell is done, and one has failed."""
    found = Store(tmp_path / "store")
    write_plan(found, a_plan(*CELLS))
    stored(found, CELLS[0], session="20200102T030405Z-00000000")
    journal = MatrixJournal(matrix_folder(found, "m"))
    task = Task(CELLS[1], "m", "20260102T030405Z-00000001")
    journal.start(task)
    journal.end(Outcome(task, "engine", "it crashed", seconds=130), failed=True)
    journal.close()
    return found


def ask(store: Store, *words: str, code: int = 0) -> str:
    """What a command says."""
    result = CliRunner().invoke(app, ["matrix", *words, "--store", str(store.path)])
    assert result.exit_code == code, result.output
    return result.output


def test_the_state_is_told_with_what_failed_and_why(store: Store) -> None:
    said = ask(store, "status").splitlines()
    assert said[0] == ("Matrix m: 3 cells, 1 done, 0 running, 1 failed (engine 1), 1 left; nothing drives it")
    assert said[1] == "2 min were spent"
    assert said[3].split() == ["cpu", "1", "0", "1", "1"]
    assert said[4] == "failed, engine: two llamacpp-tiny @ cpu: it crashed"


def test_as_json_it_has_every_cell(store: Store) -> None:
    state = json.loads(ask(store, "status", "m", "--json"))
    assert state["counts"] == {"done": 1, "running": 0, "failed": 1, "left": 1}
    assert [cell["state"] for cell in state["cells"]] == ["done", "failed", "left"]


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (["--failed"], 2),
        (["--older-than", "30d"], 2),
        (["--failed", "--older-than", "1w"], 3),
        (["--invalid"], 1),
    ],
)
def test_what_is_to_be_measured_again_is_left(store: Store, flags: list[str], left: int) -> None:
    ask(store, "retry", *flags)
    assert json.loads(ask(store, "status", "--json"))["counts"]["left"] == left
    assert len(store.paths()) == 1


def test_which_cells_are_to_be_measured_again_has_to_be_said(store: Store) -> None:
    assert "say which cells" in ask(store, "retry", code=2)
    assert "not a valid span" in ask(store, "retry", "--older-than", "x", code=2)


def test_while_a_driver_runs_nothing_is_changed_under_it(store: Store) -> None:
    with driving(matrix_folder(store, "m")):
        assert "is being run already" in ask(store, "retry", "--failed", code=2)


def test_results_are_exported_together(store: Store) -> None:
    head, *rows = ask(store, "export").splitlines()
    assert head.startswith("session,nodeid")
    assert len(rows) == 1


def test_without_a_name_there_has_to_be_one_matrix(store: Store, tmp_path: Path) -> None:
    write_plan(store, a_plan(*CELLS, name="other"))
    assert "say which matrix" in ask(store, "status", code=2)
    assert "no matrix 'x' was run" in ask(store, "status", "x", code=2)
    assert "there is no matrix in" in ask(Store(tmp_path / "empty"), "status", code=2)

"""Is what ``llmbench matrix run`` is asked for understood, and how does it end?"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.matrix import local
from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.lock import driving
from pytest_llmbench.matrix.summary import matrix_folder
from pytest_llmbench.results.store import Store
from tests.fakes.matrix_executor import FakeExecutor
from tests.unit.matrix.plans import a_node

MATRIX = """
version: 1
matrix:
  {hardware: {cpu: 1, L4: 2}, models: [tiny], backends: [llamacpp], quantizations: [q8_0, q4_0], batch: 3}
cases:
  - {name: a, prompt: x}
  - {name: b, prompt: y}
"""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeExecutor]:
    """The executors that were made in place of this machine's."""
    found: list[FakeExecutor] = []

    def make(folder: Path, hardware: dict[str, int]) -> FakeExecutor:
        found.append(FakeExecutor(nodes=[a_node(hardware=hardware)]))
        return found[-1]

    monkeypatch.setattr(local, "LocalExecutor", make)
    monkeypatch.setattr(local, "list_gpus", list)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A matrix of eight cells, on two kinds of hardware."""
    path = tmp_path / "m.yaml"
    path.write_text(MATRIX)
    return path


def run(file: Path, *words: str, code: Exit = Exit.DONE) -> str:
    """What it says."""
    store = file.parent / "store"
    result = CliRunner().invoke(app, ["matrix", "run", str(file), "--store", str(store), *words])
    assert result.exit_code == code, result.output
    return result.output


def test_what_this_machine_is_may_be_said(file: Path, made: list[FakeExecutor]) -> None:
    assert "no node has L4x2, for 4 cells; there is cpu" in run(file, code=Exit.USAGE)
    assert "4 of 4 cells done" in run(file, "--only", "hardware=cpu")
    assert "8 of 8 cells done" in run(file, "--hardware", "L4=2")
    assert len(made[-1].submitted) == 4


def test_a_batch_is_of_the_hardware_that_is_said(file: Path, made: list[FakeExecutor]) -> None:
    assert "3 of 3 cells done" in run(file, "--hardware", "L4x2", "--batch", "0")
    assert "1 of 1 cell done" in run(file, "--hardware", "L4x2", "--batch", "1")
    assert {task.cell.hardware.label for one in made for task in one.submitted} == {"L4x2"}
    assert "there are 2, 0 to 1" in run(file, "--hardware", "L4x2", "--batch", "2", code=Exit.USAGE)
    assert "no cell has the hardware H100" in run(file, "--hardware", "H100", "--batch", "0", code=Exit.USAGE)
    assert "4 left" in run(file, "--hardware", "L4x2")


def test_a_second_driver_may_be_started_again_later(file: Path, made: list[FakeExecutor]) -> None:
    with driving(matrix_folder(Store(file.parent / "store"), "m")):
        said = run(file, "--only", "hardware=cpu", code=Exit.AGAIN)
    assert "matrix m is being run already by process" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--deadline", "soon"], "write a span"),
        (["--deadline", "2020-01-01T00:00Z"], "that is over"),
        (["--timeout", "x"], "--timeout: "),
        (["--on", "slurm"], "use local, ray, ray://HOST:PORT or HOST:PORT"),
        (["--max-cost", "1", "--only", "hardware=cpu"], "no price of cpu is known"),
        (["--only", "x=1"], "there is no axis"),
    ],
)
def test_what_is_not_valid_is_one_line_before_anything_starts(
    file: Path, made: list[FakeExecutor], words: list[str], said: str
) -> None:
    output = run(file, *words, code=Exit.USAGE)
    assert said in output
    assert len(output.splitlines()) == 1
    assert all(one.submitted == [] for one in made)


def test_a_file_that_is_not_a_matrix_is_one_line(file: Path) -> None:
    file.write_text("version: 1\ncases: [{name: a, prompt: x}]")
    assert "there is no matrix in it" in run(file, code=Exit.USAGE)
    file.write_text("version: 1\nmatrix: {hardware: {cpu: 1}}\ncases: []")
    assert "llmbench: error: " in run(file, code=Exit.USAGE)


def test_a_store_that_cannot_be_written_is_one_line(file: Path, made: list[FakeExecutor]) -> None:
    (file.parent / "store").write_text("")
    assert "cannot create the folder" in run(file, "--only", "hardware=cpu", code=Exit.AGAIN)

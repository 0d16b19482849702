"""Is a matrix of real cells measured, each once, whatever is killed meanwhile?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.journal import Ended, Start, read_parts
from pytest_llmbench.matrix.state import read_state
from pytest_llmbench.matrix.summary import matrix_folder
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.store import Store
from tests.waiting import until

MATRIX = """
version: 1
matrix: {{hardware: {{cpu: 1}}, models: [tiny], backends: [llamacpp], quantizations: [q8_0, f16]}}
defaults: {{rounds: 2, max_new_tokens: 4, prompt: Say something.}}
cases: {cases}
"""
SHORT = "[{name: short}]"
# It generates for as long as a test needs to do something meanwhile.
LONG = "[{name: long, rounds: 20, max_new_tokens: 100}]"
ENDLESS = "[{name: long, rounds: 500, max_new_tokens: 100}]"
POISON = "[{name: poison, backend_options: {llamacpp: {n_gpu_layers: 9}}}, {name: short}]"

pytestmark = pytest.mark.usefixtures("cpus_alone")

Start_ = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def store(tmp_path: Path, tiny: Callable[[str | None, Form], ResolvedModel]) -> Store:
    """An empty store, with the models built."""
    tiny("q8_0", "gguf")
    tiny("f16", "gguf")
    return Store(tmp_path / "store")


@pytest.fixture
def driver(store: Store, tmp_path: Path) -> Iterator[Start_]:
    """Starts a driver of the cases that are said."""
    started: list[subprocess.Popen[str]] = []

    def start(cases: str = SHORT, *words: str) -> subprocess.Popen[str]:
        file = tmp_path / "m.yaml"
        file.write_text(MATRIX.format(cases=cases))
        command = ["-m", "pytest_llmbench", "matrix", "run", str(file), "--store", str(store.path), *words]
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


def ended(process: subprocess.Popen[str], code: Exit = Exit.DONE) -> str:
    """What a driver said until it ended, with that code."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def measuring(store: Store) -> bool:
    """Whether an attempt has begun to measure."""
    return any((matrix_folder(store, "m") / "attempts").glob("*/store/journal/*.jsonl"))


def of_attempts(store: Store) -> list[psutil.Process]:
    """Processes whose folder is one of the matrix's."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if str(store.path) in words and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_driver_that_is_killed_goes_on_and_every_cell_is_stored_once(store: Store, driver: Start_) -> None:
    first = driver(LONG)
    until(lambda: measuring(store))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    # What it had started ends with it.
    until(lambda: not of_attempts(store))
    (part,) = read_parts(matrix_folder(store, "m"))
    lost = [event.session for event in part.events if isinstance(event, Start)]
    assert len(lost) == 1

    said = ended(driver(LONG))
    assert "2 of 2 cells done" in said
    documents = [read_document(path) for path in store.paths()]
    measured = [one.session.cell for one in documents if one.session.cell is not None]
    assert Counter(cell.id for cell in measured).most_common(1)[0][1] == 1
    assert len(measured) == 2
    assert lost[0] not in {one.session.id for one in documents}
    assert {one.cases[0].model.quantization for one in documents} == {"q8_0", "f16"}
    assert all(one.cases[0].metrics["ttft"].n == 20 for one in documents)
    assert list((matrix_folder(store, "m") / "attempts").iterdir()) == []
    assert read_state(store, "m").counts["done"] == 2


def test_a_second_driver_says_who_the_first_one_is_and_sigterm_ends_with_75(
    store: Store, driver: Start_
) -> None:
    first = driver(ENDLESS)
    until(lambda: measuring(store))
    assert read_state(store, "m").counts["running"] == 1
    assert f"by process {first.pid} on" in ended(driver(ENDLESS), Exit.AGAIN)
    first.send_signal(signal.SIGTERM)
    assert "Run the same command again" in ended(first, Exit.AGAIN)
    assert of_attempts(store) == []
    assert read_state(store, "m").counts == {"done": 0, "running": 0, "failed": 0, "left": 2}


def test_what_fails_each_time_is_given_up_with_its_last_words_and_the_rest_goes_on(
    store: Store, driver: Start_
) -> None:
    said = ended(driver(POISON, "--only", "quantization=q8_0"), Exit.FAILED)
    assert "1 of 2 cells done, 1 failed" in said
    state = read_state(store, "m")
    poison = next(cell for cell in state.cells if cell.state == "failed")
    assert (poison.name, poison.end, poison.attempts) == ("poison", "engine", 2)
    assert "n_gpu_layers asks for a GPU" in (poison.reason or "")
    (part,) = read_parts(matrix_folder(store, "m"))
    ends = [event.end for event in part.events if isinstance(event, Ended)]
    assert sorted(ends) == ["engine", "engine", "measured"]
    logs = list((matrix_folder(store, "m") / "logs").iterdir())
    assert len(logs) == 2
    assert all("EngineError" in path.read_text() for path in logs)


def test_an_engine_that_is_not_installed_fails_its_cells_at_once(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    matrix = "{hardware: {cpu: 1}, models: [tiny], servers: [vllm]}"
    file.write_text(f"version: 1\nmatrix: {matrix}\ncases: [{{name: short, prompt: Say something.}}]\n")
    command = [
        sys.executable,
        "-m",
        "pytest_llmbench",
        "matrix",
        "run",
        str(file),
        "--store",
        str(store.path),
    ]
    # An interpreter's own packages alone: whatever servers are installed here are not looked at.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": ""}
    )
    assert done.returncode == Exit.FAILED, done.stdout + done.stderr
    (cell,) = read_state(store, "m").cells
    assert (cell.state, cell.end, cell.attempts) == ("failed", "usage", 1)
    assert "vllm" in (cell.reason or "")

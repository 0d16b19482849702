"""What does ``llmbench matrix run`` add to a cell on Ray, beyond pytest itself?"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, time

import yaml
from pairs import Bound, Measured, NotMeasuredError, Row, alternate, differences

from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.matrix.cells import Cell, Plan, cell_id, digest_of
from pytest_llmbench.matrix.executor import Node
from pytest_llmbench.matrix.exits import Exit
from pytest_llmbench.matrix.on_ray import RayExecutor, connect
from pytest_llmbench.matrix.run import Run
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.ids import SESSION_VARIABLE, new_session_id
from pytest_llmbench.results.store import Store

_CPU = Hardware("cpu")
_NAME = "added"


def _cell(number: int) -> Cell:
    """A cell that measures something short."""
    case = {"name": f"case-{number}", "prompt": "What is a benchmark?", "max_new_tokens": 4, "processes": 1}
    suite = {"version": 1, "defaults": {"models": ["tiny"], "backends": ["llamacpp"], "rounds": 1}}
    return Cell(
        id=cell_id(case, {"name": "tiny"}, _CPU),
        name=str(case["name"]),
        hardware=_CPU,
        engine="llamacpp",
        served=False,
        model="tiny",
        quantization=None,
        load=None,
        suite={**suite, "cases": [case]},
    )


class _Kept:
    """An executor that goes on when a run has ended; its nodes do not change."""

    def __init__(self, executor: RayExecutor) -> None:
        self.free, self.submit = executor.free, executor.submit
        self.wait, self.stop = executor.wait, executor.stop
        self._nodes = executor.nodes()

    def nodes(self) -> Sequence[Node]:
        return self._nodes

    def close(self) -> None:
        pass


def _added(pairs: int) -> Measured:
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        try:
            executor = connect(None, hardware={"cpu": 1})
        except LLMBenchError as error:
            raise NotMeasuredError(str(error)) from None
        try:
            kept = _Kept(executor)

            def ours() -> float:
                """All of a run of one cell: its journal, its lock and its document in the store too."""
                nonlocal number
                number += 1
                cell = _cell(number)
                plan = Plan(_NAME, Path("added.yaml"), digest_of([cell.id]), [cell])
                store = Store(Path(folder) / f"ours-{number}")
                started = perf_counter()
                status = Run(store, plan, kept, say=lambda line: None).go()
                seconds = perf_counter() - started
                if status is not Exit.DONE:
                    msg = f"a run of one cell ended with {status!r}"
                    raise NotMeasuredError(msg)
                return seconds

            def bare() -> float:
                nonlocal number
                number += 1
                return _pytest(Path(folder) / f"bare-{number}", _cell(number))

            return differences(alternate(pairs, ours, bare), "s")
        finally:
            executor.close()


def _pytest(folder: Path, cell: Cell) -> float:
    """Seconds of pytest alone, on the suite of a cell."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    suite = folder / f"{_NAME}.llm.yaml"
    suite.write_text(yaml.safe_dump(dict(cell.suite)))
    command = [sys.executable, "-m", "pytest", str(suite), f"--rootdir={folder}"]
    command += [f"--llm-store={folder / 'store'}", "-p", "no:cacheprovider", "-rs"]
    environment = {**os.environ, SESSION_VARIABLE: new_session_id(time()), "PYTHONUNBUFFERED": "1"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    started = perf_counter()
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    seconds = perf_counter() - started
    if ended.returncode:
        msg = f"pytest ended with {ended.returncode}: {ended.stdout.decode()[-300:]}"
        raise NotMeasuredError(msg)
    return seconds


ROWS = (
    Row(
        "matrix-ray",
        "a run of one cell on Ray - pytest on its suite",
        Bound(at_most=0.3),
        15,
        _added,
        unit=" s",
    ),
)

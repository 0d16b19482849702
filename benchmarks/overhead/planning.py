"""How long does it take to plan a matrix, and to see what of it is left?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time

from documents import timed
from pairs import Bound, Measured, Row

from pytest_llmbench.matrix import state
from pytest_llmbench.matrix.cells import Plan, key_of
from pytest_llmbench.matrix.plan import read_plan
from pytest_llmbench.matrix.summary import write_plan
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.ids import new_session_id
from pytest_llmbench.results.records import CellRecord, ResultsDocument, Session
from pytest_llmbench.results.store import Store

_MATRIX = """\
version: 1
matrix:
  hardware: {L4: [1, 2, 4, 8], A100-80GB: [1, 2, 4, 8], H100: {count: [1, 2, 4, 8], market: spot}}
  models: [tiny, synthetic/llama-82m]
  backends: [llamacpp]
  quantizations: [f16, q8_0, q4_0, q4_k_m, q5_k_m]
cases:
  - name: prefill
    max_new_tokens: 16
    sweep: {parameters: {prompt_tokens: 1-%d+1}}
"""
_A_LENGTH = 12 * 2 * 5
"""Cells that the matrix has for each length of a prompt."""
CELLS, MANY = 9_000, 100_080


@contextmanager
def _file(cells: int) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "matrix.yaml"
        path.write_text(_MATRIX % (cells // _A_LENGTH), encoding="utf-8")
        yield path


def _plan(cells: int, times: int) -> Measured:
    with _file(cells) as path:

        def plan() -> None:
            assert len(read_plan(path).cells) == cells

        return Measured(timed(times, plan))


def _state(times: int) -> Measured:
    """Of a matrix all of whose cells are done, without a journal: every document is looked at."""
    with _file(CELLS) as path, TemporaryDirectory() as folder:
        store = Store(Path(folder))
        plan = read_plan(path)
        write_plan(store, plan)
        _fill(store, plan)

        def look() -> None:
            state._SEEN.clear()  # As a process has it that begins.
            assert state.read_state(store, plan.name).counts["done"] == CELLS

        return Measured(timed(times, look))


def _fill(store: Store, plan: Plan) -> None:
    """A document for each cell: one that is written as they are, with other ids in it."""
    first = plan.cells[0]
    session = Session(id=new_session_id(time()), started="2026-01-01T00:00:00Z", state="finished")
    session.cell = CellRecord(
        matrix=plan.name, id=first.id, key=key_of(first.id, "0"), hardware="L4", count=1, market=None
    )
    document = ResultsDocument(session=session)
    path = write_document(store.document_path(session.id), document)
    text = path.read_text(encoding="utf-8")
    path.unlink()
    rounds = [{"token_times": list(range(1000))}]
    case = json.dumps({"nodeid": "m::prefill[1]", "processes": [{"rounds": rounds}]}, separators=(",", ":"))
    for number, cell in enumerate(plan.cells):
        name = f"{session.id[:-8]}{number:08x}"
        told = text.replace(session.id, name).replace(first.id, cell.id).replace("\n]}", f"\n{case}\n]}}", 1)
        (store.results / f"{name}.json").write_text(told, encoding="utf-8")
    os.sync()


ROWS = (
    Row(
        "plan-9000",
        f"planning a matrix of {CELLS:,} cells",
        Bound(at_most=2.0),
        5,
        lambda n: _plan(CELLS, n),
        "s",
    ),
    Row(
        "plan-100000",
        f"planning a matrix of {MANY:,} cells",
        Bound(at_most=20.0),
        3,
        lambda n: _plan(MANY, n),
        "s",
    ),
    Row(
        "resume-9000", f"finding {CELLS:,} cells done, without a journal", Bound(at_most=1.5), 5, _state, "s"
    ),
)

"""Plans and results of tests."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from pytest_llmbench.matrix.cells import Cell, Plan, cell_id, digest_of
from pytest_llmbench.matrix.executor import Node
from pytest_llmbench.results.cell import Hardware
from pytest_llmbench.results.ids import new_session_id
from pytest_llmbench.results.records import (
    CaseRecord,
    CellRecord,
    ModelRecord,
    ProcessRecord,
    ResultsDocument,
    RoundRecord,
    Session,
)
from pytest_llmbench.results.store import Store

CPU = Hardware("cpu")


def a_cell(name: str = "short", hardware: Hardware = CPU, **more: object) -> Cell:
    """A cell of the model ``tiny``; *more* is of its case."""
    case = {"name": name, **more}
    return Cell(
        id=cell_id(case, {"name": "tiny"}, hardware),
        name=name,
        hardware=hardware,
        engine="llamacpp",
        served=False,
        model="tiny",
        quantization=None,
        load=None,
        suite={"cases": [case]},
    )


def a_plan(*cells: Cell, name: str = "m", batch: int = 100) -> Plan:
    """A plan of *cells*."""
    return Plan(name, Path("matrix.yaml"), digest_of([cell.id for cell in cells]), cells, batch=batch)


def a_node(name: str = "n1", hardware: Mapping[str, int] | None = None, **facts: str) -> Node:
    """A node with one CPU device by default."""
    return Node(name, {"cpu": 1} if hardware is None else hardware, facts, digest_of(facts))


def a_document(
    cell: Cell,
    key: str = "0" * 16,
    *,
    session: str | None = None,
    measured: bool = True,
    matrix: str = "m",
) -> ResultsDocument:
    """The document of a session that measured *cell*."""
    record = CellRecord(
        matrix=matrix, id=cell.id, key=key, hardware=cell.hardware.name, count=cell.hardware.count
    )
    one = RoundRecord(
        prompt_tokens=1,
        output_tokens=1,
        prompt_hash="p",
        output_hash="o",
        finish_reason="length",
        tokenized=0,
        token_times=[0.1],
        done=0.1,
    )
    case = CaseRecord(
        nodeid=f"m.llm.yaml::{cell.name}",
        name=cell.name,
        file="m.llm.yaml",
        model=ModelRecord(name="tiny", backend=cell.engine),
        processes=[ProcessRecord(pid=1, rounds=[one] if measured else [])],
        outcome="passed" if measured else "error",
    )
    found = session or new_session_id(time.time())
    told = Session(id=found, started="2026-01-02T03:04:05Z", state="finished", cell=record)
    return ResultsDocument(session=told, cases=[case])


def stored(store: Store, cell: Cell, key: str = "0" * 16, **more: object) -> str:
    """Store a document of *cell*; returns its session's id."""
    document = a_document(cell, key, **more)  # type: ignore[arg-type]
    store.write(document)
    return document.session.id


def lines(path: Path) -> list[dict[str, object]]:
    """The events of a journal."""
    return [json.loads(line) for line in path.read_text().splitlines()]

"""Does a document say of which cell it is?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.cell import CELL_VARIABLE, hardware_label, hardware_of, session_of, told_cell
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.records import CellRecord, Header, Machine, ResultsDocument, Session

CELL = CellRecord(matrix="nightly", id="0" * 16, key="1" * 16, hardware="L4", count=2, market="spot")


def test_the_environment_says_it() -> None:
    assert told_cell({CELL_VARIABLE: CELL.model_dump_json()}) == CELL
    assert told_cell({}) is None


@pytest.mark.parametrize("told", ["{", "[]", '{"matrix": "../x"}'])
def test_what_is_not_a_cell_is_refused(told: str) -> None:
    with pytest.raises(UsageError, match="does not hold a cell"):
        told_cell({CELL_VARIABLE: told})


def test_it_is_read_from_the_beginning_of_a_document(tmp_path: Path) -> None:
    session = Session(id="20260102T030405Z-0a1b2c3d", started="2026-01-02T03:04:05Z", cell=CELL)
    session.command = ['"cell":{}', '"session":1']
    path = write_document(tmp_path / "a.json", ResultsDocument(session=session))
    assert session_of(path) == session


@pytest.mark.parametrize("content", [b"", b'{"session":', b'{"session":{"id":1}}', b"\xff" * 100])
def test_of_what_is_not_a_document_there_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert session_of(tmp_path / "a.json") is None
    assert session_of(tmp_path / "absent.json") is None


def test_hardware_is_a_matrix_s_label_else_the_product() -> None:
    session = Session(id="s", started="2026-01-01T00:00:00Z")
    processor = Machine(id="m", cpu={"model": "EPYC"})
    graphics = Machine(id="m", cpu={"model": "EPYC"}, gpus=[{"name": "L4"}, {"name": "L4"}])
    mixed = Machine(id="m", gpus=[{"name": "L4"}, {"name": "A10"}])
    assert [
        hardware_of(Header(session=session, machine=one)) for one in (None, processor, graphics, mixed)
    ] == [
        (None, None),
        ("EPYC", 1),
        ("L4", 2),
        (None, None),
    ]
    session.cell = CELL
    assert hardware_of(Header(session=session, machine=processor)) == (CELL.hardware, CELL.count)
    assert [hardware_label("L4", one) for one in (None, 1, 8)] == ["L4", "L4", "L4x8"]

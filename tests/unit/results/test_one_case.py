"""Is one case read as it stands, however the document is laid out?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results.document import read_document, write_document
from pytest_llmbench.results.one_case import read_one_case
from pytest_llmbench.results.records import CaseRecord, ModelRecord, ResultsDocument, Session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    model = ModelRecord(name="tiny", backend="llamacpp")
    cases = [
        CaseRecord(nodeid=f"f.py::test_{number}", name="", file="f.py", model=model, outcome="passed")
        for number in range(3)
    ]
    session = Session(id="20260101T000000Z-aaaaaaaa", started="2026-01-01T00:00:00Z")
    return write_document(tmp_path / "document.json", ResultsDocument(session=session, cases=cases))


@pytest.mark.parametrize("indent", [None, 1])
def test_a_case_is_that_of_the_whole_document(path: Path, indent: int | None) -> None:
    if indent is not None:
        path.write_text(json.dumps(json.loads(path.read_text()), indent=indent))
    whole = read_document(path)
    for position, case in enumerate(whole.cases):
        one = read_one_case(path, position)
        assert one.cases == [case]
        assert one.session == whole.session


@pytest.mark.parametrize("position", [-1, 3])
def test_a_place_without_a_case_is_said(path: Path, position: int) -> None:
    with pytest.raises(ResultsError, match=f"has no case at position {position}"):
        read_one_case(path, position)

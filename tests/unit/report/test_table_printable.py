"""Does nothing act on a terminal that stands in a document which came from elsewhere?"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.report.markdown import markdown_table
from pytest_llmbench.report.table import CasesTable, render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.records import CaseRecord, ResultsDocument, Session
from tests.unit.test_errors_printable import HOSTILE

MakeCase = Callable[..., CaseRecord]


@pytest.mark.parametrize("color", [False, True])
def test_a_table_has_no_escape_sequence_but_those_of_its_colors(make_case: MakeCase, color: bool) -> None:
    case = make_case(f"test_x.py::test_a[{HOSTILE}]", outcome="failed")
    text = render(CasesTable((case,)), Screen(100, color))
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e\ud800]", text)
    assert all(re.match(r"\x1b\[[0-9;]*m", text[at.start() :]) for at in re.finditer("\x1b", text))
    assert ("\x1b[" in text) == color
    assert "owned" in text


def test_markdown_has_no_escape_sequence(make_case: MakeCase) -> None:
    text = markdown_table([make_case(f"test_x.py::test_a[{HOSTILE}]")])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", text)


def test_a_document_of_somebody_else_is_shown_without_acting(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a terminal at the other end nothing else takes escape sequences out.
    monkeypatch.setenv("FORCE_COLOR", "1")
    failed = make_case("test_x.py::test_a[x]", outcome="failed").model_copy(update={"error": "\x1b[2J\x07no"})
    session = Session(id="20260102T030405Z-0a1b2c3d", started="2026-01-02T03:04:05Z", state="finished")
    write_document(tmp_path / "other.json", ResultsDocument(session=session, cases=[failed]))
    for options in ([], ["--case=test_a"]):
        shown = CliRunner().invoke(app, ["show", str(tmp_path / "other.json"), *options], color=True)
        assert shown.exit_code == 0
        assert r"\x1b[2J\x07no" in shown.output
        assert "\x07" not in shown.output

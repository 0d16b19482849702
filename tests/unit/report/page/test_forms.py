"""Is a report written in the form that its name asks for?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.report.page import forms, html
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import ResultsDocument

DOCUMENTS = Path(__file__).parents[2] / "results" / "documents"


def _document(name: str = "engine") -> ResultsDocument:
    return read_document(DOCUMENTS / f"{name}-1.0.json")


def test_a_name_that_asks_for_no_form_is_refused() -> None:
    with pytest.raises(UsageError, match=r"report.txt has to end in .html, .pdf or .md"):
        forms.form_of(Path("report.txt"))


def test_each_suffix_has_a_form() -> None:
    assert set(forms.SUFFIXES.values()) == set(forms.FORMS)


def test_markdown_has_each_session_and_names_what_is_damaged(tmp_path: Path) -> None:
    empty = _document("load")
    empty.cases = []
    path = tmp_path / "new folder" / "report.md"
    assert forms.write_report(path, [_document(), empty], ["x.json is damaged"]) == [path]
    text = path.read_text()
    assert text.startswith("**x.json is damaged**")
    assert text.count("## Session ") == 2
    assert "No benchmark was measured in this session." in text


def test_pictures_are_a_file_a_chart(tmp_path: Path) -> None:
    written = forms.write_report(tmp_path, [_document()], form="svg")
    assert tmp_path / "ecdf-ttft.svg" in written
    assert all(path.read_text().startswith("<") for path in written)


def test_what_fails_at_the_end_says_how_to_make_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> list[object]:
        raise ZeroDivisionError("here")

    monkeypatch.setattr(html, "charts_of", fail)
    document = _document()
    with pytest.raises(ResultsError, match=f"ZeroDivisionError.*llmbench report {document.session.id}"):
        forms.write_at_end(tmp_path / "report.html", document)

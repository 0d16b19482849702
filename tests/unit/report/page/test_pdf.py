"""Is a report printed with its texts, with a browser and without?"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.report.page import pdf
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import ResultsDocument

DOCUMENTS = Path(__file__).parents[2] / "results" / "documents"


def _document() -> ResultsDocument:
    return read_document(DOCUMENTS / "load-1.0.json")


@pytest.mark.parametrize("engine", ["browser", "weasyprint"])
def test_a_pdf_has_the_texts_of_tables_and_charts(tmp_path: Path, engine: pdf.Engine) -> None:
    if engine == "browser" and pdf.find_browser() is None:
        pytest.skip("there is no browser: install Debian's package chromium")
    if engine == "weasyprint":
        pytest.importorskip("weasyprint", exc_type=OSError, reason="WeasyPrint needs Pango")
    if shutil.which("pdftotext") is None:
        pytest.skip("there is no pdftotext: install poppler-utils")
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf.pdf_report([_document()], engine=engine))
    told = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True).stdout
    for words in ("Verdicts", "Load levels", "concurrency", "How each number is made"):
        assert words in told


def test_a_browser_that_is_named_and_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMBENCH_BROWSER", "no-such-browser")
    with pytest.raises(UsageError, match="LLMBENCH_BROWSER=no-such-browser: there is no such program"):
        pdf.check_pdf()


def test_a_browser_that_prints_nothing_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "browser"
    broken.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no display')\n")
    broken.chmod(0o755)
    monkeypatch.setenv("LLMBENCH_BROWSER", str(broken))
    with pytest.raises(ResultsError, match="could not print the report: no display; try --pdf-engine"):
        pdf.pdf_report([_document()], engine="browser")


def test_without_a_browser_and_asked_for_one_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "BROWSERS", ())
    monkeypatch.delenv("LLMBENCH_BROWSER", raising=False)
    with pytest.raises(UsageError, match="install Chromium, or name one with LLMBENCH_BROWSER"):
        pdf.check_pdf("browser")

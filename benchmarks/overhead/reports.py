"""How long does a report of many cases take to open, and to print?"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from documents import measured_documents
from pairs import Bound, Measured, NotMeasuredError, Row

from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import ResultsDocument

_MANY = 1000


@contextmanager
def _document() -> Iterator[tuple[ResultsDocument, Path]]:
    with measured_documents() as (path,):
        document = read_document(path)
        document.cases = document.cases[:_MANY]
        yield document, path.parent


def _open(times: int) -> Measured:
    """Until the page is there and every chart in view is drawn, in a browser that runs already."""
    browser = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright

        from pytest_llmbench.report.page.html import html_report
    except ImportError as error:
        raise NotMeasuredError(str(error)) from None
    if browser is None:
        msg = "there is no chromium"
        raise NotMeasuredError(msg)
    values = []
    with _document() as (document, folder), sync_playwright() as playwright:
        page = folder / "report.html"
        page.write_text(html_report([document]), encoding="utf-8")
        size = page.stat().st_size / 1e6
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for _ in range(times + 1):
            tab = started.new_page(viewport={"width": 1280, "height": 900})
            began = perf_counter()
            tab.goto(page.as_uri(), wait_until="load")
            tab.locator("[data-drawn]").first.wait_for(state="attached")
            values.append(perf_counter() - began)
            tab.close()
        started.close()
    return Measured(values[1:], {"size of the page, MB": size})


def _print(times: int) -> Measured:
    """With the start of the browser."""
    from pytest_llmbench.report.page.pdf import pdf_report

    values = []
    with _document() as (document, _):
        for _ in range(times + 1):
            began = perf_counter()
            try:
                made = pdf_report([document], engine="browser")
            except LLMBenchError as error:
                raise NotMeasuredError(str(error)) from None
            values.append(perf_counter() - began)
    return Measured(values[1:], {"size of the PDF, MB": len(made) / 1e6})


ROWS = (
    Row("report-open", f"opening a report of {_MANY:,} cases", Bound(at_most=1.5), 5, _open, "s"),
    Row(
        "report-pdf",
        f"a PDF of {_MANY:,} cases, by a browser that is started",
        Bound(at_most=5.0),
        3,
        _print,
        "s",
    ),
)

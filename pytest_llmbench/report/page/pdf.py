"""How does a report become a PDF: by a browser that prints it, or by WeasyPrint?

Both print the same page with its styles for paper. A browser draws the charts as it does on a screen; where
there is none, matplotlib's drawings stand in their places.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.errors import ResultsError, UsageError, needs_extra, one_line
from pytest_llmbench.report.page.html import html_report

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument

Engine = Literal["auto", "browser", "weasyprint"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
"""Looked for in this order on the PATH; the variable ``LLMBENCH_BROWSER`` names another one."""
PATIENCE = 120.0
"""Seconds that a browser may take."""


def find_browser() -> str | None:
    """A browser that prints, or None.

    :raises UsageError: if ``LLMBENCH_BROWSER`` names a program that is not there.
    """
    named = os.environ.get("LLMBENCH_BROWSER")
    if named:
        if (found := shutil.which(named)) is None:
            msg = f"LLMBENCH_BROWSER={named}: there is no such program; name Chromium, Chrome or Edge"
            raise UsageError(msg)
        return found
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def check_pdf(engine: Engine = "auto") -> None:
    """Whether a PDF can be made here.

    :raises UsageError: saying what is missing.
    """
    if engine != "weasyprint" and find_browser() is not None:
        return
    if engine == "browser":
        msg = "there is no browser to print with: install Chromium, or name one with LLMBENCH_BROWSER"
        raise UsageError(msg)
    try:
        import weasyprint  # noqa: F401
    except (ImportError, OSError):
        # It loads Pango, a library of the system, and says OSError without.
        raise needs_extra("PDFs without a browser", "WeasyPrint (and Pango)", "report") from None


def pdf_report(
    documents: Sequence[ResultsDocument], problems: Sequence[str] = (), *, engine: Engine = "auto"
) -> bytes:
    """The report of *documents* as a PDF.

    :raises UsageError: if what makes one is not installed.
    :raises ResultsError: if the browser could not print.
    """
    check_pdf(engine)
    browser = None if engine == "weasyprint" else find_browser()
    if browser is not None:
        return _printed(browser, html_report(documents, problems))
    from weasyprint import HTML

    def nothing(url: str) -> dict[str, object]:
        msg = f"a report refers to nothing outside, and not to {url}"
        raise ValueError(msg)

    page = HTML(string=html_report(documents, problems, drawn=True), url_fetcher=nothing)
    return bytes(page.write_pdf())


def _printed(browser: str, page: str) -> bytes:
    """*page* as *browser* prints it, in a profile of its own that goes with it."""
    with tempfile.TemporaryDirectory(prefix="llmbench-pdf-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        source, target = folder / "report.html", folder / "report.pdf"
        source.write_text(page, encoding="utf-8")
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            f"--user-data-dir={folder / 'profile'}",
            "--no-pdf-header-footer",
            # It waits for the charts, and counts no real seconds.
            "--virtual-time-budget=20000",
            f"--print-to-pdf={target}",
            source.as_uri(),
        ]
        # The browser's own sandbox refuses root.
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
            )
            return target.read_bytes()
        except subprocess.TimeoutExpired:
            why = f"it took longer than {PATIENCE:.0f} s"
        except OSError:
            lines = ended.stderr.strip().splitlines() if "ended" in locals() else []
            why = one_line(lines[-1]) if lines else "it wrote no file"
        msg = f"{browser} could not print the report: {why}; try --pdf-engine weasyprint"
        raise ResultsError(msg)

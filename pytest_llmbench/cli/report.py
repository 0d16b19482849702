"""How does a session, or several side by side, become a page to look at and to share: ``llmbench report``?"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.documents import read, warn
from pytest_llmbench.cli.options import STORE, StoreOption, say
from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.report.page.forms import ReportFormat

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument


class PdfEngine(StrEnum):
    """What makes a PDF."""

    AUTO = "auto"
    BROWSER = "browser"
    WEASYPRINT = "weasyprint"


def write(
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REF]...", help="Which documents; the newest by default."),
    ] = None,
    form: Annotated[
        ReportFormat | None,
        typer.Option("--format", "-f", help="What to write; by default, what the file's name ends in."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="The file; for png and svg a folder, with a file a chart."
        ),
    ] = None,
    engine: Annotated[
        PdfEngine,
        typer.Option("--pdf-engine", help="What makes a PDF: auto takes a browser where there is one."),
    ] = PdfEngine.AUTO,
    store: StoreOption = STORE,
) -> None:
    """Write a report with verdicts, tables and charts; several documents stand side by side in it."""
    from pytest_llmbench.report.page.forms import PICTURES, check, form_of, write_report

    suffix = {None: ".html", ReportFormat.MARKDOWN: ".md"}.get(form, f".{form}")
    path = output or Path(f"report{'' if form in PICTURES else suffix}")
    chosen = str(form or form_of(path))
    if chosen not in PICTURES and path.is_dir():
        msg = f"--output {path} is a folder; name a file in it"
        raise UsageError(msg)
    check(chosen, engine.value)
    documents: list[ResultsDocument] = []
    problems: list[str] = []
    for ref in refs or ["latest"]:
        try:
            documents.append(read(store, ref))
        except ResultsError as error:
            if refs is None or len(refs) == 1:
                raise
            problems.append(str(error))
    warn(problems)
    for written in write_report(path, documents, problems, form=chosen, engine=engine.value):
        say(str(written))
    if problems:
        raise typer.Exit(1)

"""In which forms can a report be written, and how is one chosen by a file's name?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_llmbench.errors import LLMBenchError, ResultsError, UsageError, needs_extra, one_line
from pytest_llmbench.results.files import atomic_write, make_folder

if TYPE_CHECKING:
    from pytest_llmbench.report.page.pdf import Engine
    from pytest_llmbench.results.records import ResultsDocument

Documents = Sequence["ResultsDocument"]


class ReportFormat(StrEnum):
    """What a report can be."""

    HTML = "html"
    PDF = "pdf"
    MARKDOWN = "markdown"
    PNG = "png"
    SVG = "svg"


def _html(documents: Documents, problems: Sequence[str], _: Engine) -> bytes:
    from pytest_llmbench.report.page.html import html_report

    return html_report(documents, problems).encode()


def _pdf(documents: Documents, problems: Sequence[str], engine: Engine) -> bytes:
    from pytest_llmbench.report.page.pdf import pdf_report

    return pdf_report(documents, problems, engine=engine)


def _markdown(documents: Documents, problems: Sequence[str], _: Engine) -> bytes:
    from pytest_llmbench.gate.kept import kept_comparison
    from pytest_llmbench.report.comparison import markdown_comparison
    from pytest_llmbench.report.markdown import escaped, markdown_table
    from pytest_llmbench.report.uses import advice
    from pytest_llmbench.report.uses import markdown as markdown_advice

    parts = [f"**{escaped(problem)}**\n" for problem in problems]
    for document in documents:
        parts.append(f"## Session {escaped(document.session.id)}\n")
        if not document.cases:
            parts.append("No benchmark was measured in this session.\n")
            continue
        if (comparison := kept_comparison(document)) is not None:
            parts.append(markdown_comparison(comparison))
        parts.append(markdown_table(document.cases))
    if found := advice(documents):
        parts.append(markdown_advice(found))
    return "\n".join(parts).encode()


FORMS: Mapping[str, Callable[[Documents, Sequence[str], Engine], bytes]] = MappingProxyType(
    {ReportFormat.HTML: _html, ReportFormat.PDF: _pdf, ReportFormat.MARKDOWN: _markdown}
)
"""By name, what makes one file."""
PICTURES = (ReportFormat.PNG, ReportFormat.SVG)
"""Forms of which each chart is a file in a folder."""
SUFFIXES = MappingProxyType(
    {
        ".html": ReportFormat.HTML,
        ".htm": ReportFormat.HTML,
        ".pdf": ReportFormat.PDF,
        ".md": ReportFormat.MARKDOWN,
    }
)


def form_of(path: Path) -> str:
    """The form that the name of a file asks for.

    :raises UsageError: if it asks for none.
    """
    form = SUFFIXES.get(path.suffix.lower())
    if form is None:
        msg = f"{path} has to end in .html, .pdf or .md, which says in what form the report is written"
        raise UsageError(msg)
    return form


def check(form: str, engine: Engine = "auto") -> None:
    """Whether a report can be written in *form* here.

    :raises UsageError: saying which extra is missing.
    """
    if form == "pdf":
        from pytest_llmbench.report.page.pdf import check_pdf

        check_pdf(engine)
    if form in ("html", "pdf"):
        try:
            import jinja2  # noqa: F401
        except ImportError:
            raise needs_extra("reports", "Jinja2", "report") from None


def write_report(
    path: Path,
    documents: Documents,
    problems: Sequence[str] = (),
    *,
    form: str | None = None,
    engine: Engine = "auto",
) -> list[Path]:
    """Write the report of *documents* to *path*: a file, or of pictures a folder. Returns what was written.

    :raises UsageError: for a name or a form that is not there, and for a missing extra.
    :raises ResultsError: if it cannot be written.
    """
    form = form or form_of(path)
    if form in PICTURES:
        from pytest_llmbench.report.charts.draw import write_pictures
        from pytest_llmbench.report.charts.registry import charts_of

        return write_pictures(charts_of(documents), path, "png" if form == "png" else "svg")
    data = FORMS[form](documents, problems, engine)
    make_folder(path.parent)
    atomic_write(path, data)
    return [path]


def write_at_end(path: Path, document: ResultsDocument) -> str:
    """Write the report of a session that has ended, and whose document is in the store. Returns what it did.

    :raises ResultsError: if it could not be made or written, whatever was in its way: nothing else is lost.
    """
    try:
        write_report(path, [document])
    except LLMBenchError as error:
        msg = f"--llm-report: {error}"
        raise ResultsError(msg) from None
    except Exception as error:  # noqa: BLE001 - a chart that fails must not take the session's end with it
        msg = (
            f"--llm-report: {path} could not be made ({type(error).__name__}: {one_line(str(error))}); the "
            f"results are kept, and 'llmbench report {document.session.id}' makes it of them"
        )
        raise ResultsError(msg) from None
    return f"report: {path}"

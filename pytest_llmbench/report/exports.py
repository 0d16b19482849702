"""In which other forms can a document be written, and what does each need?

One table: the command line's choices and its help, and the page of the documentation, are made of it. What
writes a form is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.errors import UsageError, suggest

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument

Gives = Literal["text", "bytes", "folder"]
"""What a form is: a text, bytes that no terminal shows, or files by their names."""
Option = Literal["metric", "columns"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user may say beside the form; None and nothing where it is not said."""

    metric: str | None = None
    """The metric that a form of one metric has."""
    columns: Sequence[str] = ()
    """Further columns of a table that a person reads."""


Written = str | bytes | Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One form."""

    name: str
    help: str
    """What it has, and for whom."""
    write: Callable[[ResultsDocument, Wanted], Written]
    gives: Gives = "text"
    extra: str | None = None
    """The extra with the library that it needs; None where the core has all."""
    takes: Option | None = None
    """The option that is for this form alone."""


def _csv(document: ResultsDocument, _: Wanted) -> str:
    from pytest_llmbench.results.exports.text import to_csv

    return to_csv(document)


def _csv_long(document: ResultsDocument, _: Wanted) -> str:
    from pytest_llmbench.results.exports.text import to_long_csv

    return to_long_csv(document)


def _parquet(document: ResultsDocument, _: Wanted) -> bytes:
    from pytest_llmbench.results.exports.parquet import to_parquet

    return to_parquet(document)


def _parquet_long(document: ResultsDocument, _: Wanted) -> bytes:
    from pytest_llmbench.results.exports.parquet import to_long_parquet

    return to_long_parquet(document)


def _jsonl(document: ResultsDocument, _: Wanted) -> str:
    from pytest_llmbench.results.exports.text import to_jsonl

    return "".join(to_jsonl(document))


def _per_run(document: ResultsDocument, _: Wanted) -> str:
    from pytest_llmbench.results.exports.text import to_per_run

    return "".join(to_per_run(document))


def _markdown(document: ResultsDocument, wanted: Wanted) -> str:
    from pytest_llmbench.report.markdown import markdown_table

    return markdown_table(document.cases, wanted.columns)


def _files(document: ResultsDocument, _: Wanted) -> Mapping[str, bytes]:
    from pytest_llmbench.report.files import to_files

    return to_files(document)


def _levels(document: ResultsDocument, _: Wanted) -> str:
    import json

    from pytest_llmbench.results.exports.levels import to_levels

    return json.dumps(to_levels(document), indent=2) + "\n"


def _pytest_benchmark(document: ResultsDocument, wanted: Wanted) -> str:
    import json

    from pytest_llmbench.results.exports.text import DEFAULT_METRIC, to_pytest_benchmark

    return json.dumps(to_pytest_benchmark(document, wanted.metric or DEFAULT_METRIC), indent=2) + "\n"


EXPORTS: Mapping[str, Export] = {
    row.name: row
    for row in (
        Export(name="csv", help="a row a case, units in the columns' names", write=_csv),
        Export(name="csv-long", help="a row a number, for tools that pivot", write=_csv_long),
        Export(
            name="parquet",
            help="Parquet, a row a case",
            write=_parquet,
            gives="bytes",
            extra="parquet",
        ),
        Export(
            name="parquet-long",
            help="Parquet, a row a number",
            write=_parquet_long,
            gives="bytes",
            extra="parquet",
        ),
        Export(name="jsonl", help="JSON Lines, a line a round", write=_jsonl),
        Export(name="per-run", help="the same under the names of per_run.jsonl", write=_per_run),
        Export(
            name="markdown", help="the table of 'show', for a pull request", write=_markdown, takes="columns"
        ),
        Export(
            name="pytest-benchmark",
            help="JSON with a benchmark a case, for the tools that read that plugin's",
            write=_pytest_benchmark,
            takes="metric",
        ),
        Export(
            name="levels",
            help="JSON of one model with an entry an engine and a concurrency",
            write=_levels,
        ),
        Export(
            name="files",
            help="four files for a folder: conversations as CSV, JSON and Markdown, and the system",
            write=_files,
            gives="folder",
        ),
    )
}


def named(name: str) -> Export:
    """The form called *name*.

    :raises UsageError: if there is none; it lists what there is.
    """
    if (row := EXPORTS.get(name)) is None:
        msg = f"there is no form {name!r}{suggest(name, list(EXPORTS)) or '.'} There are {', '.join(EXPORTS)}"
        raise UsageError(msg)
    return row


def export(document: ResultsDocument, name: str, wanted: Wanted | None = None) -> Written:
    """*document* in the form called *name*: a text, bytes, or a folder's files by their names.

    :raises UsageError: if there is no such form, an option is for another one, or its library is missing.
    """
    row, wanted = named(name), wanted or Wanted()
    for option, value in (("metric", wanted.metric), ("columns", wanted.columns)):
        if value and row.takes != option:
            its = next(other.name for other in EXPORTS.values() if other.takes == option)
            msg = f"--{option} is for --format {its}; {name} has every metric"
            raise UsageError(msg)
    return row.write(document, wanted)

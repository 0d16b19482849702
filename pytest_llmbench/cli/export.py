"""How does a document leave the store: ``llmbench export`` and ``llmbench badge``?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.documents import RefArgument, matching, one_case, read
from pytest_llmbench.cli.options import STORE, StoreOption, say
from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.report.badge import DEFAULT_AGE, DEFAULT_METRIC
from pytest_llmbench.report.exports import EXPORTS, Wanted, Written, export, named

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument

EXPORT_HELP = (
    "Write a document in another form.\n\n\b\n"
    + "\n".join(
        f"- {row.name}: {row.help}" + (f" (extra {row.extra})" if row.extra else "")
        for row in EXPORTS.values()
    )
    + "\n\nOr send it to an MLflow server: --to mlflow URL."
)

ColumnsOption = Annotated[
    str,
    typer.Option(
        "--columns",
        metavar="NAMES",
        help="Further columns of the table: size (of the model's files), or any metric, such as load_time.",
    ),
]
DEFAULT_FORM = "csv"
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="The file or folder; standard output by default."),
]


class BadgeFormat(StrEnum):
    """What ``badge`` writes."""

    SVG = "svg"
    JSON = "json"


def column_names(columns: str) -> list[str]:
    """The further columns of a table; unknown names are refused."""
    from pytest_llmbench.report.rows import requested

    names = columns.replace(",", " ").split()
    requested(names)
    return names


def export_document(
    ref: RefArgument = "latest",
    form: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            metavar="NAME",
            help="What to write: one of those above.",
        ),
    ] = DEFAULT_FORM,
    output: OutputOption = None,
    case: Annotated[
        str | None,
        typer.Option("--case", metavar="TEXT", help="Cases with TEXT in their id; all by default."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The metric that pytest-benchmark's JSON has as timings: ttft, tpot, itl, load_time or, "
            "by default, e2e_latency.",
        ),
    ] = None,
    columns: ColumnsOption = "",
    to: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--to",
            metavar="mlflow URL",
            help="Send it to the MLflow server at URL, with a run a case; what is there already stays.",
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of --to mlflow: where the runs go; pytest-llmbench by default."),
    ] = None,
    store: StoreOption = STORE,
) -> None:
    """Write a document in another form; its help is made of the table."""
    if to is not None:
        if form != DEFAULT_FORM or output is not None or metric is not None or columns:
            msg = "--to sends everything; leave out --format, --output, --metric and --columns"
            raise UsageError(msg)
        document = read(store, ref)
        # Another session may be the newest by then.
        again = ["llmbench", "export", ref if Path(ref).is_file() else document.session.id]
        again += ["--store", str(store)] if store != STORE else []
        again += ["--case", case] if case is not None else []
        again += ["--experiment", experiment] if experiment is not None else []
        if case is not None:
            document = document.model_copy(update={"cases": matching(document, case)})
        _send(document, *to, experiment, [*again, "--to", to[0]])
        return
    if experiment is not None:
        msg = "--experiment is for --to mlflow URL"
        raise UsageError(msg)
    need_a_name(form, output)
    wanted = Wanted(metric=metric, columns=column_names(columns))
    document = read(store, ref)
    if case is not None:
        document = document.model_copy(update={"cases": matching(document, case)})
    write_form(export(document, form, wanted), output)


def show_badge(
    case: Annotated[str, typer.Argument(metavar="CASE", help="Text in the id of the one case to show.")],
    ref: Annotated[
        str, typer.Option("--ref", metavar="REF", help="Which document; the newest by default.")
    ] = "latest",
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="The metric whose median is shown.")
    ] = DEFAULT_METRIC,
    max_age: Annotated[
        str, typer.Option(metavar="TIME", help="An older measurement is gray: 12h, 30d, 8w.")
    ] = DEFAULT_AGE,
    label: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The left side; by default the model and the metric.")
    ] = None,
    form: Annotated[
        BadgeFormat, typer.Option("--format", "-f", help="A picture, or what shields.io reads.")
    ] = BadgeFormat.SVG,
    output: OutputOption = None,
    store: StoreOption = STORE,
) -> None:
    """Make a badge of a case: one number and its verdict, gray where it is old or not known."""
    import json

    from pytest_llmbench.report.badge import badge
    from pytest_llmbench.times import read_span

    try:
        age = read_span(max_age)
    except ValueError as error:
        msg = f"--max-age: {error}"
        raise UsageError(msg) from None
    document = read(store, ref)
    made = badge(document, one_case(document, case), metric, max_age=age, label=label)
    write_form(made.svg() if form is BadgeFormat.SVG else json.dumps(made.json()) + "\n", output)


def _send(
    document: ResultsDocument, name: str, url: str, experiment: str | None, again: Sequence[str]
) -> None:
    """Send it to a server.

    :param again: the command that goes on where it broke off, but the server's address.
    :raises UsageError: if there is no such kind of server, or it did not take everything.
    """
    from pytest_llmbench.results.exports.tracking import DEFAULT_EXPERIMENT, BrokenOffError, Tracking

    if name != "mlflow":
        msg = f"--to {name} {url}: use --to mlflow URL{suggest(name, ['mlflow'])}"
        raise UsageError(msg)
    server = Tracking(url)
    where = DEFAULT_EXPERIMENT if experiment is None else experiment
    session = document.session.id
    try:
        sent = server.send(document, where)
    except BrokenOffError as error:
        msg = f"{error}. What is there stays, and this goes on: {shlex.join(again)} {server.shown}"
        raise UsageError(msg) from None
    say(
        f"Session {session} is in experiment {where} ({sent.experiment}) of {server.shown}: "
        f"{sent.new} cases sent, {sent.there} there before"
    )


def need_a_name(form: str, output: Path | None) -> None:
    """Refuse, before anything is made, what standard output cannot take.

    :raises UsageError: saying that a file or a folder has to be named.
    """
    gives = named(form).gives
    if output is None and (gives == "folder" or (gives == "bytes" and on_a_terminal())):
        what = "several files: name a folder" if gives == "folder" else "not text: name a file"
        msg = f"--format {form} is {what} with --output"
        raise UsageError(msg)


def on_a_terminal() -> bool:
    """Whether a person sees what is written to standard output."""
    return sys.stdout.isatty()


def write_form(written: Written, output: Path | None) -> None:
    """Write it to standard output, a file or a folder."""
    from pytest_llmbench.results.files import atomic_write

    files = written if isinstance(written, Mapping) else {"": written}
    for name, data in files.items():
        raw = data.encode() if isinstance(data, str) else data
        if output is None:
            sys.stdout.flush()
            sys.stdout.buffer.write(raw)
            continue
        path = output / name if name else output
        atomic_write(path, raw)
        typer.echo(f"Wrote {path}", err=True)

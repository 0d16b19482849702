"""What can be done without pytest: see, export and recover results, and build models?

Exit status: 0, done; 1, done in part (a journal could not be recovered) or a regression; 2, bad
input. A damaged document is named on standard error and passed over.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from pytest_llmbench import __version__
from pytest_llmbench.cli import gate as cli_gate
from pytest_llmbench.cli import report as cli_report
from pytest_llmbench.cli.conversations import list_conversations
from pytest_llmbench.cli.documents import RefArgument, matching, read, warn
from pytest_llmbench.cli.export import EXPORT_HELP, ColumnsOption, column_names, export_document, show_badge
from pytest_llmbench.cli.history import show_history
from pytest_llmbench.cli.index import index_app
from pytest_llmbench.cli.matrix import matrix_app
from pytest_llmbench.cli.models import models_app
from pytest_llmbench.cli.options import STORE, StoreOption, print_columns, say
from pytest_llmbench.cli.presets import list_presets
from pytest_llmbench.cli.query import query, show_trend
from pytest_llmbench.cli.recommend import recommend
from pytest_llmbench.cli.run import run_suite
from pytest_llmbench.cli.serve import serve
from pytest_llmbench.cli.suite import suite_app
from pytest_llmbench.errors import LLMBenchError
from pytest_llmbench.metrics.units import count
from pytest_llmbench.report.terminal import standard_output

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, Header, ResultsDocument
    from pytest_llmbench.results.store import Store

# Commands import what they need themselves: --help must not wait for it.


class _Group(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a command; what a user can do something about is one line, not a traceback."""
        try:
            return super().invoke(ctx)
        except LLMBenchError as error:
            typer.echo(f"llmbench: error: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    name="llmbench",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Results and models of pytest-llmbench.",
    epilog="Exit status: 0 done; 1 done in part; 2 bad input. "
    "REF is a document's path, 'latest', a session's id, or enough of the id to be the only one.",
)
app.add_typer(models_app, name="models")
app.command("presets")(list_presets)
app.command("conversations")(list_conversations)
app.add_typer(suite_app, name="suite")
app.add_typer(index_app, name="index")
app.add_typer(matrix_app, name="matrix")
app.command("query")(query)
app.command("trend")(show_trend)
app.command("recommend")(recommend)
app.command("export", help=EXPORT_HELP)(export_document)
app.command("badge")(show_badge)
app.command("serve")(serve)
app.command("report")(cli_report.write)
app.command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run_suite)


class ShowFormat(StrEnum):
    """What ``show`` writes."""

    TEXT = "text"
    MARKDOWN = "markdown"


class SchemaOf(StrEnum):
    """Of what ``schema`` prints one."""

    DOCUMENT = "document"
    SETTINGS = "settings"
    PRESETS = "presets"
    SUITE = "suite"
    CONVERSATIONS = "conversations"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pytest-llmbench {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command("list")
def list_sessions(store: StoreOption = STORE) -> None:
    """List the sessions of the store, the newest first."""
    found = _store(store)
    entries, problems = found.documents()
    rows: list[tuple[str, ...]] = [("SESSION", "STATE", "CASES", "COMMIT", "GPU OR CPU")]
    rows += [_session_row(entry.id, entry.header) for entry in entries]
    if entries:
        print_columns(rows)
    else:
        typer.echo(f"There is no session in {found.path}.", err=True)
    warn(problems)
    _hint_at_journals(found, {entry.id for entry in entries})


@app.command()
def show(
    ref: RefArgument = "latest",
    case: Annotated[
        str | None,
        typer.Option("--case", metavar="TEXT", help="Show all metrics of cases with TEXT in their id."),
    ] = None,
    columns: ColumnsOption = "",
    form: Annotated[
        ShowFormat, typer.Option("--format", "-f", help="What to write; markdown is for a pull request.")
    ] = ShowFormat.TEXT,
    store: StoreOption = STORE,
) -> None:
    """Show a document's table and verdicts, or cases in full."""
    from pytest_llmbench.gate.kept import kept_comparison
    from pytest_llmbench.report.comparison import comparison_table
    from pytest_llmbench.report.table import case_tables

    document = read(store, ref)
    if form is ShowFormat.MARKDOWN:
        chosen = document.cases if case is None else matching(document, case)
        sys.stdout.write(_comment(document.model_copy(update={"cases": chosen}), column_names(columns)))
        return
    if case is not None:
        for one in matching(document, case):
            _show_case(one)
        return
    tables = case_tables(document.cases, column_names(columns))
    for line in _about(document):
        say(line)
    typer.echo()
    for table in tables:
        _render(table)
    if (comparison := kept_comparison(document)) is not None:
        typer.echo()
        _render(comparison_table(comparison))
    failed = []
    for one in document.cases:
        if one.outcome != "passed":
            reason = f": {one.error.strip().splitlines()[0]}" if one.error and one.error.strip() else ""
            failed.append(f"{one.outcome}: {one.nodeid}{reason}")
    # A test may have many cases, as each turn of a conversation is one.
    for line in dict.fromkeys(failed):
        say(line)


@app.command()
def schema(
    of: Annotated[SchemaOf, typer.Argument(help="What the schema is of.")] = SchemaOf.DOCUMENT,
) -> None:
    """Print the JSON Schema of results documents; or, as YAML has them, of settings, presets, suites or
    conversations."""
    import json

    if of is SchemaOf.CONVERSATIONS:
        from pytest_llmbench.settings.conversations import conversations_schema

        made = conversations_schema()
    elif of is not SchemaOf.DOCUMENT:
        from pytest_llmbench.backends.registry import Registry
        from pytest_llmbench.settings.schema import presets_schema, settings_schema
        from pytest_llmbench.settings.suite_schema import suite_schema

        makers = {SchemaOf.PRESETS: presets_schema, SchemaOf.SUITE: suite_schema}
        made = makers.get(of, settings_schema)(Registry())
    else:
        from pytest_llmbench.results.document import json_schema

        made = json_schema()
    typer.echo(json.dumps(made, indent=2))


@app.command()
def recover(
    store: StoreOption = STORE,
    force: Annotated[
        bool, typer.Option("--force", help="Also sessions of other machines, which may still be running.")
    ] = False,
) -> None:
    """Make documents of sessions that were killed. Sessions that still run are left alone."""
    from pytest_llmbench.results.journal import recover as recover_journals

    found = recover_journals(_store(store), force=force)
    if not found:
        typer.echo("There is nothing to recover.")
    failed = False
    for one in found:
        failed |= one.status == "failed"
        left = " and ".join(str(path) for path in one.kept)
        journal = f"journal kept: {left}" if left else "journal removed"
        said = {
            "recovered": f"recovered {one.cases} cases: {one.path}",
            "running": "is still running, left alone",
            "elsewhere": "was written on another machine and may still be running there; --force takes it",
            "complete": f"has a document already, {journal}",
            "empty": f"had finished no case, {journal}",
            "failed": "could not be recovered",
        }[one.status]
        typer.echo(f"{one.session_id}: {said}")
        warn(one.problems)
    if failed:
        raise typer.Exit(1)


cli_gate.add_to(app)
app.command("history")(show_history)


def _store(path: Path) -> Store:
    from pytest_llmbench.results.store import Store

    return Store(path)


def _hint_at_journals(store: Store, known: set[str]) -> None:
    from pytest_llmbench.results.journal import journals

    unfinished = {path.name.partition(".")[0] for path in journals(store)} - known
    if unfinished:
        typer.echo(
            f"{count(len(unfinished), 'session')} without a document, running or killed: "
            "'llmbench recover' makes one.",
            err=True,
        )


def _session_row(session_id: str, header: Header) -> tuple[str, ...]:
    machine = header.machine
    hardware = "-"
    if machine is not None:
        names = [str(gpu.get("name")) for gpu in machine.gpus] or [str(machine.cpu.get("model") or "-")]
        hardware = names[0] if len(names) == 1 else f"{len(names)} x {names[0]}"
    commit = header.commit.short or "-"
    return session_id, header.session.state, _counted(header.session.outcomes), commit, hardware


def _counted(outcomes: dict[str, int]) -> str:
    if not outcomes:
        return "-"
    rest = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items() if outcome != "passed")
    total = str(sum(outcomes.values()))
    return f"{total} ({rest})" if rest else total


def _about(document: ResultsDocument) -> list[str]:
    session, machine, commit = document.session, document.machine, document.commit
    lines = [f"Session {session.id}, {session.state}, started {session.started}"]
    if machine is not None:
        cores = machine.cpu.get("physical_cores") or machine.cpu.get("logical_cores")
        gpus = ", ".join(str(gpu.get("name")) for gpu in machine.gpus)
        lines.append(
            f"Machine {machine.id}: {machine.cpu.get('model')}, {cores} cores" + (gpus and f", {gpus}")
        )
    if commit.id is not None:
        dirty = ", with uncommitted changes" if commit.dirty else ""
        lines.append(f"Commit  {commit.id[:12]} on {commit.branch or 'no branch'}{dirty}")
    return lines


def _show_case(case: CaseRecord) -> None:
    from pytest_llmbench.metrics.units import quantity

    label = "" if case.measurement == "default" else f" ({case.measurement})"
    say(f"{case.nodeid}{label}: {case.outcome}")
    if case.error:
        say(f"  {case.error.strip()}")
    model = case.model
    say(f"  {model.backend}, {model.name}, {model.quantization or 'as it is'}, {model.digest or 'no digest'}")
    rounds = ", ".join(str(len(process.rounds)) for process in case.processes) or "none"
    typer.echo(f"  rounds in each process: {rounds}")
    if case.disturbance:
        say(f"  disturbed by: {', '.join(case.disturbance)}")
    for why in dict.fromkeys(p.unwatched for p in case.processes if p.unwatched):
        say(f"  not watched for other load: {why}")
    rows: list[tuple[str, ...]] = [("METRIC", "MEDIAN", "STDDEV", "P95", "P99", "N")]
    for name, metric in case.metrics.items():
        values = {q: quantity(getattr(metric, q), metric.unit) for q in ("median", "stddev", "p95", "p99")}
        marked = {q: f"{text}*" if q in metric.unsupported else text for q, text in values.items()}
        rows.append((name, *marked.values(), str(metric.n)))
    print_columns(rows, indent="  ")
    if any(metric.unsupported for metric in case.metrics.values()):
        typer.echo("  * too few values for this percentile")


def _comment(document: ResultsDocument, columns: Sequence[str]) -> str:
    """A document for a pull request's comment: its verdicts, and what was measured."""
    from pytest_llmbench.gate.kept import kept_comparison
    from pytest_llmbench.report.comparison import COMMENT_LIMIT, markdown_comparison
    from pytest_llmbench.report.markdown import markdown_table

    table = markdown_table(document.cases, columns)
    if (comparison := kept_comparison(document)) is None:
        return table
    verdicts = markdown_comparison(comparison)
    measured = f"\n<details><summary>What was measured</summary>\n\n{table}\n</details>\n"
    # What is longer cannot be posted, and the verdicts come first.
    return verdicts + measured if len(verdicts) + len(measured) <= COMMENT_LIMIT else verdicts


def _render(table: Any) -> None:
    from pytest_llmbench.report.table import render

    typer.echo(render(table, standard_output()), nl=False)

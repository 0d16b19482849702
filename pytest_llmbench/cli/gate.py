"""Is it slower, and what is the baseline: ``llmbench compare`` and ``baseline``?"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.calibrate import calibrate
from pytest_llmbench.cli.documents import warn
from pytest_llmbench.cli.options import STORE, StoreOption, asked, say
from pytest_llmbench.errors import UsageError, saying_where
from pytest_llmbench.metrics.units import count

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import Comparison, NoiseOf
    from pytest_llmbench.results.brief import BriefDocument
    from pytest_llmbench.results.records import ResultsDocument
    from pytest_llmbench.results.store import Store

baseline_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="See, save and update named baselines."
)

_REFS = "a document, a folder of them, a named baseline, 'latest', commit:REV, branch:NAME, or a session's id"


class CompareFormat(StrEnum):
    """What ``compare`` writes."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


class Missing(StrEnum):
    """What follows where there is nothing to compare with."""

    FAIL = "fail"
    WARN = "warn"


class Inconclusive(StrEnum):
    """What follows where the data is not enough."""

    WARN = "warn"
    FAIL = "fail"
    PASS = "pass"


def add_to(app: typer.Typer) -> None:
    """Add the commands of the gate to ``llmbench``."""
    app.command("compare")(compare_documents)
    app.add_typer(baseline_app, name="baseline")
    app.command("calibrate")(calibrate)


def compare_documents(
    refs: Annotated[
        list[str],
        typer.Argument(metavar="BASE... NOW", help=f"The baseline, and last what is judged: {_REFS}."),
    ],
    fail: Annotated[bool, typer.Option("--fail", help="Exit with status 1 on a regression.")] = False,
    form: Annotated[
        CompareFormat, typer.Option("--format", "-f", help="What to write.")
    ] = CompareFormat.TEXT,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC:VALUE", help="Such as tpot:5%, 'ttft:<300ms' or tpot:off; repeatable."),
    ] = None,
    clock: Annotated[
        str | None,
        typer.Option(
            metavar="auto|wall|cpu",
            help="What is judged: wall, times; cpu, CPU times; auto, times, and CPU times where noise keeps "
            "those from a verdict. By default what each case was measured for.",
        ),
    ] = None,
    missing: Annotated[
        Missing | None,
        typer.Option(help="What is missing, new or other than the baseline. With --fail under CI: fail."),
    ] = None,
    inconclusive: Annotated[Inconclusive, typer.Option(help="What could not be judged.")] = Inconclusive.WARN,
    everything: Annotated[bool, typer.Option("--all", help="Show cases that pass, however many.")] = False,
    store: StoreOption = STORE,
) -> None:
    """Judge a document against others: which cases are slower?

    Exit status: 0; 1, a regression with --fail, or what --missing and --inconclusive say; 2, bad input.
    """
    import gc

    from pytest_llmbench.gate.clock import clock_of, read_clock
    from pytest_llmbench.gate.compare import Policy, compare, missing_policy
    from pytest_llmbench.gate.thresholds import parse_thresholds, thresholds_of
    from pytest_llmbench.processes.garbage import gc_paused

    if len(refs) < 2:
        msg = "compare needs a baseline and what is to be judged: llmbench compare BASE... NOW"
        raise UsageError(msg)
    found = _store(store)
    with gc_paused():
        now = _brief_documents(found, refs[-1:])
        if len(now) != 1:
            msg = f"{refs[-1]} means {len(now)} documents, and one is judged at a time: name one of them"
            raise UsageError(msg)
        bases = _brief_documents(found, refs[:-1])
        # Only now: a document may tell of metrics that are not known here.
        with saying_where("--threshold"):
            given = [one for text in threshold or () for one in parse_thresholds(text)]
        with saying_where("--clock"):
            by = clock_of(None if clock is None else read_clock(clock))
        comparison = compare(bases, now[0], thresholds_of(given), noise=_noise(found), clock=by)
        typer.echo(_shown(comparison, form, everything=everything), nl=False)
        # A million objects that stay until the end, which is near: to walk them takes as long as to judge.
        gc.freeze()
    policy = Policy(
        regression="fail" if fail else "warn",
        missing=missing.value if missing is not None else missing_policy(os.environ) if fail else "warn",
        inconclusive=inconclusive.value,
    )
    if comparison.action(policy) == "fail":
        raise typer.Exit(1)


@baseline_app.command("list")
def list_baselines(store: StoreOption = STORE) -> None:
    """List the named baselines of the store."""
    from pytest_llmbench.results.baselines import named_baselines

    found = _store(store)
    baselines = named_baselines(found)
    for baseline in baselines:
        typer.echo(f"{baseline.name}: {count(len(baseline.entries), 'session')}")
        for entry in baseline.entries:
            header = entry.header
            commit = header.commit.short or "no commit"
            cases = sum(header.session.outcomes.values())
            say(f"  {entry.id}  {cases} cases  {commit}  {header.commit.branch or ''}".rstrip())
        warn(baseline.problems)
    if not baselines:
        typer.echo(
            f"There is no named baseline in {found.path}; 'llmbench baseline save NAME' makes one.", err=True
        )


@baseline_app.command("save")
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    ref: Annotated[str, typer.Argument(metavar="REF", help=f"What to save: {_REFS}.")] = "latest",
    force: Annotated[
        bool, typer.Option("--force", help="Also a session in which a case failed, or all were disturbed.")
    ] = False,
    store: StoreOption = STORE,
) -> None:
    """Add a session to a named baseline; several sessions show how far sessions lie apart."""
    from pytest_llmbench.results.baselines import check_name, save_baseline

    check_name(name)
    found = _store(store)
    documents = _documents(found, [ref])
    _refuse_failed(documents, force=force)
    _refuse_spoiled(documents, force=force)
    for document in documents:
        typer.echo(f"Saved {save_baseline(found, name, document)}")


@baseline_app.command("update")
def update(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which baseline.")],
    ref: Annotated[str, typer.Argument(metavar="REF", help=f"What becomes it: {_REFS}.")] = "latest",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also if a case failed, all were disturbed, or one of the baseline is missing."
        ),
    ] = False,
    store: StoreOption = STORE,
) -> None:
    """Replace a named baseline, after a look at the differences. What it replaces is kept beside it."""
    from pytest_llmbench.gate.compare import compare
    from pytest_llmbench.results.baselines import baselines_folder, check_name, replace_baseline

    check_name(name)
    found = _store(store)
    new = _documents(found, [ref])
    if (baselines_folder(found) / name).is_dir():
        old = _brief_documents(found, [str(baselines_folder(found) / name)])
        ids = {document.session.id for document in old}
        if all(document.session.id in ids for document in new) and len(new) == len(old):
            typer.echo(f"{name} is that already.")
            return
        newest = max(new, key=lambda document: document.session.id)
        others = [document for document in old if document.session.id != newest.session.id]
        if others:
            comparison = compare(others, newest, noise=_noise(found))
            typer.echo(_shown(comparison, CompareFormat.TEXT, everything=False), nl=False)
            if comparison.missing and not force:
                msg = (
                    f"{name} was not changed: {len(comparison.missing)} of its cases would be lost "
                    "(listed above); measure them too, or use --force"
                )
                raise UsageError(msg)
    else:
        typer.echo(f"{name} is a new baseline.")
    _refuse_failed(new, force=force)
    _refuse_spoiled(new, force=force)
    if not yes and not asked(f"Make {ref} the baseline {name}?"):
        typer.echo(f"{name} was not changed.")
        raise typer.Exit(1)
    for path in replace_baseline(found, name, new):
        typer.echo(f"Saved {path}")


def _shown(comparison: Comparison, form: CompareFormat, *, everything: bool) -> str:
    if form is CompareFormat.JSON:
        import json

        from pytest_llmbench.report.comparison import to_json

        return json.dumps(to_json(comparison), indent=2, allow_nan=False) + "\n"
    if form is CompareFormat.MARKDOWN:
        from pytest_llmbench.report.comparison import markdown_comparison

        return markdown_comparison(comparison, full=everything)
    from pytest_llmbench.report.comparison import comparison_table
    from pytest_llmbench.report.table import render
    from pytest_llmbench.report.terminal import standard_output

    return render(comparison_table(comparison, full=everything), standard_output())


def _refuse_failed(documents: Iterable[ResultsDocument], *, force: bool) -> None:
    failed = [
        (document.session.id, case.nodeid)
        for document in documents
        for case in document.cases
        if case.outcome not in ("passed", "skipped")
    ]
    if failed and not force:
        session, nodeid = failed[0]
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        msg = (
            f"session {session} cannot be a baseline: {nodeid} failed{more}; fix it and measure "
            "again, or use --force"
        )
        raise UsageError(msg)


def _refuse_spoiled(documents: Iterable[ResultsDocument], *, force: bool) -> None:
    from pytest_llmbench.gate.promotion import fitness

    for document in documents:
        fit, lines = fitness(document)
        warn(lines)
        if not fit and not force:
            msg = (
                f"session {document.session.id} cannot be a baseline: no session could be judged by "
                "it; measure "
                "again on a quieter machine, or use --force"
            )
            raise UsageError(msg)


def _documents(store: Store, refs: Iterable[str]) -> list[ResultsDocument]:
    from pytest_llmbench.results.document import read_document

    return [read_document(path) for path in _paths(store, refs)]


def _brief_documents(store: Store, refs: Iterable[str]) -> list[BriefDocument | ResultsDocument]:
    """What a comparison needs of the documents, read in half the time."""
    from pytest_llmbench.results.brief import read_brief

    return [read_brief(path) for path in _paths(store, refs)]


def _paths(store: Store, refs: Iterable[str]) -> list[Path]:
    from pytest_llmbench.results.baselines import find_baselines

    problems: list[str] = []
    paths = find_baselines(refs, store, problems)
    warn(problems)
    return paths


def _noise(store: Store) -> NoiseOf:
    from pytest_llmbench.gate.calibration import calibrated_noise

    problems: list[str] = []
    noise = calibrated_noise(store, problems)
    warn(problems)
    return noise


def _store(path: Path) -> Store:
    from pytest_llmbench.results.store import Store

    return Store(path)

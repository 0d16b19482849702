"""What did one session measure?"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmbench.metrics.row import ResultsTable
from pytest_llmbench.metrics.units import count
from pytest_llmbench.report import rows
from pytest_llmbench.report.rows import Kinds
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import CaseRecord, ResultsDocument, label_of
from pytest_llmbench.service.pages.asked import Answer, Asked, page
from pytest_llmbench.service.pages.look import moment
from pytest_llmbench.service.pages.sessions import document_path, known_sessions

MOST_CASES = 500
"""Rows of one page; results are read with a filter where there are more."""


@dataclass(frozen=True, slots=True)
class Case:
    """A row of a table."""

    label: str
    where: str
    cells: tuple[str, ...]
    verdict: str | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that have the same columns."""

    name: str
    heads: tuple[str, ...]
    cases: tuple[Case, ...]
    legend: tuple[str, ...]


def show(asked: Asked) -> Answer:
    """A session: its cases by what was measured, and what it ran on."""
    document = read_document(document_path(asked.service, asked.path["session"]))
    ids = [one.id for one in known_sessions(asked.service)]
    earlier = [one for one in ids if one < document.session.id]
    return page(
        asked,
        "session.html",
        session=document.session,
        summary=_summary(document),
        earlier=max(earlier, default=None),
        facts=_facts(document),
        groups=_groups(document),
    )


def _summary(document: ResultsDocument) -> str:
    outcomes = ", ".join(f"{n} {what}" for what, n in document.session.outcomes.items() if n)
    said = f"{count(len(document.cases), 'case')}: {outcomes or 'nothing was measured'}"
    return (
        said if document.session.state == "finished" else f"{said}; the session is {document.session.state}"
    )


def _facts(document: ResultsDocument) -> list[tuple[str, str]]:
    machine, commit = document.machine, document.commit
    facts = [("Session", document.session.id), ("Started", moment(document.session.started))]
    facts.append(("Ended", moment(document.session.ended)))
    if machine is not None:
        facts.append(("Processor", str(machine.cpu.get("model") or "unknown")))
        facts.append(("GPUs", ", ".join(str(gpu.get("name")) for gpu in machine.gpus) or "none"))
        facts.append(("Machine", machine.id))
    facts.append(
        (
            "Commit",
            f"{commit.short} on {commit.branch or 'no branch'}"
            if commit.short
            else commit.reason or "unknown",
        )
    )
    return facts


def _groups(document: ResultsDocument) -> list[Group]:
    places = {case.key: place for place, case in enumerate(document.cases)}
    kinds = Kinds.of(document.cases)
    named: tuple[tuple[str, list[CaseRecord], ResultsTable], ...] = (
        ("Models", kinds.models, "cases"),
        ("Turns of conversations", kinds.turns, "turns"),
        ("Load", kinds.loads, "levels"),
    )
    return [_group(name, cases, table, document, places) for name, cases, table in named if cases]


def _group(
    name: str,
    cases: list[CaseRecord],
    table: ResultsTable,
    document: ResultsDocument,
    places: dict[tuple[str, str], int],
) -> Group:
    columns = (
        rows.columns(cases, wide=False) if table == "cases" else rows.metric_columns(table, cases, wide=True)
    )
    shown = tuple(
        Case(
            label_of(case.nodeid, case.measurement),
            f"/ui/cases/{document.session.id}/{places[case.key]}",
            tuple(column.cell(case) for column in columns),
            case.verdict,
            case.outcome,
        )
        for case in cases[:MOST_CASES]
    )
    legend = rows.legend(cases, wide=False)
    if len(cases) > MOST_CASES:
        legend.append(f"{len(cases) - MOST_CASES} more cases are found among the results")
    return Group(name, tuple(column.head for column in columns), shown, tuple(legend))

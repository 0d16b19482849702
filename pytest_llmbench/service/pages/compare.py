"""Is one session slower than another, case by case?

``/ui/compare/A..B`` can be sent to somebody else: A is the baseline, B is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.errors import LLMBenchError, few
from pytest_llmbench.gate.calibration import calibrated_noise
from pytest_llmbench.gate.compare import CaseComparison, Comparison, compare
from pytest_llmbench.gate.thresholds import thresholds_of
from pytest_llmbench.report.judgment import HEADS, cells, decided_elsewhere, noise_of
from pytest_llmbench.report.verdicts import BY_GRAVITY, steps_said, summary
from pytest_llmbench.results.brief import read_brief
from pytest_llmbench.results.records import label_of
from pytest_llmbench.results.verdict import Judgment, Verdict
from pytest_llmbench.service.pages.asked import Answer, Asked, NotThereError, go_to, page
from pytest_llmbench.service.pages.look import address, moment
from pytest_llmbench.service.pages.sessions import Known, document_path, known_sessions

if TYPE_CHECKING:
    from pytest_llmbench.service.state import Service

SHOWS = (("", "all cases"), ("regressed", "only regressed"), ("improved", "only improved"))
MOST_CASES = 500
"""Of one page: a comparison of more is read with a filter, or on the command line."""
MOST_UNMATCHED = 100

_CELLS = tuple(name for name in HEADS._fields)
_VERDICT_AT = _CELLS.index("verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """One judgment."""

    cells: tuple[str, ...]
    verdict: str
    note: str
    quiet: bool
    verdict_at: int = _VERDICT_AT


@dataclass(frozen=True, slots=True)
class Case:
    """What was judged of one case."""

    name: str
    where: str
    reason: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison, as the page shows it."""

    base_name: str
    now_name: str
    verdict: str
    summary: str
    steps: list[str]
    cases: list[Case]
    nothing: str
    unmatched: list[str]
    notes: list[str]


def choose(asked: Asked) -> Answer:
    """The form in which two sessions are chosen; with both it goes on to their own address."""
    base, now = asked.one("base"), asked.one("now")
    if base and now:
        both = address(f"/ui/compare/{base}..{now}", show=asked.one("show"))
        return go_to(both)
    sessions = known_sessions(asked.service)
    # The two newest are what most people mean.
    return _page(asked, sessions, base or _id(sessions, 1), now or _id(sessions, 0), None)


def show(asked: Asked) -> Answer:
    """``A..B``: the cases of session B, judged by those of session A."""
    base, dots, now = asked.path["both"].partition("..")
    sessions = known_sessions(asked.service)
    if not dots or not base or not now:
        return _page(
            asked, sessions, base, now, None, problem="two sessions are compared as A..B", status=404
        )
    try:
        found = _compared(asked.service, base, now)
    except (LLMBenchError, NotThereError) as error:
        return _page(asked, sessions, base, now, None, problem=str(error), status=404)
    return _page(asked, sessions, base, now, found)


def _id(sessions: list[Known], place: int) -> str:
    return sessions[place].id if len(sessions) > place else ""


def _compared(service: Service, base: str, now: str) -> tuple[Comparison, list[str]]:
    problems: list[str] = []
    documents = [read_brief(document_path(service, ref)) for ref in (base, now)]
    noise = calibrated_noise(service.store, problems)
    return compare(documents[:1], documents[1], thresholds_of(), noise=noise), problems


def _page(
    asked: Asked,
    sessions: list[Known],
    base: str,
    now: str,
    found: tuple[Comparison, list[str]] | None,
    *,
    problem: str | None = None,
    status: int = 200,
) -> Answer:
    chosen = asked.one("show")
    return page(
        asked,
        "compare.html",
        status=status,
        sessions=[(one.id, one.name) for one in sessions],
        base=base,
        now=now,
        show=chosen if chosen in dict(SHOWS) else "",
        shows=SHOWS,
        heads=HEADS,
        problem=problem,
        comparison=None if found is None else _shown(*found, chosen),
    )


def _shown(comparison: Comparison, problems: list[str], which: str) -> Compared:
    told = [one for one in comparison.cases if one.judgments or one.mismatch is None]
    told.sort(key=lambda one: BY_GRAVITY.index(one.verdict))
    nothing = "No case of the two sessions could be compared; below is why."
    if which == "regressed":
        told, nothing = [one for one in told if one.verdict is Verdict.FAIL], "No case is slower."
    elif which == "improved":
        told, nothing = [one for one in told if one.improved], "No case is faster beyond its threshold."
    notes = [*comparison.notes, *problems]
    if len(told) > MOST_CASES:
        notes.append(f"the first {MOST_CASES} of {len(told)} cases are shown, the gravest first")
    unmatched = [
        f"{one.kind.value}: {label_of(one.nodeid, one.measurement)}: {one.reason}"
        for one in comparison.unmatched
    ]
    if len(unmatched) > MOST_UNMATCHED:
        unmatched = [*unmatched[:MOST_UNMATCHED], f"and {len(unmatched) - MOST_UNMATCHED} more"]
    return Compared(
        base_name=few([moment(header.session.started) for header in comparison.bases], 3),
        now_name=moment(comparison.now.session.started),
        verdict=comparison.verdict.value,
        summary=summary(comparison),
        steps=steps_said(comparison),
        cases=[_case(one, comparison.now.session.id) for one in told[:MOST_CASES]],
        nothing=nothing,
        unmatched=unmatched,
        notes=notes,
    )


def _case(one: CaseComparison, session: str) -> Case:
    name = label_of(one.case.nodeid, one.case.measurement)
    rows = tuple(map(_row, sorted(one.judgments, key=lambda judged: BY_GRAVITY.index(judged.verdict))))
    if not rows:
        blank = tuple("" for _ in _CELLS)
        rows = (Row(blank, one.verdict.value, "", False),)
    return Case(name, address("/ui/trends", case=one.case.nodeid), _reason(one), rows)


def _reason(one: CaseComparison) -> str | None:
    if one.reason:
        return one.reason
    return next(
        (judged.reason for judged in one.judgments if judged.reason and judged.verdict is one.verdict), None
    )


def _row(judged: Judgment) -> Row:
    note = "improved" if judged.improved else decided_elsewhere(judged) or noise_of(judged) or ""
    return Row(tuple(cells(judged)), judged.verdict.value, note, judged.decided_by is not None)

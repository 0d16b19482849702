"""What of some documents stands in a report, and in which order?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.errors import few
from pytest_llmbench.gate.kept import kept_comparison
from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.row import Metric
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report import load, rows
from pytest_llmbench.report.charts.best import Best, best
from pytest_llmbench.report.charts.cases import Entry
from pytest_llmbench.report.judgment import HEADS, Cells, cells
from pytest_llmbench.report.verdicts import BY_GRAVITY, headline, summary
from pytest_llmbench.results.verdict import Verdict

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import CaseComparison
    from pytest_llmbench.results.records import CaseRecord, ResultsDocument

MOST_TOLD = 50
"""Cases that are told in full; the table has all."""
MOST_BEST = 24
"""Best cases that are shown."""
PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Told:
    """One case of which something is to be said."""

    chip: str
    label: str
    text: str
    judged: tuple[Cells, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the gate said, and how the tests ended."""

    summaries: tuple[str, ...]
    """A line a session that was compared."""
    chips: tuple[tuple[str, int], ...]
    """A verdict or an outcome, and how many cases have it."""
    told: tuple[Told, ...]
    more: int
    """Cases that are not told, and not ``pass``."""
    heads: Cells = HEADS


@dataclass(frozen=True, slots=True)
class Table:
    """The cases of one kind."""

    name: str
    title: str
    heads: tuple[str, ...]
    """Those after case and verdict."""
    texts: int
    """So many of them are texts, and stand first; all others are numbers."""
    rows: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Label, verdict or outcome, cells."""
    choices: tuple[tuple[str, tuple[str, ...]], ...]
    """What can be filtered by: a head, and the texts that it has."""
    legend: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the numbers, as names and texts."""

    title: str
    facts: tuple[tuple[str, str], ...]


def state_of(case: CaseRecord) -> str:
    """The verdict of a case, or how its test ended: what its chip says."""
    return case.verdict or case.outcome


def verdicts(documents: Sequence[ResultsDocument], found: Sequence[Entry]) -> Verdicts:
    """What the gate said of the cases *found* in *documents*, the worst first."""
    labels = {id(entry.case): entry.label for entry in found}
    lines, judged = [], dict[int, "CaseComparison"]()
    for document in documents:
        if (comparison := kept_comparison(document)) is not None:
            lines.append(summary(comparison))
            judged |= {id(one.case): one for one in comparison.cases}
    order = {str(verdict): place for place, verdict in enumerate(BY_GRAVITY)}
    counts = Counter(state_of(entry.case) for entry in found)
    told = []
    for entry in found:
        case, one = entry.case, judged.get(id(entry.case))
        if case.outcome != PASSED and (one is None or one.verdict is not Verdict.FAIL):
            why = (case.error or "").strip().splitlines()
            told.append(Told(case.outcome, labels[id(case)], why[0] if why else "no message was kept"))
        elif one is not None and (one.verdict is not Verdict.PASS or one.improved):
            texts = tuple(map(cells, one.judgments))
            told.append(Told(str(one.verdict), labels[id(case)], headline(one), texts))
    told.sort(key=lambda one: order.get(one.chip, -1))
    return Verdicts(
        tuple(lines),
        tuple(sorted(counts.items(), key=lambda one: order.get(one[0], -1))),
        tuple(told[:MOST_TOLD]),
        max(len(told) - MOST_TOLD, 0),
    )


def best_of(documents: Sequence[ResultsDocument]) -> list[Best]:
    """The best cases by what gates and by rates, of each set of cases that did equal work."""
    found = best(documents)
    return [one for one in found if METRICS[one.metric].gates or METRICS[one.metric].unit.endswith("/s")]


def tables(found: Sequence[Entry], *, sessions: bool) -> list[Table]:
    """A table a kind of cases; *sessions* gives each row the session that it is of."""
    kinds = rows.Kinds.of(entry.case for entry in found)
    made = []
    for name, title, cases in (
        ("cases", "Cases", kinds.models),
        ("turns", "Turns of conversations", kinds.turns),
        ("levels", "Load levels", kinds.loads),
    ):
        if cases:
            chosen = {id(case) for case in cases}
            made.append(_table(name, title, [e for e in found if id(e.case) in chosen], sessions=sessions))
    return made


def _table(name: str, title: str, found: Sequence[Entry], *, sessions: bool) -> Table:
    cases = [entry.case for entry in found]
    if name == "turns":
        columns = rows.metric_columns("turns", cases, wide=True)
        legend = rows.legend(cases, wide=True)
    elif name == "levels":
        columns, legend = load.columns(cases, wide=True), load.legend(cases, wide=True)
    else:
        columns, legend = rows.columns(cases, wide=True), rows.legend(cases, wide=True)
    texts = [("backend", [case.model.backend for case in cases])]
    texts.append(("model", [case.model.alias or case.model.name for case in cases]))
    texts.append(("quantization", [case.model.quantization or units.UNKNOWN for case in cases]))
    if sessions:
        texts.append(("session", [entry.document.session.id for entry in found]))
    state = ("verdict", [state_of(case) for case in cases])
    return Table(
        name,
        title,
        (*(head for head, _ in texts), *(column.head for column in columns)),
        len(texts),
        tuple(
            (
                entry.label,
                state_of(entry.case),
                (*(values[place] for _, values in texts), *(column.cell(entry.case) for column in columns)),
            )
            for place, entry in enumerate(found)
        ),
        tuple((head, tuple(sorted(set(values)))) for head, values in (state, *texts) if len(set(values)) > 1),
        tuple(legend),
    )


def machines(documents: Sequence[ResultsDocument]) -> list[Facts]:
    """Where and when each document was measured, and of which commit."""
    return [Facts(f"Session {document.session.id}", tuple(_of_session(document))) for document in documents]


def _of_session(document: ResultsDocument) -> list[tuple[str, str]]:
    session, machine, commit = document.session, document.machine, document.commit
    facts = [("started", session.started), ("state", session.state)]
    facts += [("host", session.host)] if session.host else []
    if commit.id is not None:
        dirty = ", with uncommitted changes" if commit.dirty else ""
        facts.append(("commit", f"{commit.id[:12]} on {commit.branch or 'no branch'}{dirty}"))
    if machine is not None:
        facts.append(("machine", machine.id))
        for title, part in (("CPU", machine.cpu), ("memory", machine.memory), ("system", machine.os)):
            facts.append((title, _told(part, memory=title == "memory")))
        facts.append(("GPU", "; ".join(_told(gpu) for gpu in machine.gpus) or "none"))
        facts += [(f"{name} is not known", why) for name, why in machine.unknown.items()]
    versions = dict(
        sorted({pair for case in document.cases for p in case.processes for pair in p.versions.items()})
    )
    if versions:
        facts.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return facts


def _told(part: object, *, memory: bool = False) -> str:
    if not isinstance(part, dict):
        return str(part)
    told = []
    for name, value in part.items():
        plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        if plain:
            text = units.size(value) if memory and isinstance(value, int | float) else str(value)
            told.append(f"{str(name).replace('_', ' ')} {text}")
    return ", ".join(told) or units.UNKNOWN


def protocol(found: Sequence[Entry]) -> list[tuple[str, str]]:
    """Every setting of the cases' protocols that is set, with the values that it has."""
    values: dict[str, dict[str, None]] = {}
    for entry in found:
        for name, value in entry.case.protocol.model_dump().items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for part, one in parts:
                if one not in (None, {}, [], ""):
                    said = {True: "yes", False: "no"}.get(one, "") if isinstance(one, bool) else str(one)
                    values.setdefault(f"{name}.{part}" if part else name, {})[said] = None
    return [(name, few(list(texts))) for name, texts in sorted(values.items())]


def measured_metrics(found: Sequence[Entry]) -> list[Metric]:
    """The rows of the metrics that any case has."""
    names = {name for entry in found for name in entry.case.metrics}
    return [row for row in METRICS.values() if row.name in names]

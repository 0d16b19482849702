"""What became of the cases, in one line each, and what is to be done next?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.gate.next_step import next_steps, remedy_of
from pytest_llmbench.metrics.units import count
from pytest_llmbench.report.judgment import headline_of, judged_name
from pytest_llmbench.results.verdict import UNDECIDED, Judgment, Verdict

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import Action, CaseComparison, Comparison

BY_GRAVITY = (Verdict.FAIL, Verdict.INVALID, Verdict.INCONCLUSIVE, Verdict.NEW, Verdict.PASS)
MOST_STEPS = 3
"""More different commands than these are not proposed at a time."""


def headline(case: CaseComparison) -> str:
    """What became of one case, in one line: ``ttft +36% (+30 to +44)``; the gravest first."""
    if case.improved:
        told = [one for one in case.judgments if one.improved]
        return f"improved: {_some([headline_of(one) for one in told])}"
    told = _that_count(case, case.verdict)
    if case.verdict is Verdict.FAIL:
        return _some([headline_of(one) for one in told])
    said = ", ".join(map(judged_name, told)) if told and not case.reason else case.reason
    remedy = remedy_of(case)
    next_step = "" if remedy is None else f"; to decide it: {remedy.said}"
    return f"{case.verdict}: {said}{next_step}"


def summary(comparison: Comparison) -> str:
    """How many cases have which verdict, in one line: ``3 cases: 1 fail, 2 pass (1 on CPU time alone)``."""
    counts = comparison.counts
    parts = [
        f"{counts[verdict]} {verdict}{_qualified([c for c in comparison.cases if c.verdict is verdict])}"
        for verdict in BY_GRAVITY
        if verdict in counts
    ]
    improved = sum(case.improved for case in comparison.cases)
    if improved:
        parts.append(f"{improved} improved")
    if comparison.missing:
        parts.append(f"{len(comparison.missing)} missing")
    total = len(comparison.cases)
    return f"{count(total, 'case')}: {', '.join(parts) or 'nothing was compared'}"


def steps_said(comparison: Comparison) -> list[str]:
    """What would decide the cases that are not decided: a line each command, the one for most cases first."""
    steps = next_steps(comparison.cases)[:MOST_STEPS]
    return [step.said(len({case.nodeid for case in comparison.cases})) for step in steps]


def unjudged(comparison: Comparison, inconclusive: Action) -> str | None:
    """How many cases the gate could not judge, and what follows; None if there are none.

    :param inconclusive: what the session does with them.
    """
    told = [f"{n} {v}" for v in BY_GRAVITY if v in UNDECIDED and (n := comparison.counts.get(v, 0))]
    if not told:
        return None
    n = sum(verdict in UNDECIDED for verdict in (case.verdict for case in comparison.cases))
    said = f"the gate could not judge {n} of {count(len(comparison.cases), 'case')} ({', '.join(told)})"
    if inconclusive == "fail":
        return f"{said}, which fails {'its test' if n == 1 else 'their tests'} (--llm-inconclusive=fail)"
    return f"{said}: --llm-inconclusive=fail makes that exit with 1"


def on_cpu_time(case: CaseComparison) -> bool:
    """Whether its verdict stands on CPU time alone, as noise left its times undecided."""
    if case.verdict is Verdict.FAIL:
        return all(one.stands_for for one in _that_count(case, Verdict.FAIL))
    return case.verdict is Verdict.PASS and any(one.decided_by for one in case.judgments)


def noisy(case: CaseComparison) -> bool:
    """Whether its verdict stands on what was measured beside other load."""
    told = _that_count(case, case.verdict)
    if case.verdict is Verdict.FAIL:
        return bool(told) and all(one.noise for one in told)
    return case.verdict is Verdict.PASS and any(one.noise for one in told)


def _that_count(case: CaseComparison, verdict: Verdict) -> list[Judgment]:
    """The judgments that make a case what it is."""
    return [one for one in case.judgments if one.verdict is verdict and one.decided_by is None]


def _qualified(cases: Sequence[CaseComparison]) -> str:
    """`` (2 on CPU time alone, 1 noisy)``; empty where there is nothing to say."""
    told = [
        (sum(map(of, cases)), what) for of, what in ((on_cpu_time, "on CPU time alone"), (noisy, "noisy"))
    ]
    said = ", ".join(what if n == len(cases) == 1 else f"{n} {what}" for n, what in told if n)
    return f" ({said})" if said else ""


def _some(texts: Iterable[str], most: int = 2) -> str:
    """So many of *texts* as a line has room for."""
    texts = list(texts)
    more = f"; {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more

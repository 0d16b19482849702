"""What was the verdict on a session's cases when it was measured?

A document keeps each verdict with all that it stands on, of A/B pairs too, so that it can be shown
again without its baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from pytest_llmbench.gate.compare import CaseComparison, Comparison
from pytest_llmbench.gate.verdict import Judgment, Verdict
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.records import Case, ResultsDocument

_KNOWN = {field.name for field in fields(Judgment)}


def keep_verdict(case: Case, found: CaseComparison) -> None:
    """Put a verdict into its case, as :func:`kept_comparison` finds it."""
    case.verdict = found.verdict.value
    case.verdict_reason = found.reason
    case.compared_with = list(found.sessions)
    case.judgments = [asdict(judgment) for judgment in found.judgments]


def kept_comparison(document: ResultsDocument) -> Comparison | None:
    """The verdicts that a document keeps; None if nothing was judged."""
    cases = [_kept(case, case.verdict) for case in document.cases if case.verdict is not None]
    return Comparison(document, (), tuple(cases)) if cases else None


def _kept(case: Case, verdict: str) -> CaseComparison:
    return CaseComparison(
        case,
        Verdict(verdict),
        tuple(_judgment(one) for one in case.judgments if one.get("metric") in METRICS),
        reason=case.verdict_reason,
        sessions=tuple(case.compared_with),
    )


def _judgment(kept: Mapping[str, Any]) -> Judgment:
    """A judgment; what a newer version keeps beside is left out."""
    known = {key: value for key, value in kept.items() if key in _KNOWN}
    return Judgment(**{**known, "verdict": Verdict(known["verdict"])})

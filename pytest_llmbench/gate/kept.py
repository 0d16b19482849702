"""What was the verdict on a session's cases when it was measured?

A document keeps each verdict with all that it stands on, of A/B pairs too, so that it can be shown
again without its baseline.
"""

from __future__ import annotations

from pytest_llmbench.gate.compare import CaseComparison, Comparison
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.records import CaseRecord, JudgmentRecord, ResultsDocument
from pytest_llmbench.results.verdict import Verdict


def keep_verdict(case: CaseRecord, found: CaseComparison) -> None:
    """Put a verdict into its case, as :func:`kept_comparison` finds it."""
    case.verdict = found.verdict.value
    case.verdict_reason = found.reason
    case.compared_with = list(found.sessions)
    case.judgments = [
        JudgmentRecord.model_validate(judgment, from_attributes=True) for judgment in found.judgments
    ]


def kept_comparison(document: ResultsDocument) -> Comparison | None:
    """The verdicts that a document keeps; None if nothing was judged."""
    cases = [_kept(case, case.verdict) for case in document.cases if case.verdict is not None]
    return Comparison(document, (), tuple(cases)) if cases else None


def _kept(case: CaseRecord, verdict: str) -> CaseComparison:
    return CaseComparison(
        case,
        Verdict(verdict),
        tuple(one for one in case.judgments if one.metric in METRICS),
        reason=case.verdict_reason,
        sessions=tuple(case.compared_with),
    )

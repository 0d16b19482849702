"""Is a change drawn with the sign of its numbers, its interval and what is allowed?"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.report.charts.changes import changes
from pytest_llmbench.results.records import JudgmentRecord


def judged(metric: str, verdict: str, change: float, threshold: float = 0.05, **more: Any) -> JudgmentRecord:
    return JudgmentRecord.model_validate(
        {
            "metric": metric,
            "verdict": verdict,
            "method": "prediction",
            "base": 1.0,
            "now": 1.0 + change,
            "change": change,
            "low": round(change - 0.02, 9),
            "high": round(change + 0.03, 9),
            "confidence": 0.95,
            "threshold": threshold,
            **more,
        }
    )


def test_the_gravest_comes_first(a_case: Any, document_of: Any) -> None:
    quick, slow = a_case("test_x[a]"), a_case("test_y[b]")
    quick.judgments = [judged("ttft", "pass", 0.01)]
    slow.judgments = [judged("ttft", "fail", 0.2)]
    (chart,) = changes([document_of([quick, slow])])
    assert chart.id == "change-ttft"
    assert chart.x.categories == ("test_y", "test_x")
    assert {series.name: series.points for series in chart.series} == {
        "fail": ((0.0, 0.2, 0.18, 0.23),),
        "pass": ((1.0, 0.01, -0.01, 0.04),),
    }
    assert [line.value for line in chart.lines if line.role == "threshold"] == [0.05]


def test_a_throughput_that_fell_has_a_minus(a_case: Any, document_of: Any) -> None:
    case = a_case()
    case.judgments = [judged("decode_throughput", "fail", 0.2)]
    (chart,) = changes([document_of([case])])
    (series,) = chart.series
    assert series.points == ((0.0, -0.2, -0.23, -0.18),)
    assert [line.value for line in chart.lines if line.role == "threshold"] == [-0.05]


def test_allowances_that_differ_stand_beside_each(a_case: Any, document_of: Any) -> None:
    cases = [a_case("test_x[a]"), a_case("test_y[b]")]
    for case, allowed in zip(cases, (0.05, 0.1), strict=True):
        case.judgments = [judged("ttft", "pass", 0.01, allowed)]
    (chart,) = changes([document_of(cases)])
    (marks,) = [series for series in chart.series if series.role == "threshold"]
    assert marks.points == ((0.0, 0.05), (1.0, 0.1))

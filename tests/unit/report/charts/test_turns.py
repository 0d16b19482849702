"""Is each turn drawn as it was asked, with what the cache had of it?"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.report.charts.turns import turns
from tests.unit.report.charts.conftest import summary


def test_turns_have_a_line_for_each_way(make_turn: Any, document_of: Any) -> None:
    cases = [
        make_turn(1, "cold", prompt=50, values={"ttft": [0.01]}),
        make_turn(2, "warm", prompt=100, cached=50, possible=60, values={"ttft": [0.02]}),
        make_turn(2, "cold", prompt=100, values={"ttft": [0.04]}),
    ]
    for case, cached, possible in zip(cases, (0.0, 50.0, 0.0), (0.0, 60.0, 0.0), strict=True):
        case.metrics["cached_tokens"] = type(case.metrics["ttft"]).model_validate(
            summary("cached_tokens", cached)
        )
        case.metrics["cached_possible"] = type(case.metrics["ttft"]).model_validate(
            summary("cached_possible", possible)
        )
    latency, cached = turns([document_of(cases)])
    lines = {series.name: series.points for series in latency.series}
    assert lines == {"warm": ((1.0, 0.01), (2.0, 0.02)), "cold": ((1.0, 0.01), (2.0, 0.04))}
    assert latency.series[0].labels[1] == "50 of 100 prompt tokens cached"
    assert {series.name: series.points for series in cached.series} == {
        "cached": ((1.0, 0.0), (2.0, 0.5)),
        "possible": ((1.0, 0.0), (2.0, 0.6)),
    }


def test_without_conversations_it_says_how_to_hold_one(a_session: Any) -> None:
    assert all("no conversation" in (chart.missing or "") for chart in turns([a_session()]))

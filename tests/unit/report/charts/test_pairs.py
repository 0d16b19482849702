"""Does each pair show what its two processes measured?"""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from pytest_llmbench.report.charts.pairs import pairs, stored_pairs
from tests.unit.report.charts.test_changes import judged


def test_pairs_are_drawn_with_interval_and_threshold(a_case: Any, document_of: Any) -> None:
    now = a_case(slow=1.2, noise=0.0, processes=4)
    base = a_case(noise=0.0, processes=4, measurement="default@base")
    now.judgments = [judged("ttft", "fail", 0.2, method="signed-rank", n=4)]
    (chart,) = pairs([document_of([now, base])])
    (points,) = chart.series
    assert [x for x, _ in points.points] == [1, 2, 3, 4]
    assert [y for _, y in points.points] == pytest.approx([0.2] * 4)
    assert [(band.start, band.end) for band in chart.bands] == [(0.18, 0.23)]
    assert {line.role: line.value for line in chart.lines} == {"own": 0.0, "change": 0.2, "threshold": 0.05}
    assert len(chart.rows) == 4


def test_disturbed_rounds_count_only_where_the_gate_used_them(a_case: Any) -> None:
    now = a_case(seed=1, processes=2, disturbed=3)
    base = a_case(seed=2, processes=2, measurement="default@base")
    first = stored_pairs(base, now, "ttft", disturbed=False)[0]
    assert first.disturbed == ("foreign_cpu",)
    assert first.now == median(r.values["ttft"] for r in now.processes[0].rounds[3:])
    used = stored_pairs(base, now, "ttft", disturbed=True)[0]
    assert used.now == median(r.values["ttft"] for r in now.processes[0].rounds)


def test_without_a_base_side_there_are_no_pairs(a_session: Any) -> None:
    (chart,) = pairs([a_session()])
    assert chart.missing is not None

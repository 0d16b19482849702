"""Which case was best at what, among equal work?"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.report.charts.best import best


def test_of_one_case_there_is_no_best(a_session: Any) -> None:
    assert best([a_session()]) == []


def test_the_best_of_equal_work_is_named_with_the_next_one(a_session: Any, a_case: Any) -> None:
    cases = [a_case("test_x[llamacpp-tiny-a]"), a_case("test_x[llamacpp-tiny-b]")]
    cases[0].model.quantization, cases[1].model.quantization = "f16", "q8_0"
    cases[1].metrics["ttft"].median = cases[0].metrics["ttft"].median / 2
    found = {one.metric: one for one in best([a_session(cases=cases)])}
    assert found["ttft"].value == cases[1].metrics["ttft"].median
    assert found["ttft"].ahead == 1.0
    assert found["ttft"].among == 2

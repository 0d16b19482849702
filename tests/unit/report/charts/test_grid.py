"""Are cases side by side that differ in one thing alone?"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.report.charts.grid import heat_map, quantizations


def test_quantizations_stand_side_by_side_by_size(a_case: Any, document_of: Any) -> None:
    cases = [a_case(quantization=name, slow=slow) for name, slow in (("q4_0", 1.0), ("f16", 2.0))]
    for case, size in zip(cases, (4e6, 16e6), strict=True):
        case.model.size = int(size)
    charts = {chart.id: chart for chart in quantizations([document_of(cases)])}
    tpot = charts["quantization-tpot"]
    assert tpot.x.categories == ("f16", "q4_0")
    (bars,) = tpot.series
    assert bars.points == ((0.0, cases[1].metrics["tpot"].median), (1.0, cases[0].metrics["tpot"].median))
    assert charts["quantization-size"].series[0].points == ((0.0, 16e6), (1.0, 4e6))
    assert charts["quantization-peak-rss"].y.unit == "bytes"


def test_cases_that_differ_in_more_do_not(a_case: Any, document_of: Any) -> None:
    cases = [a_case(quantization="f16"), a_case(quantization="q8_0", max_new_tokens=99)]
    (chart,) = quantizations([document_of(cases)])
    assert chart.missing is not None


def test_a_map_has_a_cell_for_each_level(a_level: Any, document_of: Any) -> None:
    cases = [a_level(n, 100.0 * n, model=model) for model in ("tiny", "large") for n in (1, 8)]
    (chart,) = heat_map([document_of(cases[:3])])
    assert chart.x.categories == ("1", "8")
    assert chart.y.categories == ("tiny", "large")
    assert chart.series[0].points == ((0.0, 0.0, 100.0), (1.0, 0.0, 800.0), (0.0, 1.0, 100.0))
    assert chart.rows == (("tiny", 100.0, 800.0), ("large", 100.0, None))


def test_one_configuration_is_no_map(a_level: Any, document_of: Any) -> None:
    (chart,) = heat_map([document_of([a_level(1), a_level(8)])])
    assert chart.missing is not None

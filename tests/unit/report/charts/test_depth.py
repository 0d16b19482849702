"""Is a curve made of cases that differ in one length alone?"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.report.charts.depth import depths, prompt_lengths


def test_depths_make_a_curve_for_each_model(a_case: Any, document_of: Any) -> None:
    cases = [
        a_case(
            f"test_d[{q}-{depth}]", depth=depth, quantization=q, slow=depth / 1024, params={"depth": depth}
        )
        for q in ("f16", "q8_0")
        for depth in (4096, 1024)
    ]
    charts = {chart.id: chart for chart in depths([document_of(cases)])}
    ttft = charts["depth-ttft"]
    assert [series.name for series in ttft.series] == ["f16", "q8_0"]
    assert ttft.series[0].points == (
        (1024.0, cases[1].metrics["ttft"].median),
        (4096.0, cases[0].metrics["ttft"].median),
    )
    assert ttft.x.unit == "tokens"


def test_one_depth_is_not_a_curve(a_case: Any, document_of: Any) -> None:
    (chart,) = depths([document_of([a_case(depth=1024)])])
    assert chart.missing is not None
    (chart,) = prompt_lengths([document_of([a_case()])])
    assert chart.missing is not None

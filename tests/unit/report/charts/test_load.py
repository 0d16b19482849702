"""Is a sweep drawn as it was measured, with its knee and the Pareto line?"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.report.charts.load import latencies, pareto, sweeps_of, throughputs
from pytest_llmbench.results.records import CellRecord

SWEEP = ((1, 100.0, 1.0), (8, 700.0, 1.1), (64, 750.0, 8.0), (256, 740.0, 32.0))


def test_each_latency_is_drawn_against_the_load(a_level: Any, document_of: Any) -> None:
    cases = [a_level(*one) for one in SWEEP]
    charts = latencies([document_of(cases)])
    assert [chart.id for chart in charts] == [
        "load-ttft-concurrency",
        "load-tpot-concurrency",
        "load-e2e-latency-concurrency",
    ]
    ttft = charts[0]
    assert [series.name for series in ttft.series] == ["p50", "p90", "p95", "p99"]
    assert ttft.series[3].points == tuple((c.protocol.concurrency, c.metrics["ttft"].p99) for c in cases)
    assert ttft.rows[1][1] == 8
    assert ttft.x.kind == "log"


def test_sweeps_are_told_apart_by_their_models(a_level: Any, document_of: Any) -> None:
    cases = [a_level(*one, model=model) for model in ("tiny", "large") for one in SWEEP]
    (first, *_) = latencies([document_of(cases)])
    assert [one.name for one in first.series] == ["tiny p50", "tiny p99", "large p50", "large p99"]


def test_cells_of_a_matrix_make_sweeps_by_their_hardware(a_level: Any, a_session: Any) -> None:
    documents = []
    for day, (hardware, load) in enumerate((h, n) for h in ("L4", "H100") for n in (1, 8)):
        document = a_session(day + 1, [a_level(load, 100.0 * load)])
        cell = {"matrix": "m", "id": f"{day:016x}", "key": f"{day:016x}", "hardware": hardware, "count": 1}
        document.session.cell = CellRecord.model_validate(cell)
        documents.append(document)
    # The first cell was measured again, later.
    again = a_session(9, [a_level(1, 55.0)])
    again.session.cell = documents[0].session.cell
    found = sweeps_of([*documents, again])
    assert [(one.name, [load for load, _ in one.levels]) for one in found] == [
        ("L4", [1, 8]),
        ("H100", [1, 8]),
    ]
    assert dict(found[0].medians("system_throughput"))[1] == 55.0


def test_throughput_has_a_knee_and_a_pareto_line(a_level: Any, document_of: Any) -> None:
    (chart,) = throughputs([document_of([a_level(*one) for one in SWEEP])])
    by_role = {series.role: series for series in chart.series}
    assert by_role["own"].points == tuple((latency, throughput) for _, throughput, latency in SWEEP)
    assert by_role["knee"].points == ((1.1, 700.0),)
    assert by_role["pareto"].points == ((1.0, 100.0), (1.1, 700.0), (8.0, 750.0))
    assert [row[4] for row in chart.rows] == ["yes", "yes", "yes", "no"]


def test_a_level_that_is_not_valid_is_not_on_the_pareto_line(a_level: Any, document_of: Any) -> None:
    cases = [
        a_level(1, 100.0, 1.0),
        a_level(8, 900.0, 0.5, invalid="the client was late"),
        a_level(16, 200.0, 2.0),
    ]
    (chart,) = throughputs([document_of(cases)])
    (best,) = [series for series in chart.series if series.role == "pareto"]
    assert best.points == ((1.0, 100.0), (2.0, 200.0))
    assert "the client was late" in chart.series[0].labels[1]


POINTS = st.lists(st.tuples(st.integers(1, 30).map(float), st.integers(1, 30).map(float)), max_size=40)


@given(POINTS)
def test_the_pareto_line_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    best = pareto(points)

    def beaten(one: tuple[float, float]) -> bool:
        return any(p != one and p[0] <= one[0] and p[1] >= one[1] for p in points)

    assert set(best) == {one for one in points if not beaten(one)}
    assert best == sorted(best)

"""Does a map show each case where it belongs, and the best where several do?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.report.charts.model import Chart
from pytest_llmbench.report.charts.plane import MOST_COLUMNS, Spot, maps, natural, plane
from pytest_llmbench.results.records import CellRecord


def a_map(*spots: Spot, metric: str = "ttft") -> Chart:
    return plane(spots, "hardware", "model", metric, chart_id="map", title="Map")


def spot(hardware: str, model: str, ttft: float, **more: str) -> Spot:
    values = {"ttft": ttft, "decode_throughput": ttft}
    return Spot({"hardware": hardware, "model": model, **more}, values, f"{model} on {hardware}")


def test_what_was_not_measured_is_left_empty() -> None:
    chart = a_map(spot("H100", "tiny", 0.1), spot("L4", "tiny", 0.2), spot("L4", "large", 0.4))
    assert (chart.x.categories, chart.y.categories) == (("H100", "L4"), ("large", "tiny"))
    assert chart.series[0].points == ((1.0, 0.0, 0.4), (0.0, 1.0, 0.1), (1.0, 1.0, 0.2))
    assert chart.rows == (("large", None, 0.4), ("tiny", 0.1, 0.2))


@pytest.mark.parametrize(("metric", "best"), [("ttft", 0.1), ("decode_throughput", 0.3)])
def test_of_several_in_one_place_the_best_stands_and_the_note_says_what_differs(
    metric: str, best: float
) -> None:
    chart = a_map(
        spot("L4", "tiny", 0.1, backend="vllm"),
        spot("L4", "tiny", 0.3, backend="llamacpp"),
        spot("L4", "large", 1.0),
        spot("H100", "large", 1.0),
        metric=metric,
    )
    assert chart.rows[1][2] == best
    assert chart.note is not None
    assert "Of up to 2 cases in one place, which differ in backend, the best." in chart.note


def test_one_column_is_not_a_map_and_says_so() -> None:
    assert "two of each axis" in (a_map(spot("L4", "tiny", 0.1), spot("L4", "large", 0.2)).missing or "")
    assert a_map().missing is not None


def test_what_does_not_fit_is_named() -> None:
    many = [spot(f"gpu{n}", model, 1.0) for n in range(MOST_COLUMNS + 2) for model in ("a", "b")]
    chart = a_map(*many)
    assert len(chart.x.categories) == MOST_COLUMNS
    assert f"Shown are {MOST_COLUMNS} of {MOST_COLUMNS + 2}; not shown: gpu24, gpu25." in (chart.note or "")


def test_numbers_stand_by_their_size() -> None:
    assert sorted(["c16", "c8", "", "q4"], key=natural) == ["", "c8", "c16", "q4"]


def cells(a_session: Any, a_case: Any, **case: Any) -> list[Any]:
    """Four sessions of a matrix: two quantizations on two kinds of hardware."""
    made = []
    for place, (hardware, quantization) in enumerate(
        (h, q) for h in ("L4", "H100") for q in ("q8_0", "q4_0")
    ):
        found = a_session(place + 1, [a_case(quantization=quantization, slow=1.0 + place, **case)])
        cell = CellRecord(matrix="m", id=f"{place:016x}", key=f"{place:016x}", hardware=hardware, count=2)
        found.session.cell = cell
        made.append(found)
    return made


def test_sessions_of_a_matrix_become_one_map_over_hardware(a_session: Any, a_case: Any) -> None:
    documents = cells(a_session, a_case)
    charts = {chart.id: chart for chart in maps(documents)}
    assert set(charts) == {"plane-0-ttft", "plane-0-decode-throughput"}
    ttft = charts["plane-0-ttft"]
    assert {ttft.x.label, ttft.y.label} == {"hardware", "quantization"}
    assert sorted(ttft.series[0].labels) == ["q4_0, H100x2", "q4_0, L4x2", "q8_0, H100x2", "q8_0, L4x2"]
    medians = {document.cases[0].metrics["ttft"].median for document in documents}
    assert {point[2] for point in ttft.series[0].points} == medians


def test_other_work_is_another_map(a_session: Any, a_case: Any) -> None:
    documents = [*cells(a_session, a_case), *cells(a_session, a_case, max_new_tokens=99, tokens=16)]
    assert {chart.id.split("-")[1] for chart in maps(documents)} == {"0", "1"}


def test_sessions_that_differ_in_one_thing_alone_say_that_there_is_no_map(a_session: Any) -> None:
    (chart,) = maps([a_session(1), a_session(2)])
    assert "differ in two of" in (chart.missing or "")

"""Does a map of cells compare only what may be compared?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.service.pages.asked import Asked
from pytest_llmbench.service.pages.cells_map import CellsMap, cells_map, spots_of
from pytest_llmbench.service.state import Service
from tests.fakes.a_matrix import cells, write_matrix


def mapped(service: Service, name: str = "nightly", **query: str) -> CellsMap:
    pairs = tuple((key.replace("only_", "only."), value) for key, value in query.items())
    return cells_map(Asked(service=service, address="/", query=pairs), service.matrices.state(name))


def table(found: CellsMap) -> dict[str, dict[str, Any]]:
    """The values of a map, by what stands downwards and across."""
    assert found.chart is not None
    return {
        str(row[0]): dict(zip(found.chart.x.categories, row[1:], strict=True)) for row in found.chart.rows
    }


def test_by_default_it_is_hardware_and_models_of_the_first_load(measured_matrix: Service) -> None:
    found = mapped(measured_matrix)
    values = table(found)
    assert list(values) == ["llama-1b", "llama-82m", "tiny"]
    assert list(values["tiny"]) == ["A100-80GB", "H100x2", "L4"]
    # The best of engines and quantizations, of one request at a time.
    assert values["tiny"]["A100-80GB"] == pytest.approx(0.05 * 0.5 * 0.4)
    assert "which differ in engine, quantization, the best" in str(found.chart and found.chart.note)
    assert [(one.name, one.chosen) for one in found.choices] == [
        ("across", "hardware"),
        ("down", "model"),
        ("metric", "ttft"),
        ("only.load", "c1"),
    ]


def test_another_load_is_chosen_and_never_mixed(measured_matrix: Service) -> None:
    one, eight = (table(mapped(measured_matrix, only_load=load)) for load in ("c1", "c8"))
    assert eight["llama-1b"]["L4"] == pytest.approx(one["llama-1b"]["L4"] * 8**0.5)


def test_load_can_be_an_axis_itself(measured_matrix: Service) -> None:
    found = mapped(measured_matrix, across="load", down="quantization", metric="system_throughput")
    values = table(found)
    assert list(values["f16"]) == ["c1", "c8"]
    assert values["q4_0"]["c8"] > values["f16"]["c8"] > values["f16"]["c1"]
    assert all(not one.name.startswith("only.") for one in found.choices)


def test_a_metric_that_was_not_measured_leaves_no_picture_and_says_so(measured_matrix: Service) -> None:
    found = mapped(measured_matrix, metric="peak_vram")
    assert found.chart is not None
    assert found.chart.missing is not None


def test_cells_that_differ_in_one_thing_are_not_mapped(measured_matrix: Service) -> None:
    alike = [cell for cell in cells(("tiny",), ("vllm",)) if cell.load == "c1" and cell.quantization == "f16"]
    write_matrix(measured_matrix.store, "alike", of=alike)
    found = mapped(measured_matrix, "alike")
    assert (found.chart, found.problem) == (None, None)
    assert "differ in one thing at most" in str(found.nothing)


def test_a_result_of_another_matrix_counts_where_its_cell_is_the_same(measured_matrix: Service) -> None:
    write_matrix(measured_matrix.store, "again", done=0.0)
    state = measured_matrix.matrices.state("again")
    assert state.counts["done"] == 81
    assert len(spots_of(measured_matrix, state, "ttft")) == 81

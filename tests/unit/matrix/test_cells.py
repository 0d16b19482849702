"""What makes two cells the same?"""

from __future__ import annotations

from dataclasses import replace

from pytest_llmbench.matrix.cells import Cell, cell_id, key_of
from pytest_llmbench.results.cell import Hardware


def test_an_id_is_of_what_is_asked_and_of_the_devices() -> None:
    case, model = {"name": "short", "rounds": 3}, {"name": "tiny"}
    one = cell_id(case, model, Hardware("L4"))
    assert one == cell_id({"rounds": 3, "name": "short"}, model, Hardware("L4"))
    assert (
        len(
            {
                one,
                cell_id(case, model, Hardware("L4", 2)),
                cell_id({**case, "rounds": 4}, model, Hardware("L4")),
            }
        )
        == 3
    )


def test_where_a_machine_was_bought_is_not_part_of_it() -> None:
    assert cell_id({}, {}, Hardware("L4", market="spot")) == cell_id(
        {}, {}, Hardware("L4", market="on_demand")
    )


def test_a_key_is_of_the_cell_and_what_measured_it() -> None:
    assert key_of("a", "b") == key_of("a", "b") != key_of("a", "c")


def test_a_label_says_what_a_person_asks_for() -> None:
    cell = Cell(
        "0" * 16, "chat", Hardware("H100", 8, "spot"), "vllm", True, "tiny", "q8_0", "c8", {"slo.ttft": "1s"}
    )
    assert cell.label == "chat vllm-tiny-q8_0-c8-ttft:1s @ H100x8-spot"
    assert replace(cell, quantization=None, load=None, point={}).label == "chat vllm-tiny @ H100x8-spot"

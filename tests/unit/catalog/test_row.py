"""What is a configuration called?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from pytest_llmbench.catalog.row import Row, name_of_test

ROW = Row(
    case=1, session="s", position=0, nodeid="m::chat[x]", workload="w", test="chat",
    model="tiny", quantization="q8_0",
    engine="vllm", engine_version="1", hardware="L4", count=2, market="spot", load="c8",
    measured=datetime.now(UTC),
    prompt_tokens=8, output_tokens=8, machine="m",
)  # fmt: skip


def test_a_label_says_what_is_known() -> None:
    assert ROW.label == "tiny q8_0, vllm, L4x2, c8"
    assert replace(ROW, quantization=None, hardware=None, load=None).label == "tiny, vllm"


def test_a_measurement_that_has_a_name_is_part_of_the_tests() -> None:
    assert name_of_test("a.py::test_one[x]", "default") == "test_one"
    assert name_of_test("a.py::test_one[x]", "warm") == "test_one warm"

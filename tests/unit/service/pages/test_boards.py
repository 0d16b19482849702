"""Are only equal cases ranked, and is the front of two metrics right?"""

from __future__ import annotations

import pytest

from pytest_llmbench.service.pages.boards import Measured, Work, boards, parameters

WORK = Work("test_x.py::test_short", "default", "", None, None, None, None, None, None, 16)


def measured(
    model: str,
    ttft: float | None = None,
    *,
    session: str = "1",
    machine: str = "m1",
    work: Work = WORK,
    quantization: str | None = None,
) -> Measured:
    values = {} if ttft is None else {"ttft": ttft}
    return Measured(
        session, 0, "id", f"2026-01-0{session}", machine, work, model, quantization, "llamacpp", values
    )


def test_the_newest_measurement_of_each_contender_is_ranked() -> None:
    (board,) = boards([measured("a", 3.0, session="2"), measured("a", 1.0), measured("b", 2.0)])

    assert [(rank, row.model) for rank, row in board.ranked("ttft", "lower")] == [(1, "b"), (2, "a")]
    assert [row.model for _, row in board.ranked("ttft", "higher")] == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [
        measured("b", 2.0, machine="m2"),
        measured("b", 2.0, work=WORK._replace(depth=512)),
        measured("b", 2.0, work=WORK._replace(concurrency=4)),
        measured("b", 2.0, work=WORK._replace(parameters="long")),
        measured("b", 2.0, work=WORK._replace(output_tokens=8)),
    ],
)
def test_other_work_or_hardware_is_another_board(other: Measured) -> None:
    assert [len(board.rows) for board in boards([measured("a", 1.0), other])] == [1, 1]


def test_equal_values_share_a_rank_and_what_has_no_value_is_not_ranked() -> None:
    (board,) = boards([measured("a", 1.0), measured("b", 1.0), measured("c", 2.0), measured("d")])

    assert [rank for rank, _ in board.ranked("ttft", "lower")] == [1, 1, 3]


def test_a_board_says_what_is_equal() -> None:
    (board,) = boards([measured("a", 1.0, work=WORK._replace(depth=512))])

    assert board.equal == (
        "the test test_short, 512 tokens before the prompt, 16 tokens of output, the machine m1"
    )


@pytest.mark.parametrize(
    ("nodeid", "left"),
    [
        ("f.py::test_x", ""),
        ("f.py::test_x[llamacpp-tiny-q8_0]", ""),
        ("f.py::test_x[llamacpp-tiny]", ""),
        ("f.py::test_x[long-llamacpp-tiny-q8_0]", "long"),
        ("f.py::test_x[llamacpp-tiny-q8_0-512]", "512"),
    ],
)
def test_what_an_id_says_beside_the_model(nodeid: str, left: str) -> None:
    assert parameters(nodeid, "tiny", None, "q8_0", ("llamacpp", "")) == left

"""Is what cells will take told by the cells most like them?"""

from __future__ import annotations

from dataclasses import asdict

from pytest_llmbench.matrix.cells import Cell
from pytest_llmbench.matrix.estimate import estimates
from pytest_llmbench.matrix.state import CellState
from pytest_llmbench.matrix.summary import CellSummary
from pytest_llmbench.results.cell import Hardware

L4, H100 = Hardware("L4"), Hardware("H100", 8)


def cell(number: int, name: str = "short", hardware: Hardware = L4, engine: str = "llamacpp") -> Cell:
    return Cell(f"{number:016x}", name, hardware, engine, False, f"m{number}", None, None)


def done(one: Cell, seconds: float, attempts: int = 1) -> CellState:
    return CellState(**asdict(CellSummary.of(one)), state="done", seconds=seconds, attempts=attempts)


def price(hardware: Hardware) -> float | None:
    return 3.6 if hardware == L4 else None


def test_nothing_is_known_of_a_matrix_that_was_never_run() -> None:
    (one,) = estimates([cell(1), cell(2)], [], price)
    assert (one.cells, one.unknown, one.seconds, one.usd) == (2, 2, 0, None)


def test_what_is_most_like_a_cell_tells_the_most() -> None:
    before = [done(cell(1), 10, 2), done(cell(9, "long"), 100), done(cell(8, hardware=H100), 1)]
    known, other, far = estimates(
        [cell(1), cell(2), cell(3, "other"), cell(4, hardware=H100), cell(5, hardware=Hardware("T4"))],
        before,
        price,
    )
    assert known.seconds == 5 + 5 + 5  # The third by the engine's median: 1, 5 and 100.
    assert known.usd == 3.6 * 15 / 3600
    assert (other.seconds, other.usd) == (1, None)
    assert far.seconds == 3  # The same case and engine elsewhere: 1 and 5.


def test_another_engine_tells_nothing() -> None:
    (one,) = estimates([cell(1, engine="vllm")], [done(cell(1), 5)], price)
    assert one.unknown == 0  # It is the same cell by its id, whatever it is called.
    (two,) = estimates([cell(2, engine="vllm")], [done(cell(1), 5)], price)
    assert two.unknown == 1

"""Which generations did pytest-benchmark measure?"""

from __future__ import annotations

from pytest_llmbench.bench.model import measured_calls


def test_calibration_warm_up_and_the_last_call_are_left_out() -> None:
    # calibration, warm-up, then three rounds, then the call that fetches the result
    before = [0, 0, 0, 1, 2, 3]
    assert measured_calls(before, rounds=3, iterations=1) == [2, 3, 4]


def test_all_iterations_of_a_round_are_kept() -> None:
    before = [0, 0, 0, 1, 1, 2]
    assert measured_calls(before, rounds=2, iterations=2) == [1, 2, 3, 4]


def test_a_function_that_generates_twice_is_told_from_its_later_rounds() -> None:
    before = [0, 0, 0, 0, 1, 1, 2, 2]
    assert measured_calls(before, rounds=2, iterations=1) == [2, 3, 4, 5]


def test_a_single_pedantic_round_is_kept() -> None:
    assert measured_calls([0], rounds=1, iterations=1) == [0]

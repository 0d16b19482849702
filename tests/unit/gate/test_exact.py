"""Numbers that hardly vary."""

from __future__ import annotations

import pytest

from pytest_llmbench.gate.exact import judge_exact
from pytest_llmbench.results.verdict import Verdict

MIB = 2**20


def test_the_same_passes_and_more_than_the_tolerance_fails() -> None:
    base = [100 * MIB, 100 * MIB, 100.1 * MIB]
    assert judge_exact("peak_rss", base, base, 0.02).verdict is Verdict.PASS
    assert judge_exact("peak_rss", base, [101 * MIB] * 3, 0.02).verdict is Verdict.PASS
    judged = judge_exact("peak_rss", base, [105 * MIB, 105.2 * MIB, 105 * MIB], 0.02)
    assert judged.verdict is Verdict.FAIL
    assert judged.change == pytest.approx(0.05)
    assert judged.method == "exact"


def test_a_tolerance_of_nothing_takes_any_change() -> None:
    assert judge_exact("peak_rss", [100.0], [100.0], 0.0).verdict is Verdict.PASS
    assert judge_exact("peak_rss", [100.0], [101.0], 0.0).verdict is Verdict.FAIL


def test_what_varies_by_itself_does_not_fail_for_it() -> None:
    judged = judge_exact("peak_rss", [100.0, 110.0], [112.0, 118.0], 0.02)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason
    assert "9.5%" in judged.reason


def test_ranges_that_overlap_pass_by_their_medians() -> None:
    assert judge_exact("peak_rss", [98.0, 100.0, 104.0], [99.0, 101.0, 103.0], 0.02).verdict is Verdict.PASS


def test_a_smaller_footprint_is_an_improvement() -> None:
    judged = judge_exact("peak_rss", [100.0, 101.0], [80.0, 81.0], 0.02)
    assert judged.verdict is Verdict.PASS
    assert judged.improved


def test_zero_has_no_percentage() -> None:
    assert judge_exact("energy", [0.0], [0.0], 0.02).verdict is Verdict.PASS
    grown = judge_exact("peak_vram", [0.0], [100.0], 0.02)
    assert grown.verdict is Verdict.FAIL
    assert grown.change is None
    assert judge_exact("peak_vram", [100.0], [0.0], 0.02).verdict is Verdict.PASS
    assert judge_exact("decode_throughput", [100.0], [0.0], 0.02).verdict is Verdict.FAIL


def test_sides_without_values_are_new_or_invalid() -> None:
    assert judge_exact("peak_rss", [], [1.0], 0.02).verdict is Verdict.NEW
    assert judge_exact("peak_rss", [1.0], [], 0.02).verdict is Verdict.INVALID


@pytest.mark.parametrize(("base", "now"), [(-1.0, 1.0), (1.0, -1.0), (0.0, -1.0)])
def test_a_negative_value_has_no_relative_change(base: float, now: float) -> None:
    judged = judge_exact("peak_rss", [base], [now], 0.02)
    assert (judged.verdict, judged.reason) == (Verdict.INVALID, "a negative value has no relative change")

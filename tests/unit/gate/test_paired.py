"""What the sequential test does with the pairs that it is fed."""

from __future__ import annotations

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.paired import PairedTest
from pytest_llmbench.results.verdict import Verdict


def feed(test: PairedTest, effect: float, n: int, spread: float = 0.01) -> PairedTest:
    """Add *n* pairs, spread evenly and in no order around *effect*."""
    for k in range(n):
        test.add(effect + spread * (((k * 7) % 11) / 5 - 1))
    return test


def test_it_asks_for_pairs_until_the_next_look() -> None:
    test = PairedTest(0.05)
    assert test.needs_more == 8
    feed(test, 0.2, 3)
    assert test.needs_more == 5
    assert test.verdict is None


def test_the_first_look_passes_what_is_clearly_not_slower() -> None:
    test = feed(PairedTest(0.05), 0.0, 8)
    assert test.verdict is Verdict.PASS
    assert test.needs_more == 0
    judged = test.judgment()
    assert judged.high is not None
    assert judged.high < 0.05
    assert not judged.improved


def test_the_first_look_never_fails() -> None:
    test = feed(PairedTest(0.05), 0.5, 8)
    assert test.verdict is None
    assert not test.done
    assert test.needs_more == 4


def test_a_clear_regression_fails_at_the_second_look() -> None:
    test = feed(PairedTest(0.05, comparisons=20), 0.3, 12)
    judged = test.judgment()
    assert judged.verdict is Verdict.FAIL
    assert judged.method == "signed-rank"
    assert judged.n == 12
    assert judged.low is not None
    assert judged.low > 0.05
    assert judged.p == 0.5**12


def test_more_comparisons_take_more_pairs() -> None:
    assert feed(PairedTest(0.05, comparisons=500), 0.3, 12).verdict is None
    assert feed(PairedTest(0.05, comparisons=500), 0.3, 20).verdict is Verdict.FAIL


def test_a_decided_test_ignores_what_comes_later() -> None:
    test = feed(PairedTest(0.05), 0.0, 8)
    before = test.judgment()
    feed(test, 0.9, 30)
    test.drop("throttled")
    assert test.judgment() == before


def test_an_effect_near_the_threshold_ends_inconclusive_and_says_what_it_would_take() -> None:
    test = feed(PairedTest(0.05), 0.0488, 32, spread=0.1)
    judged = test.judgment()
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason
    assert "pairs" in judged.reason
    assert judged.detectable is not None
    assert judged.detectable > 0.05


def test_what_is_faster_beyond_the_threshold_is_an_improvement() -> None:
    judged = feed(PairedTest(0.05), -0.2, 8).judgment()
    assert judged.verdict is Verdict.PASS
    assert judged.improved


def test_a_throughput_s_change_is_told_as_what_is_missing_of_it() -> None:
    judged = feed(PairedTest(0.05, metric="decode_throughput"), 0.6931, 12, spread=1e-6).judgment()
    assert judged.verdict is Verdict.FAIL
    assert judged.change == pytest.approx(0.5, abs=1e-3)


def test_base_and_now_are_the_medians_of_the_pairs() -> None:
    test = PairedTest(0.05)
    for base in (1.0, 2.0, 3.0):
        test.add(0.0, base, 2 * base)
    judged = test.judgment()
    assert (judged.base, judged.now) == (2.0, 4.0)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason == "stopped after 3 pairs; 5 more until the next look"


def test_one_pair_in_five_without_a_value_is_replaced_and_one_more_spoils_the_case() -> None:
    test = PairedTest(0.05)
    test.drop("it was not measured")
    test.drop("a value of 0")
    assert test.needs_more == 8
    test.drop("a value of 0")
    judged = test.judgment()
    assert judged.verdict is Verdict.INVALID
    assert judged.dropped == 3
    assert judged.reason
    assert "a value of 0 (2)" in judged.reason


def test_disturbed_pairs_are_counted_and_do_not_spoil_a_case_that_replaces_them() -> None:
    test = PairedTest(0.05)
    for _ in range(20):
        test.drop("steal", disturbed=True)
    assert (test.needs_more, test.dropped) == (8, {"steal": 20})
    for _ in range(8):
        test.add(0.0)
    assert test.verdict is Verdict.PASS


def test_a_session_that_takes_all_its_pairs_spends_no_error_twice() -> None:
    test = PairedTest(0.05)
    for difference in (0.01, 0.09) * 5:
        test.add(difference)
    before = [(look.pairs, look.beyond, look.changed) for look in test._plan]
    test.take_all([(d, None, None) for d in (0.01, 0.09) * 7])
    assert len(test.differences) == 14
    after = [(look.pairs, look.beyond, look.changed) for look in test._plan]
    assert [pairs for pairs, *_ in after] == [8, 20, 32]
    for column in (1, 2):
        assert sum(row[column] for row in after) == pytest.approx(sum(row[column] for row in before))
    assert test.needs_more == 6


def test_later_looks_bear_more_disturbed_pairs() -> None:
    test = feed(PairedTest(0.05), 0.3, 8)
    for _ in range(3):
        test.drop("steal")
    assert test.verdict is None
    test.drop("steal")
    assert test.verdict is Verdict.INVALID


def test_a_budget_of_pairs_ends_the_test_there() -> None:
    test = PairedTest(0.05, budget=15)
    feed(test, 0.0488, 15, spread=0.2)
    assert test.verdict is Verdict.INCONCLUSIVE
    assert test.judgment().details["looks"] == [8, 12, 15]
    assert feed(PairedTest(0.05, budget=10), 0.5, 10).verdict is Verdict.FAIL


def test_a_budget_below_any_verdict_says_so() -> None:
    judged = feed(PairedTest(0.05, budget=3), 0.5, 3).judgment()
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.reason == "3 pairs are too few for any verdict; 8 or more may decide"


def test_a_budget_of_time_spends_what_is_left_of_the_error_at_once() -> None:
    test = feed(PairedTest(0.05), 0.5, 9)
    test.finish()
    assert test.verdict is Verdict.FAIL
    nothing = PairedTest(0.05)
    nothing.finish()
    assert nothing.judgment().verdict is Verdict.INCONCLUSIVE
    assert nothing.judgment().change is None


@pytest.mark.parametrize("budget", [None, 6, 10, 15, 20, 25])
def test_the_levels_of_all_looks_never_exceed_the_error(budget: int | None) -> None:
    test = PairedTest(0.05, comparisons=20, budget=budget)
    assert sum(look.beyond for look in test._plan) == pytest.approx(0.01)
    assert sum(look.changed for look in test._plan) == pytest.approx(0.0025)


def test_looks_and_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="rise"):
        PairedTest(0.05, looks=(12, 12, 20))
    with pytest.raises(ValueError, match="spend"):
        PairedTest(0.05, spend=(0.5, 0.5, 0.5))
    with pytest.raises(ValueError, match="negative"):
        PairedTest(-0.05)
    with pytest.raises(ValueError, match="budget"):
        PairedTest(0.05, budget=0)
    with pytest.raises(ValueError, match="finite"):
        PairedTest(0.05).add(float("nan"))
    with pytest.raises(UsageError, match="throughput"):
        PairedTest(1.5, metric="decode_throughput")

"""One metric of one case against stored sessions."""

from __future__ import annotations

import math
from itertools import repeat

import numpy as np
import pytest

from pytest_llmbench.gate.statistics import prediction_bound
from pytest_llmbench.gate.stored import CalibratedNoise, SessionNoise, judge_stored, pool_sessions
from pytest_llmbench.results.verdict import Verdict

FIVE = [[1.00, 1.01, 0.99], [1.02, 1.01, 1.00], [0.99, 0.98, 1.00], [1.01, 1.00, 1.01], [1.00, 0.99, 0.98]]


def scaled(factor: float) -> list[float]:
    return [factor * v for v in (1.0, 1.01, 0.99)]


def test_unchanged_passes_and_slower_fails() -> None:
    same = judge_stored("tpot", FIVE, scaled(1.0), 0.05)
    assert same.verdict is Verdict.PASS
    assert same.method == "prediction"
    assert same.reason is None
    slow = judge_stored("tpot", FIVE, scaled(1.2), 0.05)
    assert slow.verdict is Verdict.FAIL
    assert slow.change == pytest.approx(0.2, abs=0.01)
    assert slow.low is not None
    assert slow.low > 0.05
    assert slow.n == 3
    assert slow.details["sessions"] == 5


def test_fewer_tokens_a_second_is_worse() -> None:
    base = [[100 * v for v in s] for s in FIVE]
    assert judge_stored("decode_throughput", base, [80.0, 81.0, 79.0], 0.05).verdict is Verdict.FAIL
    faster = judge_stored("decode_throughput", base, [120.0, 121.0, 119.0], 0.05)
    assert faster.verdict is Verdict.PASS
    assert faster.improved


def test_beyond_doubt_but_within_the_threshold_is_no_failure() -> None:
    assert judge_stored("tpot", FIVE, scaled(1.06), 0.15).verdict is Verdict.PASS


def test_a_change_inside_the_spread_of_sessions_is_inconclusive_and_names_the_way_out() -> None:
    wild = [[math.exp(x)] * 3 for x in (-0.2, 0.1, 0.25, -0.1, 0.0)]
    judged = judge_stored("tpot", wild, scaled(1.2), 0.05)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.detectable is not None
    assert judged.detectable > 0.5
    assert judged.reason
    assert "A/B pairs" in judged.reason


def test_quiet_sessions_fail_beyond_the_prediction_bound_and_not_below() -> None:
    # One value a session: no process spread to allow for, and too near for skewness.
    sessions = [[math.exp(x)] for x in (0.0, 0.01, -0.01, 0.005, -0.005)]
    bound = prediction_bound([math.log(s[0]) for s in sessions], 0.005)
    assert judge_stored("tpot", sessions, [math.exp(bound + 0.001)], 0.0).verdict is Verdict.FAIL
    assert judge_stored("tpot", sessions, [math.exp(bound - 0.001)], 0.0).verdict is not Verdict.FAIL


def test_a_process_fewer_makes_a_session_less_certain() -> None:
    noisy = [[0.9, 1.0, 1.1, 1.05, 0.95]] * 5
    full = judge_stored("tpot", noisy, [1.08, 1.2, 1.32, 1.26, 1.14], 0.05)
    one = judge_stored("tpot", noisy, [1.2], 0.05)
    assert full.low is not None
    assert one.low is not None
    assert one.low < full.low


def test_one_session_judges_with_what_it_has_and_says_so() -> None:
    tight = [[1.0, 1.001, 0.999]]
    same = judge_stored("tpot", tight, [1.0, 1.001, 0.999], 0.05)
    assert same.verdict is Verdict.PASS
    assert same.method == "single-session"
    assert same.reason
    assert "1 stored session does not show how far sessions lie apart" in same.reason
    slow = judge_stored("tpot", tight, [2.0, 2.002, 1.998], 0.05)
    assert slow.verdict is Verdict.FAIL
    unsure = judge_stored("tpot", FIVE[:1], scaled(1.12), 0.05)
    assert unsure.verdict is Verdict.INCONCLUSIVE
    assert unsure.reason
    assert "five sessions" in unsure.reason


def test_single_processes_of_a_single_session_can_say_nothing() -> None:
    judged = judge_stored("tpot", [[1.0]], [3.0], 0.05)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.low is None
    assert judged.reason
    assert "processes=3" in judged.reason


def test_a_calibrated_noise_stands_in_for_sessions_that_are_not_there() -> None:
    noise = SessionNoise(variance=0.01**2, df=20)
    assert judge_stored("tpot", [[1.0]], [1.3], 0.05, noise=noise).verdict is Verdict.FAIL
    assert judge_stored("tpot", [[1.0]], [1.0], 0.05, noise=noise).verdict is Verdict.PASS


def test_a_case_that_is_noisier_than_what_was_calibrated_is_less_certain() -> None:
    noise = CalibratedNoise(variance=0.01**2, df=9, process=0.01**2, processes=3)
    quiet, loud = [1.0, 1.01, 0.99], [1.0, 1.1, 0.9]
    certain = judge_stored("tpot", [quiet], [1.2 * v for v in quiet], 0.05, noise=noise)
    less = judge_stored("tpot", [loud], [1.2 * v for v in loud], 0.05, noise=noise)
    assert certain.verdict is Verdict.FAIL
    assert less.verdict is Verdict.INCONCLUSIVE
    assert less.details["session_sd"] > 5 * certain.details["session_sd"]


def test_fewer_processes_than_were_calibrated_make_it_less_certain() -> None:
    noise = CalibratedNoise(variance=0.01**2, df=9, process=0.03**2, processes=5)
    five, one = (judge_stored("tpot", [[1.0] * n], [1.1] * n, 0.05, noise=noise) for n in (5, 1))
    assert one.details["session_sd"] > five.details["session_sd"]


def test_a_calibration_of_few_sessions_allows_for_what_chance_did_to_them() -> None:
    few, many = (
        judge_stored("tpot", [[1.0]], [1.2], 0.05, noise=CalibratedNoise(variance=0.02**2, df=df))
        for df in (2, 30)
    )
    assert few.verdict is Verdict.INCONCLUSIVE
    assert many.verdict is Verdict.FAIL


def test_sides_without_values_are_new_or_invalid() -> None:
    assert judge_stored("tpot", [], [1.0], 0.05).verdict is Verdict.NEW
    assert judge_stored("tpot", [[1.0]], [], 0.05).verdict is Verdict.INVALID


def test_values_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        judge_stored("tpot", [[1.0]], [0.0], 0.05)
    with pytest.raises(ValueError, match="positive"):
        judge_stored("tpot", [[]], [1.0], 0.05)
    with pytest.raises(ValueError, match="negative"):
        judge_stored("tpot", [[1.0]], [1.0], -0.05)


def test_sessions_that_do_not_differ_at_all_are_judged_all_the_same() -> None:
    assert judge_stored("tpot", list(repeat([1.0], 5)), [1.0], 0.05).verdict is Verdict.PASS
    assert judge_stored("tpot", list(repeat([1.0], 5)), [1.1], 0.05).verdict is Verdict.FAIL


def suite(seed: int, cases: int, own: float, shared: float, scale: float = 0.0) -> list[list[list[float]]]:
    rng = np.random.default_rng(seed)
    logs = own * rng.standard_normal((cases, 5)) + shared * rng.standard_normal((1, 5))
    logs *= np.exp(scale * rng.standard_normal((cases, 1)))
    return [[[math.exp(x)] for x in row] for row in logs]


def test_like_cases_lend_each_other_their_spread() -> None:
    noise = pool_sessions(suite(1, 40, own=0.03, shared=0.0))
    assert noise is not None
    assert math.sqrt(noise.variance) == pytest.approx(0.03, rel=0.2)
    assert min(noise.df, noise.cap) > 30


def test_unlike_cases_lend_each_other_little() -> None:
    noise = pool_sessions(suite(2, 40, own=0.03, shared=0.0, scale=1.5))
    assert noise is not None
    assert noise.df < 3


def test_sessions_that_shift_all_cases_together_count_as_few() -> None:
    noise = pool_sessions(suite(3, 40, own=0.005, shared=0.05))
    assert noise is not None
    assert noise.combined(0.05**2, 4)[1] < 6


def test_too_few_cases_or_sessions_are_not_pooled() -> None:
    assert pool_sessions(suite(4, 5, 0.03, 0.0)) is None
    assert pool_sessions([[[1.0]]] * 10) is None
    assert pool_sessions([]) is None
    with pytest.raises(ValueError, match="same sessions"):
        pool_sessions([[[1.0]], [[1.0], [1.0]]])

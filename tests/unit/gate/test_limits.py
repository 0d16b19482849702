"""Are absolute limits and percentiles judged by what the values can show?"""

from __future__ import annotations

import math
import random

import pytest

from pytest_llmbench.gate.limits import judge_exceedance, judge_limit
from pytest_llmbench.gate.thresholds import parse_thresholds
from pytest_llmbench.results.verdict import Verdict

TTFT = parse_thresholds("ttft:<300ms")[0]
SPEED = parse_thresholds("decode_throughput:>50")[0]
P95 = parse_thresholds("ttft.p95:<300ms")[0]


def test_processes_well_within_the_limit_pass() -> None:
    judged = judge_limit(TTFT, [[0.1, 0.11], [0.12, 0.1], [0.11, 0.12]], exact=False)
    assert judged.verdict is Verdict.PASS
    assert judged.method == "limit"
    assert judged.details["now_low"] < judged.now < judged.details["now_high"] < 0.3  # type: ignore[operator]


def test_processes_beyond_the_limit_fail() -> None:
    assert judge_limit(TTFT, [[0.4], [0.41], [0.42]], exact=False).verdict is Verdict.FAIL


def test_a_limit_within_the_interval_is_inconclusive_and_says_what_helps() -> None:
    judged = judge_limit(TTFT, [[0.28], [0.31], [0.33]], exact=False)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "more processes" in (judged.reason or "")


@pytest.mark.parametrize(
    ("values", "verdict"), [([60.0, 61.0, 62.0], Verdict.PASS), ([40.0, 41.0, 42.0], Verdict.FAIL)]
)
def test_the_limit_of_a_throughput_is_a_lower_one(values: list[float], verdict: Verdict) -> None:
    assert judge_limit(SPEED, [[value] for value in values], exact=False).verdict is verdict


def test_one_process_is_judged_by_its_rounds_and_says_so() -> None:
    judged = judge_limit(TTFT, [[0.1, 0.2, 0.15, 0.12, 0.11]], exact=False)
    assert judged.verdict is Verdict.PASS
    assert "one process" in (judged.reason or "")


def test_few_rounds_of_one_process_show_nothing() -> None:
    judged = judge_limit(TTFT, [[0.1, 0.2]], exact=False)
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert judged.details["now_high"] is None


def test_an_exact_metric_is_judged_by_its_worst_process() -> None:
    limit = parse_thresholds("peak_rss:<1KiB")[0]
    assert judge_limit(limit, [[1000.0], [1024.0]], exact=True).verdict is Verdict.PASS
    judged = judge_limit(limit, [[1000.0], [1025.0]], exact=True)
    assert (judged.verdict, judged.now) == (Verdict.FAIL, 1025.0)


def test_59_values_within_the_limit_of_p95_pass_and_58_do_not_suffice() -> None:
    # 0.95 ** 59 is the first below 5%.
    assert judge_exceedance(P95, [], [[0.1] * 59]).verdict is Verdict.PASS
    judged = judge_exceedance(P95, [], [[0.1] * 58])
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "59 values" in (judged.reason or "")


def test_more_values_beyond_the_limit_than_chance_explains_fail() -> None:
    judged = judge_exceedance(P95, [], [[0.1] * 90 + [0.4] * 10])
    assert judged.verdict is Verdict.FAIL
    assert judged.method == "exceedance"
    assert judged.details["beyond"] == 10


def test_values_beyond_the_limit_that_come_from_one_process_count_for_fewer() -> None:
    together = [[0.1] * 20, [0.1] * 20, [0.1] * 20, [0.1] * 12 + [0.4] * 8]
    apart = [[0.1] * 18 + [0.4] * 2] * 4
    assert judge_exceedance(P95, [], apart).verdict is Verdict.FAIL
    assert judge_exceedance(P95, [], together).verdict is Verdict.INCONCLUSIVE


def test_the_tail_of_a_throughput_is_its_slow_one() -> None:
    tail = parse_thresholds("decode_throughput.p95:>50")[0]
    assert judge_exceedance(tail, [], [[60.0] * 90 + [40.0] * 10]).verdict is Verdict.FAIL
    assert judge_exceedance(tail, [], [[60.0] * 99 + [500.0]]).verdict is Verdict.PASS


def test_a_relative_tail_is_judged_against_the_baselines_percentile() -> None:
    draw = random.Random(1)
    relative = parse_thresholds("ttft.p95:10%")[0]

    def session(factor: float) -> list[list[float]]:
        return [[factor * (1 + draw.random()) for _ in range(300)] for _ in range(3)]

    bases = [session(0.1) for _ in range(5)]
    assert judge_exceedance(relative, bases, session(0.1)).verdict is Verdict.PASS
    judged = judge_exceedance(relative, bases, session(0.14))
    assert judged.verdict is Verdict.FAIL
    assert judged.change == pytest.approx(0.4, abs=0.05)


def test_a_baseline_with_too_few_values_does_not_tell_its_percentile() -> None:
    relative = parse_thresholds("ttft.p95:10%")[0]
    judged = judge_exceedance(relative, [[[0.1] * 15]] * 3, [[0.5] * 100])
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "the baseline has too few values" in (judged.reason or "")


def test_one_stored_session_does_not_tell_how_far_tails_lie_apart() -> None:
    relative = parse_thresholds("ttft.p95:10%")[0]
    judged = judge_exceedance(relative, [[[0.1] * 100]], [[0.5] * 100])
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "1 stored session does not show" in (judged.reason or "")


@pytest.mark.parametrize("sessions", [1, 5])
def test_sessions_that_lie_apart_do_not_fail_an_unchanged_tail(sessions: int) -> None:
    draw = random.Random(7)
    relative = parse_thresholds("ttft.p95:10%")[0]

    def session() -> list[list[float]]:
        mood = draw.gauss(0, 0.28)
        processes = [mood + draw.gauss(0, 0.1) for _ in range(3)]
        return [[math.exp(p + draw.gauss(0, 0.05)) for _ in range(100)] for p in processes]

    verdicts = [
        judge_exceedance(relative, [session() for _ in range(sessions)], session()).verdict
        for _ in range(200)
    ]
    assert verdicts.count(Verdict.FAIL) <= 2

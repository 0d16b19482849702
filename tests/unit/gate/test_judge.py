"""Does each judge say what a case is, and remember what it said?"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.gate.judge import PairedJudge, StoredJudge
from pytest_llmbench.results.verdict import Judgment, Verdict


def paired(verdict: Verdict) -> Judgment:
    return Judgment("tpot", verdict, "signed-rank", 0.01, 0.01, 0.0, -0.01, 0.01, 0.95, 0.05)


def test_a_stored_judge_without_documents_has_limits_alone(a_session: Any, a_case: Any) -> None:
    judge, now = StoredJudge(), a_session(1, [a_case()])
    assert not judge.compares
    assert judge.judge(now.cases[0], now) is None
    assert judge.comparison(now) is None
    limited = a_case()
    limited.thresholds = {"ttft": "<1000s"}
    found = judge.judge(limited, now)
    assert found is not None
    assert found.verdict is Verdict.PASS
    comparison = judge.comparison(now)
    assert comparison is not None
    assert comparison.cases == (found,)


def test_what_was_not_asked_for_is_not_missing(a_session: Any, a_case: Any) -> None:
    base = a_session(1, [a_case("test_x"), a_case("test_y")])
    now = a_session(2, [a_case("test_x")])
    judge = StoredJudge([base], present={now.cases[0].nodeid})
    judge.judge(now.cases[0], now)
    everything, asked = judge.comparison(now), judge.comparison(now, lambda nodeid: "test_y" not in nodeid)
    assert everything is not None
    assert asked is not None
    assert [one.nodeid for one in everything.missing] == ["benchmarks/test_a.py::test_y"]
    assert asked.missing == ()


def test_a_case_is_the_worst_of_its_pairs_and_its_limits(a_session: Any, a_case: Any) -> None:
    judge, now = PairedJudge(), a_session(1, [a_case()])
    found = judge.judge(now.cases[0], now, [paired(Verdict.FAIL), paired(Verdict.PASS)])
    assert found is not None
    assert found.verdict is Verdict.FAIL
    limited = a_case()
    limited.thresholds = {"ttft": "<1ns"}
    found = judge.judge(limited, now, [paired(Verdict.PASS)])
    assert found is not None
    assert {one.method for one in found.judgments} == {"signed-rank", "limit"}
    assert found.verdict is not Verdict.PASS
    comparison = judge.comparison(now)
    assert comparison is not None
    assert comparison.cases == (found,), "a test that is run again replaces what its first run was judged"


def test_the_base_side_is_not_judged_and_what_has_no_pairs_is_new(a_session: Any, a_case: Any) -> None:
    judge = PairedJudge()
    now = a_session(1, [a_case(measurement=f"default{BASE_SUFFIX}"), a_case()])
    assert judge.judge(now.cases[0], now, None) is None
    assert judge.comparison(now) is None
    found = judge.judge(now.cases[1], now, None)
    assert found is not None
    assert found.verdict is Verdict.NEW
    assert "generate() is not judged in pairs" in (found.reason or "")

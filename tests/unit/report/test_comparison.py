"""Can a person see what got slower, by how much, how sure that is, and what was not compared?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmbench.gate.compare import compare
from pytest_llmbench.gate.thresholds import parse_thresholds, thresholds_of
from pytest_llmbench.report.comparison import (
    COMMENT_LIMIT,
    cells,
    comparison_table,
    explain,
    explain_case,
    markdown_comparison,
    to_json,
)
from pytest_llmbench.report.table import render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.report.verdicts import summary
from pytest_llmbench.results.verdict import Judgment, Verdict


def judgment(**fields: Any) -> Judgment:
    values: dict[str, Any] = {
        "metric": "tpot",
        "verdict": Verdict.FAIL,
        "base": 0.01,
        "now": 0.0125,
        "change": 0.25,
        "low": 0.15,
        "high": 0.35,
        "confidence": 0.9,
        "threshold": 0.05,
        "method": "prediction",
        "n": 3,
        "dropped": 1,
        "detectable": 0.08,
    }
    return Judgment(**{**values, **fields})


def text(comparison: Any, width: int = 80, **options: Any) -> str:
    return render(comparison_table(comparison, **options), Screen(width))


@pytest.fixture
def bases(a_session: Any) -> list[Any]:
    return [a_session(day) for day in range(1, 6)]


def test_a_row_has_everything_that_a_verdict_stands_on() -> None:
    assert cells(judgment()) == (
        "tpot",
        "10.0 ms",
        "12.5 ms",
        "+25%",
        "+15…+35",
        "5%",
        "fail",
        "3!1",
        "8%",
    )


def test_a_throughput_that_fell_has_a_minus() -> None:
    row = cells(judgment(metric="decode_throughput", base=100.0, now=80.0, change=0.2, low=0.12, high=0.28))
    assert (row.base, row.now, row.change, row.interval) == ("100", "80.0", "-20%", "-28…-12")


def test_what_is_not_known_is_a_dash_and_no_change_has_no_sign() -> None:
    row = cells(judgment(base=None, change=-0.0001, low=None, high=float("inf"), detectable=None, dropped=0))
    assert (row.base, row.change, row.interval, row.sees, row.n) == ("-", "0.0%", "-", "-", "3")


def test_a_failure_is_explained_in_lines() -> None:
    assert explain(judgment(reason="because")).splitlines() == [
        "tpot: fail",
        "  base      10.0 ms",
        "  now       12.5 ms",
        "  change    +25% (worse), 90% interval +15% to +35%",
        "  threshold 5% worse than the baseline",
        "  judged by prediction, 3 processes, 1 more left out: the machine was disturbed",
        "  sees      changes from 8% on, in 4 of 5 such comparisons",
        "  why       because",
    ]


def test_pairs_are_called_pairs() -> None:
    assert "judged by signed-rank, 20 pairs" in explain(judgment(method="signed-rank", n=20, dropped=0))


def test_a_limit_is_explained_with_the_limit(a_session: Any, bases: list[Any]) -> None:
    of = thresholds_of(parse_thresholds("ttft:<20ms") + parse_thresholds("itl.p95:<1ms"), [])
    (case,) = compare(bases, a_session(9), of).cases
    said = explain_case(case)
    assert "threshold <20ms" in said
    assert "itl.p95: fail" in said
    assert "105 of 105 values are over 1.00 ms; 5% may" in said


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(a_session: Any, bases: list[Any], width: int) -> None:
    of = thresholds_of(parse_thresholds("prefill_throughput:5%,>50") + parse_thresholds("ttft:<300ms"))
    for base in (bases, bases[:1]):
        for slow in (1.0, 1.07, 2.0):
            shown = text(compare(base, a_session(9, slow=slow), of), width)
            assert max(map(len, shown.splitlines())) <= width


def test_the_table_is_grouped_by_file_and_test(a_session: Any, a_case: Any, bases: list[Any]) -> None:
    now = a_session(9, slow=2.0)
    lines = text(compare(bases, now)).splitlines()
    assert lines[0].split() == [
        "metric",
        "base",
        "now",
        "change",
        "interval",
        "allowed",
        "verdict",
        "n",
        "sees",
    ]
    assert lines[1:4] == ["benchmarks/test_a.py", "test_x", " llamacpp-tiny-q8_0"]
    assert lines[4].split()[0] == "ttft"
    assert "fail" in lines[4]
    assert lines[-1] == "1 case: 1 fail"


def test_of_many_cases_those_that_pass_are_counted(a_session: Any, a_case: Any) -> None:
    def suite(day: int, slow: float) -> Any:
        cases = [a_case(f"test_{i:02}", seed=day, slow=slow if i == 7 else 1.0) for i in range(30)]
        return a_session(day, cases)

    comparison = compare([suite(day, 1.0) for day in range(1, 6)], suite(9, 2.0))
    shown = text(comparison)
    assert "test_07" in shown
    assert "test_08" not in shown
    assert "29 cases that pass are not shown" in shown
    assert "test_08" in text(comparison, full=True)


def test_what_was_not_compared_is_told_case_by_case(a_session: Any, a_case: Any) -> None:
    base = a_session(1, [a_case("test_x"), a_case("test_gone", max_new_tokens=9)])
    now = a_session(9, [a_case("test_x", version="0.4"), a_case("test_new", prompt="q")])
    shown = text(compare([base], now))
    assert "other engine version: llama-cpp-python 0.3.36 → llama-cpp-python 0.4" in shown
    assert "new: the baseline does not have it\n  benchmarks/test_a.py::test_new" in shown
    assert "missing: session" in shown
    assert "  benchmarks/test_a.py::test_gone" in shown
    assert shown.endswith("2 cases: 2 new, 1 missing\n")


def test_a_reason_that_holds_for_several_metrics_of_a_case_is_said_once(a_session: Any) -> None:
    shown = text(compare([a_session(1)], a_session(9, slow=1.06)))
    assert shown.count("not beyond doubt") == 1


def test_the_summary_counts_verdicts_the_gravest_first(a_session: Any, a_case: Any) -> None:
    base = a_session(1, [a_case("test_a"), a_case("test_b"), a_case("test_c")])
    now = a_session(
        9, [a_case("test_a", slow=3.0), a_case("test_b", output="x"), a_case("test_d", prompt="q")]
    )
    assert summary(compare([base], now)) == "3 cases: 1 fail, 1 invalid, 1 new, 1 missing"


def test_markdown_folds_what_passes_and_shows_the_rest(a_session: Any, a_case: Any) -> None:
    def suite(day: int, slow: float = 1.0) -> Any:
        return a_session(day, [a_case("test_a", seed=day, slow=slow), a_case("test_b", seed=day)])

    said = markdown_comparison(compare([suite(day) for day in range(1, 6)], suite(9, 2.0)))
    head, folded = said.split("<details>")
    assert "1 fail, 1 pass" in head.splitlines()[0]
    assert "test\\_a" in head
    assert "❌ fail" in head
    assert "test\\_b" in folded
    columns = {
        line.count(" | ") for line in head.splitlines() if line.startswith("| ") and ":---" not in line
    }
    assert len(columns) == 1


def test_markdown_fits_into_a_comment(a_session: Any, a_case: Any) -> None:
    def suite(day: int, slow: float) -> Any:
        return a_session(day, [a_case(f"test_{i}", seed=day, slow=slow, rounds=1) for i in range(300)])

    for slow in (1.0, 3.0):
        said = markdown_comparison(compare([suite(1, 1.0)], suite(9, slow)))
        assert len(said) <= COMMENT_LIMIT + 100


def test_json_has_everything_and_no_infinity(a_session: Any, bases: list[Any]) -> None:
    comparison = compare(bases, a_session(9, slow=2.0))
    data = json.loads(json.dumps(to_json(comparison), allow_nan=False))
    assert data["verdict"] == "fail"
    assert data["counts"] == {"fail": 1}
    assert next(one["session"] for one in data["base"]) == bases[-1].session.id
    judged = {one["metric"]: one for one in data["cases"][0]["judgments"]}
    assert judged["tpot"]["change"] == pytest.approx(1.0, abs=0.2)
    assert judged["tpot"]["verdict"] == "fail"


def test_the_turns_of_a_conversation_that_are_missing_are_told_together(a_session: Any, a_case: Any) -> None:
    turns = [a_case("test_talk", measurement=f"rag turn {n}", max_new_tokens=5 + n) for n in (1, 2, 3)]
    base = a_session(1, [a_case("test_x"), *turns, a_case("test_y", max_new_tokens=9)])
    shown = text(compare([base], a_session(9, [a_case("test_x")])))
    assert shown.count("missing: session") == 1
    assert "test_talk (rag turn 1-3)" in shown
    assert "  benchmarks/test_a.py::test_y\n" in shown

"""Are the verdicts on the turns of a conversation told as one, without losing what failed?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmbench.gate.compare import CaseComparison, Comparison
from pytest_llmbench.gate.matching import Kind, Mismatch
from pytest_llmbench.report.comparison import comparison_table, markdown_comparison
from pytest_llmbench.report.table import render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.report.together import conversation_of, summed, together, turns_said
from pytest_llmbench.report.verdicts import summary
from pytest_llmbench.results.records import CaseRecord
from pytest_llmbench.results.verdict import Judgment, Verdict

Make = Callable[..., CaseRecord]
Judge = Callable[..., CaseComparison]


@pytest.fixture
def judged(make_turn: Make) -> Judge:
    """A turn with verdicts on metrics: ``judged(3, "cold", ttft=Verdict.FAIL)``."""

    def judged(
        number: int, way: str = "warm", nodeid: str = "a.py::test_x[tiny]", **verdicts: Any
    ) -> CaseComparison:
        judgments = tuple(
            Judgment(
                metric=metric,
                verdict=verdict,
                base=0.1,
                now=0.2,
                change=1.0,
                threshold=0.05,
                method="prediction",
                n=3,
                reason="too few processes" if verdict is Verdict.INCONCLUSIVE else None,
            )
            for metric, verdict in verdicts.items()
        )
        worst = next(
            (v for v in (Verdict.FAIL, Verdict.INCONCLUSIVE) if v in verdicts.values()), Verdict.PASS
        )
        return CaseComparison(make_turn(number, way, nodeid=nodeid), worst, judgments)

    return judged


def comparison(a_session: Any, *cases: CaseComparison, missing: tuple[Mismatch, ...] = ()) -> Comparison:
    return Comparison(a_session(9), (a_session(1),), cases, missing)


def text(comparison: Comparison, width: int = 80, **options: Any) -> str:
    return render(comparison_table(comparison, **options), Screen(width))


@pytest.mark.parametrize(
    ("measurements", "said"),
    [
        (["rag turn 1", "rag turn 2", "rag turn 3", "rag turn 5"], "rag turn 1-3, 5"),
        (["rag turn 2", "rag turn 2 cold", "rag turn 1"], "rag turn 1-2, cold 2"),
        (["rag turn 1 cold", "rag turn 2 cold"], "rag cold turn 1-2"),
        (["default"], "default"),
        (["a turn 1", "other", "b turn 1"], "a turn 1, other, b turn 1"),
    ],
)
def test_turns_are_told_from_to(measurements: list[str], said: str) -> None:
    assert turns_said(measurements) == said


def test_only_a_turn_is_of_a_conversation() -> None:
    assert [conversation_of(name) for name in ("my rag turn 12 cold", "default", "turn 1")] == [
        "my rag",
        None,
        None,
    ]


def test_the_turns_of_one_conversation_of_one_test_belong_together(judged: Judge) -> None:
    cases = [judged(1), judged(1, nodeid="a.py::test_y"), judged(2, "cold"), judged(2)]
    assert together(cases) == [[cases[0], cases[2], cases[3]], [cases[1]]]


def test_what_failed_has_rows_and_the_rest_is_summed_up(judged: Judge) -> None:
    cases = [
        judged(1, ttft=Verdict.PASS, tpot=Verdict.PASS),
        judged(2, ttft=Verdict.FAIL, tpot=Verdict.INCONCLUSIVE),
        judged(2, "cold", ttft=Verdict.INCONCLUSIVE, tpot=Verdict.INCONCLUSIVE),
        judged(3, tpot=Verdict.INCONCLUSIVE),
    ]
    found = summed(cases)
    assert [(turn, one.metric, one.verdict) for turn, one in found.rows] == [("turn 2", "ttft", Verdict.FAIL)]
    assert found.lines == [
        (Verdict.PASS, "pass: turn 1"),
        (Verdict.INCONCLUSIVE, "inconclusive: turn 2-3, cold 2: tpot; cold turn 2: ttft: too few processes"),
    ]


def test_the_table_has_one_block_for_a_conversation_and_counts_its_turns(
    judged: Judge, a_session: Any
) -> None:
    cases = [judged(n, way, ttft=Verdict.PASS) for n in range(1, 7) for way in ("warm", "cold")]
    cases[4] = judged(3, ttft=Verdict.FAIL)
    made = comparison(a_session, *cases)
    lines = text(made).splitlines()
    assert lines[1:4] == ["a.py", "test_x", " tiny rag"]
    assert lines[4] == "  pass: turn 1-2, 4-6, cold 1-6"
    assert lines[5].split()[:3] == ["turn", "3", "ttft"]
    assert "12 cases: 1 fail, 11 pass" in lines
    assert summary(made) == "12 cases: 1 fail, 11 pass"
    assert max(map(len, lines)) <= 80


def test_the_full_table_has_each_turn_by_itself(judged: Judge, a_session: Any) -> None:
    lines = text(comparison(a_session, judged(1, ttft=Verdict.PASS), judged(2, ttft=Verdict.PASS)), full=True)
    assert [line for line in lines.splitlines() if "turn" in line] == [" tiny rag turn 1", " tiny rag turn 2"]


def test_many_conversations_that_pass_are_only_counted(judged: Judge, a_session: Any) -> None:
    cases = [judged(n, nodeid=f"a.py::test_{i}", ttft=Verdict.PASS) for i in range(21) for n in (1, 2)]
    failed = [judged(n, nodeid="a.py::test_bad", ttft=Verdict.FAIL) for n in (1, 2)]
    shown = text(comparison(a_session, *cases, *failed))
    assert "42 cases that pass are not shown." in shown
    assert shown.count("turn") == 2


def test_what_was_not_compared_is_told_by_conversations(judged: Judge, a_session: Any) -> None:
    missing = tuple(
        Mismatch("a.py::test_x", f"rag turn {n}{way}", Kind.MISSING, "it was not measured now")
        for n in (1, 2)
        for way in ("", " cold")
    )
    assert "  a.py::test_x (rag turn 1-2, cold 1-2)\n" in text(
        comparison(a_session, judged(1), missing=missing)
    )


def test_markdown_has_the_same_rows(judged: Judge, a_session: Any) -> None:
    cases = [judged(1, ttft=Verdict.FAIL), judged(2, ttft=Verdict.INCONCLUSIVE), judged(3, ttft=Verdict.PASS)]
    lines = [
        one for one in markdown_comparison(comparison(a_session, *cases)).splitlines() if one.startswith("| ")
    ]
    assert lines[2].startswith("| a.py::test\\_x\\[tiny] (rag) | turn 2: ttft: too few processes |")
    assert lines[3].startswith("|  | turn 3 |")
    assert lines[4].startswith("|  | turn 1 ttft | 100 ms | 200 ms |")
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_reasons_that_differ_in_their_numbers_alone_are_one(judged: Judge) -> None:
    def because(one: CaseComparison, why: str) -> CaseComparison:
        return replace(one, judgments=tuple(replace(j, reason=why) for j in one.judgments))

    turns = [judged(number, ttft=Verdict.INCONCLUSIVE) for number in (1, 2, 3)]
    said = ["about 9 pairs would decide it", "about 300 pairs would decide it", "not after 8.5 s"]
    found = summed([because(one, why) for one, why in zip(turns, said, strict=True)])
    assert [line for _, line in found.lines] == [
        "inconclusive: turn 1-2: ttft: about 9 to 300 pairs would decide it",
        "inconclusive: turn 3: ttft: not after 8.5 s",
    ]

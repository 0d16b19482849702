"""Are the turns of conversations under load told apart?"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_llmbench.report.load_turns import blocks
from pytest_llmbench.report.markdown import markdown_table
from pytest_llmbench.report.table import case_tables, render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.results.records import CaseRecord, RequestRecord
from tests.fakes.llmbench_levels import a_load_record

Make = Callable[..., CaseRecord]


@pytest.fixture
def level(make_case: Make) -> CaseRecord:
    """Two conversations of two turns: the second finds 60 of 80 tokens."""
    case = make_case("a.py::test_load[server-c2]", rounds=(4,), backend="server")
    case.processes[0].load = a_load_record()
    for number, one in enumerate(case.rounds):
        turn = number % 2 + 1
        one.request = RequestRecord(number=number, at=0.0, conversation=number // 2, turn=turn)
        one.prompt_tokens = 40 * turn
        one.values = {"ttft": 0.1 / turn, "cached_tokens": 60.0 * (turn - 1)}
    return case


def test_each_turn_has_a_row_below_the_levels(level: CaseRecord) -> None:
    _, table = case_tables([level])
    head, unit, file, title, *rows = render(table, Screen(80)).splitlines()
    assert head.split() == ["turn", "requests", "TTFT", "TTFT", "cached/", "hit"]
    assert unit.split() == ["p50", "p99", "prompt", "rate"]
    assert (file, title) == ("a.py", "test_load[server-c2]: by turn")
    assert [row.split() for row in rows[:2]] == [
        ["1", "2", "100", "ms", "100", "ms*", "0/80", "0%"],
        ["2", "2", "50.0", "ms", "50.0", "ms*", "120/160", "75%"],
    ]
    assert rows[2].startswith("* too few values")


def test_markdown_has_them_too(level: CaseRecord) -> None:
    assert "| 2 | 2 | 50.0 ms | 50.0 ms\\* | 120/160 | 75% |" in markdown_table([level])


def test_what_the_server_did_not_say_of_one_request_is_not_known_of_the_turn(level: CaseRecord) -> None:
    del level.rounds[0].values["cached_tokens"]
    found = blocks([level])
    assert found is not None
    assert [row.cells[-1] for row in found.blocks[0].rows] == ["-", "75%"]


def test_a_level_without_conversations_has_none(level: CaseRecord) -> None:
    for one in level.rounds:
        one.request = None
    assert blocks([level]) is None

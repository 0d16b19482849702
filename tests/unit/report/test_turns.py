"""Does the table of a conversation tell what each turn found in the cache, and what that saved?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pytest_llmbench.report.markdown import markdown_table
from pytest_llmbench.report.rows import Kinds
from pytest_llmbench.report.table import case_tables, render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.results.records import CaseRecord

Make = Callable[..., CaseRecord]


def lines(cases: Sequence[CaseRecord], width: int = 80) -> list[str]:
    return [line for table in case_tables(cases) for line in render(table, Screen(width)).splitlines()]


@pytest.fixture
def paired(make_turn: Make) -> list[CaseRecord]:
    """Two turns, asked both ways: the second finds 80 of 90 tokens."""
    return [
        make_turn(1, protocol={"placement": "inline"}),
        make_turn(1, "cold", values={"ttft": [0.0125]}),
        make_turn(2, prompt=120, cached=80, possible=90, values={"ttft": [0.01], "cache_speedup": [6.26]}),
        make_turn(2, "cold", prompt=120, values={"ttft": [0.0626]}),
    ]


def test_a_turn_is_a_row_whichever_way_it_was_asked(paired: list[CaseRecord]) -> None:
    name, unit, file, title, *rows = lines(paired)
    assert name.split() == ["turn", "prompt", "cached/", "hit", "TTFT", "TTFT", "speedup", "decode"]
    assert unit.split() == ["tokens", "possible", "rate", "cold", "warm", "tok/s"]
    assert file == "benchmarks/test_a.py"
    assert title == "test_x[llamacpp-tiny-q8_0]: rag, placement=inline, 1×3 rounds, 89.3 MiB"
    assert [row.split() for row in rows] == [
        ["1", "100", "0/0", "0%", "12.5", "ms", "12.3", "ms", "-", "1380"],
        ["2", "120", "80/90", "67%", "62.6", "ms", "10.0", "ms", "×6.3", "1380"],
        ["all", "220", "80/90", "36%"],
    ]


def test_turns_do_not_stand_among_other_cases(make_case: Make, paired: list[CaseRecord]) -> None:
    other = make_case("a.py::test_other")
    assert Kinds.of([other, *paired]) == ([other], paired, [])
    told = lines([other, *paired])
    assert sum("turn" in line for line in told) == 1
    assert len(case_tables([other, *paired])) == 2


def test_cold_turns_alone_say_nothing_of_a_cache(make_turn: Make) -> None:
    head, unit, *_ = lines([make_turn(n, "cold") for n in (1, 2)])
    assert "cached/" not in head
    assert unit.split() == ["tokens", "cold", "tok/s"]


def test_warm_turns_alone_have_no_column_for_cold_ones(make_turn: Make) -> None:
    _, unit, *_ = lines([make_turn(1), make_turn(2, cached=3, possible=3)])
    assert unit.split() == ["tokens", "possible", "rate", "warm", "tok/s"]


def test_what_is_not_known_of_a_cache_is_said_and_is_never_0(make_turn: Make) -> None:
    told = lines([make_turn(1, cached="it does not say"), make_turn(2, cached="it does not say", possible=9)])
    assert [line.split()[2:4] for line in told[4:6]] == [["-#/0", "-"], ["-#/9", "-"]]
    assert told[6].split() == ["all", "200", "-/9", "-"]
    assert told[-1] == "# not known: it does not say"


def test_counts_that_differ_between_rounds_are_told_from_to(make_turn: Make) -> None:
    case = make_turn(1, cached=8, possible=16)
    case.rounds[1].values["cached_tokens"] = 16.0
    told = lines([case, make_turn(2)])
    assert told[4].split()[2] == "8-16/16"
    assert told[6].split()[:3] == ["all", "200", "-/16"]


def test_what_cannot_be_right_is_marked_and_explained(make_turn: Make) -> None:
    wrong, other = make_turn(1, cached=20, possible=9), make_turn(2)
    wrong.rounds[0].invalid = "20 tokens were reported, and 9 are possible"
    assert other.rounds[0].turn is not None
    other.rounds[0].turn = other.rounds[0].turn.model_copy(update={"same_output": False})
    told = lines([wrong, other])
    assert [line.split()[-1] for line in told[4:6]] == ["x", "x"]
    name = "x test_x[llamacpp-tiny-q8_0]: rag"
    assert told[-2] == f"{name}, turn 1: 20 tokens were reported, and 9 are possible"
    assert told[-1].startswith(f"{name}, turn 2: with a warm cache it generated something else")


def test_a_tie_is_not_marked_as_wrong(make_turn: Make) -> None:
    case = make_turn(2)
    assert case.rounds[0].turn is not None
    case.rounds[0].turn = case.rounds[0].turn.model_copy(update={"same_output": False, "tie": True})
    assert lines([case]) == lines([make_turn(2)])


def test_a_case_that_failed_says_so_and_which_turns_it_did_not_reach(make_turn: Make) -> None:
    told = lines([make_turn(1, turns=3, outcome="failed")])
    assert told[3].startswith("test_x[llamacpp-tiny-q8_0]: rag (failed), ")
    assert told[-1] == "test_x[llamacpp-tiny-q8_0]: rag: not measured: turn 2, 3"


def test_disturbed_rounds_of_both_ways_are_counted(make_turn: Make) -> None:
    told = lines([make_turn(1, disturbed=["steal"]), make_turn(1, "cold", disturbed=["steal"])])
    assert told[4].split()[-1] == "!2"
    assert told[-1].endswith("disturbed: steal")


def test_conversations_of_several_tests_and_of_one_are_blocks_of_their_own(make_turn: Make) -> None:
    cases = [make_turn(1, nodeid=f"{name}.py::test_x") for name in "ba"]
    cases += [make_turn(1, nodeid="a.py::test_x", label="again", protocol={"history": "recorded"})]
    told = lines(cases)
    assert [line for line in told if line.startswith(("a.py", "b.py"))] == ["a.py", "b.py"]
    assert "test_x: again, rag, history=recorded, 1×3 rounds, 89.3 MiB" in told


def test_think_time_has_a_column_where_there_is_any(make_turn: Make) -> None:
    told = lines([make_turn(1), make_turn(2, protocol={"think_time": 1.5})])
    assert told[0].split()[2] == "think"
    assert [told[4].split()[2], *told[5].split()[2:4]] == ["-", "1.50", "s"]


@pytest.mark.parametrize("width", [80, 120])
def test_every_row_of_a_long_conversation_fits(make_turn: Make, width: int) -> None:
    cases = [
        make_turn(
            n,
            way,
            prompt=131072,
            cached=131071,
            possible=131071,
            disturbed=["steal"],
            protocol={"think_time": 1.5, "placement": "inline", "history": "recorded"},
            values={name: [0.1, 0.9] for name in ("ttft", "cache_speedup", "uncached_prefill_throughput")},
        )
        for n in (1, 100)
        for way in ("warm", "cold")
    ]
    assert max(map(len, lines(cases, width))) <= width


def test_a_wide_table_tells_the_spread_and_the_speed_of_what_was_not_cached(make_turn: Make) -> None:
    case = make_turn(1, turns=1, values={"ttft": [0.1, 0.2], "uncached_prefill_throughput": [500.0]})
    assert "uncached" not in lines([case])[0]
    told = lines([case], 120)
    assert "uncached" in told[0]
    assert "150 ms ±47%" in told[4]
    assert told[-1].startswith("±")


def test_columns_that_were_asked_for_are_those_of_the_warm_turn(paired: list[CaseRecord]) -> None:
    (table,) = case_tables(paired, ["load_time", "ttft"])
    head, _, _, _, first, *_ = render(table, Screen(120)).splitlines()
    assert head.split()[-2:] == ["load_time", "ttft"]
    assert first.split()[-3:] == ["-", "12.3", "ms"]


def test_markdown_has_the_same_cells_below_a_title(paired: list[CaseRecord]) -> None:
    title, _, head, rule, first, _, whole = markdown_table(paired).splitlines()[:7]
    assert title.startswith(
        "**benchmarks/test\\_a.py::test\\_x\\[llamacpp-tiny-q8\\_0]: rag, placement=inline"
    )
    assert head.startswith(
        "| turn | prompt tokens | cached/possible | hit rate | TTFT cold | TTFT warm | speedup |"
    )
    assert first.startswith("| 1 | 100 | 0/0 | 0% | 12.5 ms | 12.3 ms ±0% | - |")
    assert whole == "| **all** | **220** | **80/90** | **36%** |  |  |  |  |"
    assert len({line.count("|") for line in (head, rule, first, whole)}) == 1


def test_the_first_turn_is_asked_once_and_counts_in_the_whole(make_turn: Make) -> None:
    first = make_turn(1, "cold")
    first.measurement = "rag turn 1"
    _, _, _, _, *rows = lines([first, make_turn(2, cached=80, possible=80)])
    assert [row.split()[2:4] for row in rows] == [["0/0", "0%"], ["80/80", "80%"], ["80/80", "40%"]]


def test_the_base_side_of_pairs_is_a_conversation_of_its_own(make_turn: Make) -> None:
    base = [make_turn(n) for n in (1, 2)]
    for case in base:
        case.measurement += "@base"
    titles = [line for line in lines([*base, make_turn(1), make_turn(2)]) if line.startswith("test_x")]
    assert [title.partition(", ")[0].rpartition(": ")[2] for title in titles] == ["rag@base", "rag"]

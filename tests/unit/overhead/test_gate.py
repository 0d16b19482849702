"""Are the tables of the gate's errors what was counted, and do they say how little that proves?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from signal import SIGKILL
from types import ModuleType
from typing import Any

import pytest

from pytest_llmbench.errors import EngineError
from pytest_llmbench.gate.compare import CaseComparison
from pytest_llmbench.gate.paired import PairedTest
from pytest_llmbench.gate.stored import judge_stored
from pytest_llmbench.results.verdict import Verdict


@pytest.fixture
def gate(script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = script("gate")
    monkeypatch.setattr(module.psutil, "cpu_percent", lambda interval: 0.0)
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    return module


@pytest.fixture
def tables(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("tables")


@pytest.fixture
def stored(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("gate_stored")


@pytest.fixture
def neighbors(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("neighbors")


def cells(table: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, by its head."""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


# --- What a count proves ------------------------------------------------------------------------


def test_no_alarm_in_twelve_sessions_leaves_a_rate_of_a_fifth_possible(tables: ModuleType) -> None:
    assert tables.at_most(0, 12) == pytest.approx(1 - 0.05 ** (1 / 12))
    assert tables.rate(0, 12, wanted=False) == ("0.0%", "≤ 22.1%")


@pytest.mark.parametrize(("count", "of"), [(0, 1), (1, 12), (7, 12), (3, 400)])
def test_the_bound_is_the_rate_at_which_so_few_are_just_unlikely(
    tables: ModuleType, count: int, of: int
) -> None:
    from scipy import stats

    assert stats.binom.cdf(count, of, tables.at_most(count, of)) == pytest.approx(0.05)
    assert tables.at_least(of - count, of) == pytest.approx(1 - tables.at_most(count, of))


def test_all_or_none_of_some_is_no_error_of_arithmetic(tables: ModuleType) -> None:
    assert tables.at_most(5, 5) == 1.0
    assert tables.at_least(0, 5) == 0.0
    assert tables.rate(0, 0, wanted=False) == ("–", "–")


# --- Windows ------------------------------------------------------------------------------------


def test_a_session_is_judged_by_the_last_five_plain_ones_before_it(stored: ModuleType) -> None:
    worse = [False, True] * 8
    assert stored.baseline_of(worse, 8) is None
    assert stored.baseline_of(worse, 9) == (0, 2, 4, 6, 8)
    assert stored.baseline_of(worse, 10) == (0, 2, 4, 6, 8)
    assert stored.baseline_of(worse, 15) == (6, 8, 10, 12, 14)


def test_windows_apart_share_no_session(stored: ModuleType) -> None:
    windows = [(*range(first, first + 5), first + 5) for first in range(20)]
    assert stored.apart(windows) == [0, 6, 12, 18]
    assert stored.apart([]) == []


# --- Tables -------------------------------------------------------------------------------------


def outcome(pairs: ModuleType, row: int, differences: list[float]) -> Any:
    scenario = pairs.SCENARIOS[row]
    test = PairedTest(scenario.threshold, comparisons=40)
    for difference in differences:
        test.add(difference)
    return pairs.Outcome(scenario, 0, test)


def test_a_fail_is_an_alarm_on_equal_sides_and_a_find_on_a_slower_one(gate: ModuleType) -> None:
    pairs = gate.gate_pairs
    noise = [0.001 * (n % 5) for n in range(32)]
    equal, slower = outcome(pairs, 0, noise), outcome(pairs, 1, [0.1 + n for n in noise])
    assert (equal.verdict, slower.verdict) == (Verdict.PASS, Verdict.FAIL)
    first, second = cells(pairs.table([equal, equal, slower]))
    assert (first["sides"], first["sessions"], first["`fail`"], first["95% bound"]) == (
        ("A/A", "2", "0", "≤ 77.6%")
    )
    assert first["other verdicts"] == "2 pass"
    assert (second["sides"], second["`fail`"], second["95% bound"]) == ("+10%", "1", "≥ 5.0%")
    assert second["within 20 pairs"] == "1"


def test_a_suite_with_one_failed_case_is_one_failed_suite(gate: ModuleType) -> None:
    suites = gate.gate_suite

    def case(*verdicts: str) -> dict[str, Any]:
        judgments = [{"metric": m, "verdict": v} for m, v in zip(("ttft", "tpot"), verdicts, strict=True)]
        return {"verdict": verdicts[-1], "judgments": judgments}

    good = suites.Suite(0, 60.0, 0, {"a": case("pass", "pass"), "b": case("pass", "invalid")})
    bad = suites.Suite(1, 120.0, 1, {"a": case("pass", "fail"), "b": {"verdict": None, "judgments": None}})
    whole, single, ttft, tpot = cells(suites.table([good, bad]))
    assert (whole["judged"], whole["`fail`"], whole["minutes"]) == ("2", "1", "1.5")
    assert whole["exit status"] == "1 × 0, 1 × 1"
    assert (single["judged"], single["`fail`"]) == ("4", "1")
    assert single["other verdicts"] == "1 pass, 1 invalid, 1 not judged"
    assert (ttft["`fail`"], tpot["`fail`"]) == ("0", "1")


def test_every_metric_of_the_judged_sessions_has_a_row_for_each_side(stored: ModuleType) -> None:
    base = [[1.0, 1.01, 0.99]] * 5

    def session(number: int, *, worse: bool) -> Any:
        judged = judge_stored("tpot", base, [2.0 if worse else 1.0] * 3, 0.05)
        found = CaseComparison(case=None, verdict=judged.verdict, judgments=(judged,))
        return stored.Session(number, worse, None, (0, 2, 4, 6, 8), found)

    first = stored.Session(0, False, None)
    rows = cells(stored.table([first, session(9, worse=True), session(10, worse=False)]))
    assert [(row["now"], row["metric"], row["windows"], row["`fail`"]) for row in rows] == [
        ("A/A", "any", "1", "0"),
        ("A/A", "`tpot`", "1", "0"),
        ("+20%", "any", "1", "1"),
        ("+20%", "`tpot`", "1", "1"),
    ]


@pytest.mark.parametrize("kind", ["pairs", "suite", "stored"])
def test_a_run_that_was_ended_before_any_verdict_has_an_empty_table(gate: ModuleType, kind: str) -> None:
    assert gate.KINDS[kind].table([]).startswith("| ")


# --- The command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pears"], "there is no kind 'pears'; there are: pairs, suite, stored"),
        (["stored", "--sessions", "5"], "at least 6 are needed for stored"),
        (["suite", "--rows", "equal"], "--rows is for pairs, not for suite"),
        (["pairs", "--rows", "7"], "there is no row '7'; there are: equal, 10, 5"),
        (["--load", "-1"], "--load=-1"),
        (["stored", "--interval", "nan"], "--interval=nan"),
        (["--json", "no/such/folder.json"], "there is no folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_there_is(
    gate: ModuleType, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        gate.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_what_was_judged_before_an_engine_failed_is_kept(
    gate: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def measure(*_: object) -> Iterator[Any]:
        yield outcome(gate.gate_pairs, 0, [0.0] * 8)
        raise EngineError("it fell over")

    monkeypatch.setitem(gate.KINDS, "pairs", replace(gate.KINDS["pairs"], measure=measure))
    file = tmp_path / "out.json"
    assert gate.main(["--json", str(file)]) == 1
    assert [one["verdict"] for one in json.loads(file.read_text())["results"]] == ["pass"]
    printed = capsys.readouterr()
    assert "it fell over" in printed.err
    assert cells(printed.out.partition("\n\n")[0])[0]["sessions"] == "1"


# --- What the engine has to bear, and its neighbors ----------------------------------------------


def test_the_engine_finds_the_burden_that_was_written(script: Callable[[str], ModuleType]) -> None:
    delayed, engine = script("delayed"), script("gate_engine")
    worse = engine.Natural(ttft=0.005, tpot=0.001, memory=1000, steps=1e6).worse(0.2)
    assert worse == delayed.Burden(prefill=800, token=200, memory=200)
    assert delayed.Burden.of(worse.environment()) == worse
    assert delayed.Burden.of({}) == delayed.Burden()


def test_the_same_seed_makes_the_same_neighbor(neighbors: ModuleType) -> None:
    first, again, other = (list(islice(neighbors.bursts(seed), 5)) for seed in (1, 1, 2))
    assert first == again != other


def test_neighbors_end_with_what_they_were_there_for(neighbors: ModuleType) -> None:
    some = neighbors.Neighbors(2)
    with pytest.raises(RuntimeError, match="something else"), some:
        raise RuntimeError("something else")
    assert [process.returncode for process in some._processes] == [-SIGKILL] * 2


def test_a_neighbor_that_ended_early_spoils_the_measurement(
    script: Callable[[str], ModuleType], neighbors: ModuleType
) -> None:
    some = neighbors.Neighbors(1).__enter__()
    some._processes[0].kill()
    some._processes[0].wait()
    with pytest.raises(script("pairs").NotMeasuredError, match="1 of 1 neighbors ended early"):
        some.__exit__(None, None, None)

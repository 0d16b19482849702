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


def kept_pair(difference: float, disturbed_by: str | None) -> dict[str, Any]:
    """A pair as a file has it; others disturb the wall's clock alone."""
    value = {"dropped": None, "difference": difference, "base": 1.0, "now": 1.0 + difference}
    return {
        **{"seconds": 2.0, "burden": [0.1, 0.1], "why_unknown": {}},
        **dict.fromkeys(("invalid", "incomparable", "unlike")),
        "quiet": {"tpot": {**value, "dropped": disturbed_by}, "cpu_time_per_token": value},
        "whole": {"tpot": value, "cpu_time_per_token": value},
    }


def outcome(
    gate: ModuleType,
    row: str,
    differences: list[float],
    *,
    clocks: tuple[str, ...] = ("wall",),
    disturbed: bool = False,
) -> Any:
    pairs = gate.gate_pairs
    (scenario,) = (one for one in pairs.SCENARIOS if one.key == row)
    told = {
        **{"row": row, "seed": 0, "machine": {"seconds": 60.0, "steal": 0.02, "load": 3.5}},
        **{"slower": scenario.slower, "threshold": scenario.threshold},
        "pairs": [kept_pair(one, "foreign_cpu" if disturbed else None) for one in differences],
    }
    return pairs.judge_again(told, pairs.Judging(clocks))


NOISE = [0.001 * (n % 5) for n in range(32)]


def test_a_fail_is_an_alarm_on_equal_sides_and_a_find_on_a_slower_one(gate: ModuleType) -> None:
    equal, slower = outcome(gate, "equal", NOISE), outcome(gate, "10", [0.1 + n for n in NOISE])
    assert (equal.verdict("wall"), slower.verdict("wall")) == (Verdict.PASS, Verdict.FAIL)
    first, second = cells(gate.gate_pairs.table([equal, equal, slower]))
    assert (first["sides"], first["sessions"], first["`fail`"], first["95% bound"]) == (
        ("A/A", "2", "0", "≤ 77.6%")
    )
    assert (first["other verdicts"], first["noisy"], first["metric"]) == ("2 pass", "0", "`tpot`")
    assert (first["steal"], first["load"], first["s a pair"]) == ("2.0% (≤ 2.0%)", "3.5", "2.0")
    assert (second["sides"], second["`fail`"], second["95% bound"]) == ("+10%", "1", "≥ 5.0%")
    assert second["within 20 pairs"] == "1"


def test_each_clock_that_judges_the_same_pairs_has_its_row(gate: ModuleType) -> None:
    found = outcome(gate, "10", [0.1 + n for n in NOISE], clocks=("wall", "cpu"), disturbed=True)
    wall, cpu = cells(gate.gate_pairs.table([found]))
    assert (wall["clock"], wall["metric"], wall["noisy"]) == ("wall", "`tpot`", "1")
    assert (cpu["clock"], cpu["metric"], cpu["noisy"]) == ("cpu", "`cpu_time_per_token`", "0")


def test_a_session_that_was_kept_is_judged_again_as_it_was(gate: ModuleType, tmp_path: Path) -> None:
    first = outcome(gate, "10", [0.1 + n for n in NOISE], disturbed=True)
    file, again = tmp_path / "kept.json", tmp_path / "again.json"
    file.write_text(json.dumps({"kind": "pairs", "results": [first.to_json()]}))
    assert gate.main(["--again", str(file), "--json", str(again)]) == 0
    (told,) = json.loads(again.read_text())["results"]
    expected = json.loads(json.dumps(first.to_json()))
    for one in (told, expected):
        # How long the judging took is not what was kept.
        del one["judgments"]["wall"][0]["details"]["seconds"]
    assert told == expected


def test_a_session_whose_pairs_are_too_few_to_be_judged_again_is_left_out(
    gate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = outcome(gate, "10", [0.1 + n for n in NOISE]).to_json()
    file = tmp_path / "kept.json"
    file.write_text(json.dumps({"kind": "pairs", "results": [{**told, "pairs": told["pairs"][:4]}]}))
    assert gate.main(["--again", str(file)]) == 0
    assert "the 4 pairs that were kept are not enough" in capsys.readouterr().err


def test_unequal_threads_have_no_right_verdict_and_so_no_rate(gate: ModuleType) -> None:
    (row,) = cells(gate.gate_pairs.table([outcome(gate, "1to2", NOISE)]))
    assert (row["rate"], row["95% bound"]) == ("–", "–")


def test_a_suite_with_one_failed_case_is_one_failed_suite(gate: ModuleType) -> None:
    suites = gate.gate_suite

    def case(*verdicts: str) -> dict[str, Any]:
        judgments = [{"metric": m, "verdict": v} for m, v in zip(("ttft", "tpot"), verdicts, strict=True)]
        return {"verdict": verdicts[-1], "judgments": judgments}

    quiet = gate.gate_suite.Meanwhile(60.0, 0.0, 1.0)
    good = suites.Suite(0, 60.0, 0, {"a": case("pass", "pass"), "b": case("pass", "invalid")}, quiet)
    none = {"verdict": None, "judgments": None}
    bad = suites.Suite(1, 120.0, 1, {"a": case("pass", "fail"), "b": none}, quiet)
    whole, single, ttft, tpot = cells(suites.table([good, bad]))
    assert (whole["judged"], whole["`fail`"], whole["minutes"]) == ("2", "1", "1.5")
    assert whole["exit status"] == "1 × 0, 1 × 1"
    assert (single["judged"], single["`fail`"]) == ("4", "1")
    assert single["other verdicts"] == "1 pass, 1 invalid, 1 not judged"
    assert (ttft["`fail`"], tpot["`fail`"]) == ("0", "1")


def started(gate: ModuleType, row: str, status: int, *judged: dict[str, Any]) -> Any:
    plain = {"noise": None, "stands_for": [], "decided_by": None, "change": 0.3, "n": 12, "details": {}}
    verdict = "fail" if status else "pass"
    case = {"verdict": verdict, "judgments": [{**plain, **one} for one in judged]}
    return gate.gate_shared.Started(row, 0, status, case, gate.gate_shared.Meanwhile(30.0, 0.0, 3.0))


def test_what_pytest_says_counts_as_found_by_the_clock_that_has_the_verdict(gate: ModuleType) -> None:
    by_wall = started(gate, "worse", 1, {"metric": "ttft", "verdict": "fail", "noise": {"steal": 12}})
    by_cpu = started(
        gate,
        "worse",
        1,
        {"metric": "ttft", "verdict": "inconclusive", "decided_by": "prefill_cpu_time", "noise": {"x": 1}},
        {"metric": "prefill_cpu_time", "verdict": "fail", "stands_for": ["ttft"]},
    )
    other = started(gate, "worse", 1, {"metric": "tpot", "verdict": "fail"})
    assert [one.found for one in (by_wall, by_cpu, other)] == [True, True, False]
    assert [one.noisy for one in (by_wall, by_cpu, other)] == [True, False, False]
    case, ttft, prefill, _ = cells(gate.gate_shared.table([by_wall, by_cpu, other]))
    assert (case["`fail` on TTFT, exit 1"], case["exit status"], case["noisy"]) == ("2", "3 × 1", "1")
    assert (ttft["`fail`"], ttft["decides"]) == ("1", "1 by `prefill_cpu_time`")
    assert prefill["decides"] == "1 for the wall's clock"


def test_every_metric_of_the_judged_sessions_has_a_row_for_each_side(stored: ModuleType) -> None:
    base = [[1.0, 1.01, 0.99]] * 5

    def session(number: int, *, worse: bool) -> Any:
        judged = judge_stored("tpot", base, [2.0 if worse else 1.0] * 3, 0.05)
        found = CaseComparison(case=None, verdict=judged.verdict, judgments=(judged,))
        return stored.Session(number, worse, None, seen, (0, 2, 4, 6, 8), {"cpu": found})

    seen = stored.Meanwhile(5.0, 0.01, 2.0)
    first = stored.Session(0, False, None, seen)
    rows = cells(stored.table([first, session(9, worse=True), session(10, worse=False)]))
    assert [(row["now"], row["metric"], row["windows"], row["`fail`"]) for row in rows] == [
        ("A/A", "any", "1", "0"),
        ("A/A", "`tpot`", "1", "0"),
        ("+20%", "any", "1", "1"),
        ("+20%", "`tpot`", "1", "1"),
    ]
    assert {row["clock"] for row in rows} == {"cpu"}


def test_stored_sessions_that_were_kept_are_judged_again_by_other_clocks(
    gate: ModuleType, stored: ModuleType, tmp_path: Path, a_session: Any
) -> None:
    machine = stored.Meanwhile(5.0, 0.01, 2.0)
    sessions = [stored.Session(n, n % 2 == 1, a_session(n), machine) for n in range(10)]
    file, again = tmp_path / "kept.json", tmp_path / "again.json"
    told = [session.to_json() for session in sessions]
    file.write_text(json.dumps({"kind": "stored", "results": told}))
    assert gate.main(["stored", "--again", str(file), "--clock", "wall", "cpu", "--json", str(again)]) == 0
    *first, last = json.loads(again.read_text())["results"]
    assert [one["verdicts"] for one in first] == [{}] * 9
    assert last["baseline"] == [0, 2, 4, 6, 8]
    assert set(last["verdicts"]) == {"wall", "cpu"}


@pytest.mark.parametrize("kind", ["pairs", "shared", "suite", "stored"])
def test_a_run_that_was_ended_before_any_verdict_has_an_empty_table(gate: ModuleType, kind: str) -> None:
    assert gate.KINDS[kind].table([]).startswith("| ")


# --- The command --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pears"], "there is no kind 'pears'; there are: pairs, shared, suite, stored"),
        (["stored", "--sessions", "5"], "at least 6 are needed for stored"),
        (["suite", "--rows", "equal"], "--rows is for pairs and shared, not for suite"),
        (["pairs", "--rows", "7"], "there is no row '7'; there are: equal, 10, 5, 1to2, 2to1"),
        (["shared", "--rows", "10"], "there is no row '10'; there are: worse, equal"),
        (["--clock", "sun"], "there is no clock 'sun'; there are: auto, wall, cpu"),
        (["shared", "--clock", "wall", "cpu"], "only one can judge shared"),
        (["--disturbed", "love"], "there is no way 'love'; there are: auto, drop, keep"),
        (["stored", "--disturbed", "keep"], "--disturbed is for pairs and shared and suite, not for stored"),
        (["--gate", "memory"], "there is no metric that can be judged in pairs 'memory'"),
        (["--tokens", "1"], "--tokens=1: at least 2 are needed"),
        (["--threads", "0"], "--threads=0: at least 1 is needed"),
        (["--load-kind", "spin"], "give their number too"),
        (["--load", "1", "--load-kind", "2"], "'2' is not what neighbors can do; use bursts, spin, or"),
        (["--again", "no.json"], "--again=no.json: No such file"),
        (["stored", "--again", str(Path(__file__))], "it is not a file that --json wrote"),
        (["suite", "--again", "no.json"], "--again is for pairs and stored, not for suite"),
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
        yield outcome(gate, "equal", NOISE)
        raise EngineError("it fell over")

    monkeypatch.setitem(gate.KINDS, "pairs", replace(gate.KINDS["pairs"], measure=measure))
    file = tmp_path / "out.json"
    assert gate.main(["--json", str(file)]) == 1
    assert [one["verdicts"] for one in json.loads(file.read_text())["results"]] == [{"wall": "pass"}]
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


@pytest.mark.parametrize(("text", "kind"), [("bursts", "bursts"), ("spin", "spin"), ("0.5", 0.5)])
def test_a_neighbor_is_told_what_to_do(neighbors: ModuleType, text: str, kind: str | float) -> None:
    assert neighbors.parse_kind(text) == kind


@pytest.mark.parametrize("text", ["0", "1", "nan", "half", ""])
def test_what_a_neighbor_cannot_do_is_refused(neighbors: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match="a share of a core such as"):
        neighbors.parse_kind(text)


def test_steal_is_a_share_of_the_time_in_which_a_cpu_was_wanted(script: Callable[[str], ModuleType]) -> None:
    stolen = script("machine").stolen
    before = [100, 0, 0, 1000, 50, 0, 0, 10]
    assert stolen(before, [170, 0, 10, 1900, 60, 0, 0, 30]) == pytest.approx(0.2)
    assert stolen(before, before) == 0.0
    assert stolen(None, before) is None
    assert stolen(before[:5], before[:5]) is None


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

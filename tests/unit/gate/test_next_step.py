"""Is what is proposed the one command that would decide, with its time, for the cases that need it alone?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmbench.gate.compare import CaseComparison
from pytest_llmbench.gate.next_step import Remedy, next_steps, remedy_of
from pytest_llmbench.results.verdict import Judgment, Verdict

ONE_THREAD = {"n_threads": 1, "on_gpu": False, "cpu_time": "comparable"}
THREE_THREADS = {"n_threads": 3, "on_gpu": False, "cpu_time": "not comparable beside other load: 3 threads"}
GPU = {"n_threads": 1, "on_gpu": True, "cpu_time": "not comparable: a GPU does the work"}

Compared = Callable[..., CaseComparison]


def pairs(verdict: Verdict = Verdict.INCONCLUSIVE, metric: str = "ttft", **fields: Any) -> Judgment:
    """A judgment by 32 pairs, of two seconds each."""
    details = {"pairs": 32, "seconds": 64.0, "looks": [8, 12, 20, 32], "pairs_wanted": 50}
    details |= fields.pop("details", {})
    values: dict[str, Any] = {"threshold": 0.05, "n": 32, "noise": {"foreign_cpu": 30}}
    return Judgment(metric, verdict, "signed-rank", details=details, **{**values, **fields})


@pytest.fixture
def compared(a_case: Any) -> Compared:
    def make(
        *judgments: Judgment,
        name: str = "test_x[llamacpp-tiny-q8_0]",
        verdict: Verdict = Verdict.INCONCLUSIVE,
        **case: Any,
    ) -> CaseComparison:
        made = a_case(name, **{"engine": ONE_THREAD, **case})
        for r in made.rounds:
            r.started = None
        return CaseComparison(made, verdict, judgments)

    return make


def said(case: CaseComparison) -> str:
    remedy = remedy_of(case)
    assert remedy is not None
    return remedy.said


# -- pairs --------------------------------------------------------------------------------------


def test_what_is_decided_needs_nothing(compared: Compared) -> None:
    decided = pairs(decided_by="prefill_cpu_time")
    stands = pairs(Verdict.PASS, "prefill_cpu_time", stands_for=("ttft",))
    assert remedy_of(compared(decided, stands, verdict=Verdict.PASS)) is None
    assert remedy_of(compared(pairs(Verdict.FAIL), pairs(metric="tpot"), verdict=Verdict.FAIL)) is None


@pytest.mark.parametrize("engine", [ONE_THREAD, THREE_THREADS])
def test_noise_is_left_out_by_cpu_time_of_one_thread(compared: Compared, engine: dict[str, Any]) -> None:
    assert said(compared(pairs(), engine=engine)) == "add --llm-clock=cpu (about 40 s)"


def test_who_set_a_number_of_threads_is_told_to_set_one(compared: Compared) -> None:
    case = compared(pairs(), engine=THREE_THREADS, options={"n_threads": 3})
    assert said(case) == "add --llm-clock=cpu --llm-option=llamacpp.n_threads=1 (about 40 s)"


def test_more_pairs_decide_where_cpu_time_says_nothing(compared: Compared) -> None:
    assert said(compared(pairs(), engine=GPU)) == "add --llm-budget=64 (about 2 min)"


def test_more_pairs_decide_on_a_quiet_machine(compared: Compared) -> None:
    assert said(compared(pairs(noise=None))) == "add --llm-budget=64 (about 2 min)"


def test_the_budget_is_one_that_ends_later_than_the_last_did(compared: Compared) -> None:
    few = pairs(noise=None, n=8, details={"pairs": 8, "seconds": 16.0, "pairs_wanted": 10})
    assert said(compared(few)) == "add --llm-budget=64 (about 2 min)"
    cut = pairs(noise=None, n=8, details={"pairs": 8, "seconds": 16.0, "pairs_wanted": 10, "looks": [8]})
    assert said(compared(cut)) == "add --llm-budget=12 (about 24 s)"


def test_a_budget_has_room_for_pairs_that_are_left_out(compared: Compared) -> None:
    half = pairs(noise=None, n=16, dropped=16, details={"pairs_wanted": 40})
    assert said(compared(half, engine=GPU)) == "add --llm-budget=128 (about 4 min)"


def test_cpu_time_that_was_judged_and_did_not_decide_takes_more_pairs(compared: Compared) -> None:
    cpu = pairs(metric="prefill_cpu_time", noise=None, stands_for=("ttft",), details={"pairs_wanted": 60})
    wall = pairs(details={"pairs_wanted": 400})
    assert said(compared(wall, cpu)) == "add --llm-budget=64 (about 2 min)"


def test_a_change_about_the_threshold_is_not_decided_by_pairs(compared: Compared) -> None:
    case = compared(pairs(noise=None, details={"pairs_wanted": None}))
    remedy = remedy_of(case)
    assert remedy is not None
    assert remedy.options == {}
    assert "--llm-threshold=ttft" in remedy.said


@pytest.mark.parametrize("wanted", [None, 300])
def test_too_few_pairs_do_not_show_how_many_it_takes(compared: Compared, wanted: int | None) -> None:
    few = {"pairs": 5, "seconds": 10.0, "pairs_wanted": wanted, "looks": [5]}
    assert said(compared(pairs(noise=None, n=5, details=few))) == "add --llm-budget=20 (about 40 s)"


def test_load_that_hits_other_numbers_of_threads_is_to_end(compared: Compared) -> None:
    judged = pairs(Verdict.INVALID, details={"spoiled_by": "threads"})
    remedy = remedy_of(compared(judged, verdict=Verdict.INVALID))
    assert remedy == Remedy(
        instead="end what else runs on the machine, or give both sides the same number of threads"
    )


def test_load_on_one_side_is_left_out_by_cpu_time_or_is_to_end(compared: Compared) -> None:
    judged = pairs(Verdict.INVALID, details={"spoiled_by": "one_sided"})
    assert said(compared(judged, verdict=Verdict.INVALID)).startswith("add --llm-clock=cpu")
    assert said(compared(judged, verdict=Verdict.INVALID, engine=GPU)) == "end what else runs on the machine"


def test_pairs_that_were_all_dropped_can_be_used(compared: Compared) -> None:
    judged = pairs(Verdict.INVALID, noise=None, n=15, dropped=17, details={"spoiled_by": "load"})
    case = compared(judged, verdict=Verdict.INVALID, engine=GPU)
    assert said(case) == "add --llm-disturbed=auto (about 40 s)"


def test_pairs_of_which_none_can_be_used_are_decided_by_no_option(compared: Compared) -> None:
    judged = pairs(Verdict.INVALID, noise=None, n=0, dropped=3, details={"spoiled_by": "unusable"})
    assert remedy_of(compared(judged, verdict=Verdict.INVALID)) is None


def test_other_work_is_decided_by_no_option(compared: Compared) -> None:
    judged = pairs(Verdict.INVALID, noise=None, reason="the two sides did not do the same work")
    assert remedy_of(compared(judged, verdict=Verdict.INVALID)) is None


# -- stored sessions, and limits ----------------------------------------------------------------


def stored(verdict: Verdict = Verdict.INCONCLUSIVE, **details: Any) -> Judgment:
    return Judgment("ttft", verdict, "prediction", threshold=0.05, n=3, details=details)


def test_more_sessions_are_stored_where_they_would_decide(compared: Compared) -> None:
    assert said(compared(stored(sessions_wanted=10))) == (
        "store 10 sessions (--llm-save=NAME), or compare A/B pairs (--llm-ab)"
    )
    assert said(compared(stored(sessions_wanted=None))) == "compare A/B pairs (--llm-ab)"


def test_more_processes_are_measured_where_one_shows_nothing(compared: Compared) -> None:
    assert said(compared(stored(processes_wanted=3), processes=1)) == "add --llm-processes=3"


def test_a_disturbed_session_is_judged_by_cpu_time_that_it_has(compared: Compared) -> None:
    case = compared(stored(Verdict.INVALID), verdict=Verdict.INVALID, disturbed=9)
    assert said(case).startswith("end what else runs on the machine and measure again")
    for process in case.case.processes:
        for r in process.rounds:
            r.values["cpu_time_per_token"] = 0.01
    assert said(case) == "add --llm-clock=cpu"


def test_cpu_times_that_were_judged_say_what_is_missing(compared: Compared) -> None:
    wall = stored(Verdict.INVALID)
    cpu = replace(stored(sessions_wanted=10), metric="prefill_cpu_time", stands_for=("ttft",))
    case = compared(wall, cpu, verdict=Verdict.INVALID, disturbed=9)
    assert said(case).startswith("store 10 sessions")
    # One side alone ran beside load: no number of sessions is known.
    one_sided = replace(cpu, details={})
    assert said(compared(wall, one_sided, verdict=Verdict.INVALID)) == "compare A/B pairs (--llm-ab)"


def test_the_time_that_processes_take_is_that_between_their_begins(compared: Compared) -> None:
    case = compared(stored(processes_wanted=3), processes=2)
    for minute, process in enumerate(case.case.processes):
        process.rounds[0].started = f"2026-01-01T00:0{minute}:00Z"
    assert said(case) == "add --llm-processes=3 (about 3 min)"


def test_a_limit_within_the_interval_takes_more_processes(compared: Compared) -> None:
    details = {"limit": 0.10, "now_low": 0.08, "now_high": 0.11}
    judged = Judgment("ttft", Verdict.INCONCLUSIVE, "limit", now=0.094, n=3, details=details)
    assert said(compared(judged)) == "add --llm-processes=19"
    near = Judgment("ttft", Verdict.INCONCLUSIVE, "limit", now=0.0999, n=3, details=details)
    assert remedy_of(compared(near)) is None


# -- several cases ------------------------------------------------------------------------------


def lines(cases: Sequence[CaseComparison]) -> list[str]:
    return [step.said(len({case.nodeid for case in cases})) for step in next_steps(cases)]


def passing(compared: Compared, name: str) -> CaseComparison:
    return compared(pairs(Verdict.PASS), name=name, verdict=Verdict.PASS)


def test_one_command_is_for_all_cases_that_it_decides_and_no_other_runs_again(compared: Compared) -> None:
    cases = [compared(pairs(), name=name) for name in ("test_a", "test_b")]
    cases += [passing(compared, name) for name in ("test_c", "test_d", "test_e")]
    assert lines(cases) == ["to decide 2 of 5 cases: add --llm-clock=cpu -k 'test_a or test_b' (about 80 s)"]
    assert lines(cases[:2]) == ["to decide all: add --llm-clock=cpu (about 80 s)"]
    assert lines(cases[:1]) == ["to decide it: add --llm-clock=cpu (about 40 s)"]


def test_a_case_of_a_function_is_named_with_its_parameters(compared: Compared) -> None:
    cases = [compared(pairs(), name="test_a[x-q8_0]"), passing(compared, "test_a[x-f16]")]
    assert lines(cases) == ["to decide 1 of 2 cases: add --llm-clock=cpu -k 'test_a[x-q8_0]' (about 40 s)"]
    # All of one function need its name alone.
    cases = [compared(pairs(), name=f"test_a[{n}]") for n in "xy"] + [passing(compared, "test_b[x]")]
    assert "-k test_a (" in lines(cases)[0]


def test_what_an_expression_cannot_say_is_left_out(compared: Compared) -> None:
    cases = [
        compared(pairs(), name="test_a[a b]"),
        passing(compared, "test_a[c]"),
        passing(compared, "test_b"),
    ]
    assert "-k test_a (" in lines(cases)[0]
    cases = [compared(pairs(), name="a case of a suite"), passing(compared, "test_b")]
    assert "-k" not in lines(cases)[0]
    many = [compared(pairs(), name=f"test_number_{n}") for n in range(20)] + [passing(compared, "test_b")]
    assert "-k" not in lines(many)[0]


def test_the_largest_of_several_budgets_is_for_all(compared: Compared) -> None:
    cases = [compared(pairs(noise=None, details={"pairs_wanted": n}), name=f"test_{n}") for n in (40, 200)]
    assert lines(cases) == ["to decide all: add --llm-budget=256 (about 11 min)"]


def test_what_has_no_option_is_said_apart(compared: Compared) -> None:
    threads = pairs(Verdict.INVALID, details={"spoiled_by": "threads"})
    cases = [compared(pairs(), name=n) for n in ("test_a", "test_b")]
    cases.append(compared(threads, name="test_c", verdict=Verdict.INVALID))
    first, second = lines(cases)
    assert first.startswith("to decide 2 of 3 cases: add")
    assert second.startswith("to decide 1 of 3 cases: end what else runs")

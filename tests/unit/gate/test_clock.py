"""Is a case judged by its clock, and by CPU times only as far as they can be believed?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.clock import clock_of, no_cpu_time, read_clock
from pytest_llmbench.gate.compare import CaseComparison, Policy, compare
from pytest_llmbench.gate.thresholds import by_clock, default_thresholds, parse_thresholds, thresholds_of
from pytest_llmbench.results.verdict import Judgment, Verdict
from tests.unit.conftest import CpuSession


def one(comparison: Any) -> CaseComparison:
    (case,) = comparison.cases
    assert isinstance(case, CaseComparison)
    return case


def judgment(case: CaseComparison, metric: str) -> Judgment:
    (found,) = (one for one in case.judgments if one.metric == metric)
    return found


def judged(bases: list[Any], now: Any, clock: Any = None, *thresholds: str) -> CaseComparison:
    of = thresholds_of([one for text in thresholds for one in parse_thresholds(text)])
    return one(compare(bases, now, of, clock=clock_of(clock)))


@pytest.fixture
def quiet(a_cpu_session: CpuSession) -> list[Any]:
    return [a_cpu_session(day) for day in range(1, 6)]


@pytest.fixture
def crowded(a_cpu_session: CpuSession) -> list[Any]:
    return [a_cpu_session(day, crowded=1.0) for day in range(1, 6)]


# --- Which clock --------------------------------------------------------------------------------


def test_what_is_given_comes_before_what_the_document_kept(a_case: Any) -> None:
    case = a_case()
    assert clock_of()(case) == "auto"
    case.clock = "cpu"
    assert clock_of()(case) == "cpu"
    assert clock_of("wall")(case) == "wall"
    assert clock_of("auto")(case) == "auto"


def test_a_clock_has_one_of_three_names() -> None:
    assert read_clock("cpu") == "cpu"
    with pytest.raises(UsageError, match="'gpu' is not a clock; use auto, wall or cpu"):
        read_clock("gpu")


def test_a_document_that_kept_the_clock_is_judged_by_it(a_cpu_session: CpuSession, quiet: list[Any]) -> None:
    now = a_cpu_session(9)
    now.cases[0].clock = "cpu"
    metrics = [one.metric for one in judged(quiet, now).judgments]
    assert metrics == ["peak_rss", "cpu_time_per_token", "prefill_cpu_time"]
    assert "tpot" in [one.metric for one in judged(quiet, now, "wall").judgments]


# --- CPU times where the machine is disturbed ---------------------------------------------------


@pytest.mark.parametrize(("work", "verdict"), [(1.0, Verdict.PASS), (1.2, Verdict.FAIL)])
@pytest.mark.parametrize("clock", ["auto", "cpu"])
def test_neighbors_in_all_sessions_leave_cpu_time_its_verdict(
    a_cpu_session: CpuSession, crowded: list[Any], clock: str, work: float, verdict: Verdict
) -> None:
    case = judged(crowded, a_cpu_session(9, work=work, crowded=1.0), clock)
    assert case.verdict is verdict
    assert judgment(case, "cpu_time_per_token").verdict is verdict


def test_by_auto_cpu_time_stands_visibly_for_what_the_neighbors_spoiled(
    a_cpu_session: CpuSession, crowded: list[Any]
) -> None:
    case = judged(crowded, a_cpu_session(9, work=1.2, crowded=1.0))
    tpot, cpu = judgment(case, "tpot"), judgment(case, "cpu_time_per_token")
    assert (tpot.verdict, tpot.decided_by) == (Verdict.INVALID, "cpu_time_per_token")
    assert cpu.stands_for == ("tpot", "decode_throughput")
    assert cpu.threshold == 0.05
    assert judgment(case, "prefill_cpu_time").stands_for == ("ttft",)
    (told,) = case.left_out
    assert told.startswith("20260105T000000Z-00000005 and 4 more, but for CPU times: 15 of 15 rounds were")
    assert judged(crowded, a_cpu_session(9, crowded=1.0), "cpu").left_out == ()


def test_by_wall_the_neighbors_leave_nothing(a_cpu_session: CpuSession, crowded: list[Any]) -> None:
    case = judged(crowded, a_cpu_session(9, work=1.2, crowded=1.0), "wall")
    assert case.verdict is Verdict.INVALID
    assert "cpu_time_per_token" not in [one.metric for one in case.judgments]
    assert not any("CPU" in told for told in case.left_out)


def test_by_auto_quiet_times_that_have_a_verdict_need_no_cpu_time(
    a_cpu_session: CpuSession, quiet: list[Any]
) -> None:
    case = judged(quiet, a_cpu_session(9, work=1.5))
    assert case.verdict is Verdict.PASS
    assert "cpu_time_per_token" not in [one.metric for one in case.judgments]


def test_by_auto_cpu_time_stands_for_what_is_inconclusive(a_cpu_session: CpuSession) -> None:
    bases = [a_cpu_session(day, slow=1 + 0.2 * (day % 2)) for day in range(1, 6)]
    case = judged(bases, a_cpu_session(9, slow=1.2, work=1.2))
    assert judgment(case, "tpot").verdict is Verdict.INCONCLUSIVE
    assert judgment(case, "tpot").decided_by == "cpu_time_per_token"
    assert case.verdict is Verdict.FAIL


@pytest.mark.parametrize("side", ["now", "base"])
def test_cpu_time_that_does_not_compare_stands_for_nothing(
    a_cpu_session: CpuSession, crowded: list[Any], side: str
) -> None:
    why = "not comparable beside other load: 4 threads that may wait in a loop"
    told = {"now": "comparable", "base": "comparable", side: why}
    bases = [a_cpu_session(day, crowded=1.0, told=told["base"]) for day in range(1, 6)]
    now = a_cpu_session(9, crowded=1.0, told=told["now"])
    case = judged(bases, now)
    assert case.verdict is Verdict.INVALID
    assert "cpu_time_per_token" not in [one.metric for one in case.judgments]
    # Its disturbed rounds do not count for it.
    assert judgment(judged(bases, now, "cpu"), "cpu_time_per_token").verdict is Verdict.INVALID


def test_a_baseline_from_before_there_were_cpu_times_is_not_stood_for(
    a_cpu_session: CpuSession, a_session: Any
) -> None:
    bases = [a_session(day, disturbed=15) for day in range(1, 6)]
    case = judged(bases, a_cpu_session(9))
    assert case.verdict is Verdict.INVALID
    assert "cpu_time_per_token" not in [one.metric for one in case.judgments]


def test_what_was_not_measured_is_not_decided_by_cpu_time(
    a_cpu_session: CpuSession, crowded: list[Any]
) -> None:
    now = a_cpu_session(9, crowded=1.0)
    for r in now.cases[0].rounds:
        del r.values["tpot"]
    case = judged(crowded, now, "auto", "decode_throughput:off")
    assert judgment(case, "tpot").decided_by is None
    assert judgment(case, "ttft").decided_by == "prefill_cpu_time"
    assert case.verdict is Verdict.INVALID


def test_rounds_that_slow_the_cpu_do_not_count_by_any_clock(
    a_cpu_session: CpuSession, crowded: list[Any]
) -> None:
    now = a_cpu_session(9, crowded=1.0)
    for r in now.cases[0].rounds[:6]:
        r.disturbance.append("throttled")
    case = judged(crowded, now, "cpu")
    assert case.verdict is Verdict.INVALID
    assert "6 of 15 rounds were disturbed (throttled)" in (judgment(case, "cpu_time_per_token").reason or "")


def test_the_chances_of_cpu_times_share_the_error(a_cpu_session: CpuSession) -> None:
    from pytest_llmbench.gate.compare import Gate

    bases = [a_cpu_session(day) for day in (1, 2)]
    present = {bases[0].cases[0].nodeid}
    assert Gate(bases, present=present).comparisons == 4
    assert Gate(bases, present=present, clock=clock_of("wall")).comparisons == 2
    assert Gate(bases, present=present, clock=clock_of("cpu")).comparisons == 2


# --- Load that differs between sessions ---------------------------------------------------------


def test_a_session_beside_load_does_not_fail_by_cpu_time_against_quiet_ones(
    a_cpu_session: CpuSession, quiet: list[Any]
) -> None:
    case = judged(quiet, a_cpu_session(9, work=1.2, crowded=1.0), "cpu")
    cpu = judgment(case, "cpu_time_per_token")
    assert (case.verdict, cpu.verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert (cpu.reason or "").startswith(
        "this session ran beside the load of others (cpu_pressure in 100%, foreign_cpu in 100% of its "
        "rounds) and no session of the baseline did"
    )
    assert "sessions that were measured beside the same load would decide it" in (cpu.reason or "")
    assert judged(quiet, a_cpu_session(9, crowded=1.0), "cpu").verdict is Verdict.PASS


def test_a_quiet_session_does_not_pass_by_cpu_time_against_ones_beside_load(
    a_cpu_session: CpuSession, crowded: list[Any]
) -> None:
    case = judged(crowded, a_cpu_session(9), "cpu")
    cpu = judgment(case, "cpu_time_per_token")
    assert (case.verdict, cpu.verdict) == (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE)
    assert (cpu.reason or "").startswith("the baseline ran beside the load of others")
    assert judged(crowded, a_cpu_session(9, work=1.2), "cpu").verdict is Verdict.FAIL


def test_a_baseline_with_sessions_of_both_kinds_shows_itself_what_load_does(
    a_cpu_session: CpuSession, quiet: list[Any], crowded: list[Any]
) -> None:
    bases = [*quiet[:2], *crowded[2:]]
    assert judged(bases, a_cpu_session(9, work=1.3, crowded=1.0), "cpu").verdict is Verdict.FAIL
    assert judged(bases, a_cpu_session(9), "cpu").verdict is Verdict.PASS


def test_a_few_rounds_beside_load_do_not_make_a_session_one_beside_load(
    a_cpu_session: CpuSession, quiet: list[Any]
) -> None:
    assert judged(quiet, a_cpu_session(9, work=1.2, crowded=0.2), "cpu").verdict is Verdict.FAIL


def test_times_of_the_wall_are_left_as_they_are(a_cpu_session: CpuSession, quiet: list[Any]) -> None:
    case = judged(quiet, a_cpu_session(9, slow=1.5))
    assert judgment(case, "tpot").verdict is Verdict.FAIL


# --- Where there is no CPU time -----------------------------------------------------------------


def test_the_clock_of_an_engine_that_does_not_tell_cpu_time_does_not_pass_silently(a_session: Any) -> None:
    case = judged([a_session(day) for day in range(1, 6)], a_session(9), "cpu")
    cpu = judgment(case, "cpu_time_per_token")
    assert (case.verdict, cpu.verdict) == (Verdict.INVALID, Verdict.INVALID)
    assert "CPU time was not measured" in (cpu.reason or "")
    assert Policy(inconclusive="fail").action(case) == "fail"


def test_cpu_time_that_one_side_has_is_told_as_any_metric(
    a_cpu_session: CpuSession, a_session: Any, quiet: list[Any]
) -> None:
    engine = quiet[0].cases[0].processes[0].engine
    bare = [a_session(day, engine=engine) for day in range(1, 6)]
    assert judged(bare, a_cpu_session(9), "cpu").verdict is Verdict.NEW
    case = judged(quiet, a_session(9, engine=engine), "cpu")
    assert judgment(case, "cpu_time_per_token").reason == ("the baseline has it, and it was not measured now")


def test_nothing_is_said_where_cpu_time_does_not_gate() -> None:
    gated = by_clock(default_thresholds(), "cpu")
    assert len(no_cpu_time(gated, (), "cpu", "prediction")) == 1
    assert no_cpu_time(gated, (), "wall", "prediction") == ()
    assert no_cpu_time(by_clock(default_thresholds(["peak_rss"]), "cpu"), (), "cpu", "prediction") == ()
    there = Judgment("prefill_cpu_time", Verdict.PASS, "prediction")
    assert no_cpu_time(gated, [there], "cpu", "prediction") == ()


@pytest.mark.parametrize("clock", ["auto", "cpu"])
def test_cpu_time_that_is_off_stands_for_nothing(
    a_cpu_session: CpuSession, crowded: list[Any], clock: str
) -> None:
    now = a_cpu_session(9, crowded=1.0)
    case = judged(crowded, now, clock, "prefill_cpu_time:off")
    assert "prefill_cpu_time" not in [one.metric for one in case.judgments]
    assert judgment(case, "cpu_time_per_token").verdict is Verdict.PASS


def test_cpu_time_does_not_decide_limits_and_percentiles(
    a_cpu_session: CpuSession, crowded: list[Any]
) -> None:
    now = a_cpu_session(9, crowded=1.0)
    case = judged(crowded, now, "auto", "tpot.p95:5%", "tpot:5%,<1ms")
    center, limit, tail = (one for one in case.judgments if one.metric == "tpot")
    assert [one.verdict for one in (center, limit, tail)] == [Verdict.INVALID] * 3
    assert [one.decided_by for one in (center, limit, tail)] == ["cpu_time_per_token", None, None]
    assert case.verdict is Verdict.INVALID

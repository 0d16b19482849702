"""Does each case get the verdict that its measurements support, with the reason?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.gate.compare import CaseComparison, Gate, Policy, compare, missing_policy
from pytest_llmbench.gate.matching import Kind
from pytest_llmbench.gate.thresholds import parse_thresholds, thresholds_of
from pytest_llmbench.results.records import TurnRecord
from pytest_llmbench.results.verdict import Judgment, Verdict
from tests.fakes.llmbench_levels import a_load_record


def one(comparison: Any) -> CaseComparison:
    (case,) = comparison.cases
    assert isinstance(case, CaseComparison)
    return case


def judgment(case: CaseComparison, metric: str) -> Judgment:
    (found,) = (one for one in case.judgments if one.metric == metric)
    return found


@pytest.fixture
def bases(a_session: Any) -> list[Any]:
    return [a_session(day) for day in range(1, 6)]


def test_unchanged_code_passes(a_session: Any, bases: list[Any]) -> None:
    case = one(compare(bases, a_session(9)))
    assert case.verdict is Verdict.PASS
    assert [one.metric for one in case.judgments] == ["ttft", "tpot", "decode_throughput", "peak_rss"]
    assert len(case.sessions) == 5


def test_slower_code_fails_in_the_metrics_that_got_worse(a_session: Any, bases: list[Any]) -> None:
    case = one(compare(bases, a_session(9, slow=1.5)))
    assert case.verdict is Verdict.FAIL
    assert {one.metric for one in case.judgments if one.verdict is Verdict.FAIL} == {
        "ttft",
        "tpot",
        "decode_throughput",
    }
    assert judgment(case, "tpot").change == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("where", ["now", "base", "both"])
def test_what_a_buffered_stream_cannot_tell_gets_no_verdict_and_the_reason(
    a_session: Any, bases: list[Any], where: str
) -> None:
    if where != "now":
        bases = [a_session(day, untimed="buffered") for day in range(1, 6)]
    now = a_session(9, untimed=None if where == "base" else "buffered")
    case = one(compare(bases, now))
    assert case.verdict is Verdict.INVALID
    assert judgment(case, "ttft").verdict is Verdict.PASS
    for metric in ("tpot", "decode_throughput"):
        judged = judgment(case, metric)
        assert judged.verdict is Verdict.INVALID
        assert "buffered: chunks arrived many at a time" in (judged.reason or "")
        assert "proxy_buffering off" in (judged.reason or "")
    assert Policy().action(case) == "warn"
    assert Policy(inconclusive="fail").action(case) == "fail"


@pytest.mark.parametrize("written", ["tpot:<1s", "itl:<1s", "itl.p95:<1s"])
def test_a_limit_on_what_a_buffered_stream_cannot_tell_does_not_pass(a_session: Any, written: str) -> None:
    of = thresholds_of(parse_thresholds(written), ["ttft"])
    case = one(compare([a_session(1)], a_session(9, untimed="buffered"), of))
    judged = judgment(case, written.partition(":")[0].partition(".")[0])
    assert judged.verdict is Verdict.INVALID
    assert "buffered" in (judged.reason or "")


def test_faster_code_passes_and_is_told_as_improved(a_session: Any, bases: list[Any]) -> None:
    case = one(compare(bases, a_session(9, slow=0.5)))
    assert case.verdict is Verdict.PASS
    assert case.improved


def test_more_memory_fails_beyond_its_own_threshold(a_session: Any, bases: list[Any]) -> None:
    case = one(compare(bases, a_session(9, rss=270 * 2**20)))
    assert judgment(case, "peak_rss").verdict is Verdict.FAIL
    assert judgment(case, "tpot").verdict is Verdict.PASS
    assert case.verdict is Verdict.FAIL


def counted(document: Any, per_token: int, disturbed: bool = False) -> Any:
    """The document, with so many instructions a token, which vary by a millionth."""
    for index, measured in enumerate(document.cases[0].rounds):
        measured.values["instructions_per_token"] = per_token + index / measured.output_tokens
        measured.disturbance = ["foreign_cpu"] if disturbed else []
    return document


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (1_000_000, Verdict.PASS),
        (1_009_000, Verdict.PASS),
        (1_020_000, Verdict.FAIL),
        (900_000, Verdict.PASS),
    ],
)
def test_instructions_are_compared_with_a_tolerance_of_one_percent_whatever_else_ran(
    a_session: Any, now: int, verdict: Verdict
) -> None:
    of = thresholds_of((), ["instructions_per_token"])
    base = counted(a_session(1), 1_000_000)
    case = one(compare([base], counted(a_session(9), now, disturbed=True), of))
    judged = judgment(case, "instructions_per_token")
    assert (judged.method, judged.verdict) == ("exact", verdict)
    assert judged.improved is (now < 950_000)


def test_instructions_gate_only_where_both_sides_counted_them(a_session: Any, bases: list[Any]) -> None:
    of = thresholds_of((), ["tpot", "instructions_per_token"])
    assert [one.metric for one in one(compare(bases, a_session(9), of)).judgments] == ["tpot"]
    newly = one(compare(bases, counted(a_session(9), 5), of))
    assert judgment(newly, "instructions_per_token").verdict is Verdict.NEW
    assert "instructions_per_token" not in [one.metric for one in one(compare(bases, a_session(9))).judgments]


def test_the_value_of_a_process_is_the_median_of_its_rounds(a_session: Any, bases: list[Any]) -> None:
    now = a_session(9)
    for process in now.cases[0].processes:
        process.rounds[0].values["tpot"] = 10.0
    assert one(compare(bases, now)).verdict is Verdict.PASS


def test_disturbed_rounds_are_left_out_whatever_their_times(a_session: Any, bases: list[Any]) -> None:
    now = a_session(9, rounds=5, disturbed=3)
    clean = compare(bases, a_session(9, rounds=5))
    for disturbed_round in now.cases[0].processes[0].rounds[:3]:
        disturbed_round.values["tpot"] = 0.0001
    case = one(compare(bases, now))
    assert case.verdict is Verdict.PASS
    assert judgment(case, "tpot").now == pytest.approx(judgment(one(clean), "tpot").now, rel=0.05)


def test_a_process_without_an_undisturbed_round_is_dropped_and_counted(
    a_session: Any, bases: list[Any]
) -> None:
    judged = judgment(one(compare(bases, a_session(9, processes=5, rounds=5, disturbed=5))), "tpot")
    assert (judged.n, judged.dropped) == (4, 1)


def test_too_many_disturbed_rounds_make_the_times_invalid_and_not_the_memory(
    a_session: Any, bases: list[Any]
) -> None:
    case = one(compare(bases, a_session(9, disturbed=4)))
    assert case.verdict is Verdict.INVALID
    assert judgment(case, "tpot").verdict is Verdict.INVALID
    assert judgment(case, "peak_rss").verdict is Verdict.PASS
    assert "4 of 15 rounds were disturbed (foreign_cpu)" in (judgment(case, "tpot").reason or "")


@pytest.mark.parametrize("written", ["ttft:<5s", "itl.p95:<5s", "decode_throughput:>1"])
def test_a_limit_that_disturbed_times_keep_is_kept_and_says_what_disturbed_them(
    a_session: Any, written: str
) -> None:
    of = thresholds_of(parse_thresholds(written), ["peak_rss"])
    case = one(compare([a_session(1)], a_session(9, disturbed=6), of))
    limited = next(one for one in case.judgments if one.metric != "peak_rss")
    assert limited.verdict is Verdict.PASS
    # Of three processes; two had disturbed rounds.
    assert (limited.n, limited.noise) == (3, {"foreign_cpu": 2})
    assert limited.details["written"] == written.partition(":")[2]


def test_a_limit_that_disturbed_times_do_not_keep_may_be_kept_without_that(a_session: Any) -> None:
    of = thresholds_of(parse_thresholds("ttft:<20ms"), ["peak_rss"])
    judged = judgment(one(compare([a_session(1)], a_session(9, disturbed=6), of)), "ttft")
    assert judged.verdict is Verdict.INVALID
    assert "6 of 15 rounds were disturbed" in (judged.reason or "")


def test_a_limit_on_what_load_may_lower_is_not_kept_by_what_was_disturbed(a_session: Any) -> None:
    of = thresholds_of(parse_thresholds("energy:<1000J"), ["peak_rss"])
    now = a_session(9, disturbed=6)
    for r in now.cases[0].rounds:
        r.values["energy"] = 1.0
    assert judgment(one(compare([a_session(1)], now, of)), "energy").verdict is Verdict.INVALID


def test_a_limit_on_times_that_their_own_client_spoiled_is_not_kept(a_session: Any) -> None:
    now = a_session(9)
    now.cases[0].processes[0].load = a_load_record(invalid="the client was busy: ask for a smaller load")
    of = thresholds_of(parse_thresholds("ttft:<5s"), ["peak_rss"])
    assert judgment(one(compare([a_session(1)], now, of)), "ttft").verdict is Verdict.INVALID


@pytest.mark.parametrize(("lost", "verdict"), [(True, Verdict.INVALID), (False, Verdict.PASS)])
def test_rounds_whose_watch_was_lost_are_not_taken_for_undisturbed(
    a_session: Any, bases: list[Any], lost: bool, verdict: Verdict
) -> None:
    now = a_session(9)
    now.cases[0].processes[0].watch_lost = lost
    for unknown in now.cases[0].processes[0].rounds:
        unknown.disturbance = None
    case = one(compare(bases, now))
    assert case.verdict is verdict
    reason = judgment(case, "tpot").reason or ""
    assert ("5 of 15 rounds were disturbed or not watched (unwatched)" in reason) is lost


def test_a_disturbed_session_of_the_baseline_is_left_out_and_told(a_session: Any, bases: list[Any]) -> None:
    bases[0] = a_session(1, disturbed=10, slow=3.0)
    case = one(compare(bases, a_session(9)))
    assert case.verdict is Verdict.PASS
    assert judgment(case, "tpot").details["sessions"] == 4
    assert any("10 of 15 rounds were disturbed" in text for text in case.left_out)


def test_a_baseline_that_is_all_disturbed_is_invalid(a_session: Any) -> None:
    case = one(compare([a_session(1, disturbed=10)], a_session(9)))
    assert case.verdict is Verdict.INVALID
    assert "the baseline is spoiled" in (judgment(case, "tpot").reason or "")


def test_other_output_of_greedy_decoding_is_not_the_same_work(a_session: Any, bases: list[Any]) -> None:
    case = one(compare(bases, a_session(9, output="other")))
    assert case.verdict is Verdict.INVALID
    assert "gave other tokens" in (case.reason or "")


def test_prompts_with_words_of_their_own_are_the_same_work_whatever_their_words_are(a_session: Any) -> None:
    base, now = a_session(1), a_session(9, output="other")
    for session, tokens in ((base, 40), (now, 42)):
        for measured in session.cases[0].rounds:
            measured.own_words, measured.prompt_tokens = True, tokens
    assert one(compare([base], now)).verdict is not Verdict.INVALID


def test_another_number_of_tokens_is_not_the_same_work(a_session: Any, bases: list[Any]) -> None:
    now = a_session(9)
    for measured in now.cases[0].rounds:
        measured.output_tokens = 5
    case = one(compare(bases, now))
    assert case.verdict is Verdict.INVALID
    assert "output tokens 8 → 5" in (case.reason or "")


def test_an_engine_that_answers_differently_each_time_is_held_to_its_token_counts_only(
    a_session: Any,
) -> None:
    base, now = a_session(1), a_session(9)
    for document in (base, now):
        for index, measured in enumerate(document.cases[0].rounds):
            measured.output_hash = f"{document.session.id} {index}"
    assert one(compare([base], now)).verdict is not Verdict.INVALID


def test_sampled_output_may_differ(a_session: Any) -> None:
    base = a_session(1, temperature=0.7)
    assert one(compare([base], a_session(9, temperature=0.7, output="other"))).verdict is not Verdict.INVALID


def test_one_session_is_judged_by_what_it_has_and_says_so(a_session: Any) -> None:
    judged = judgment(one(compare([a_session(1)], a_session(9, slow=2.0))), "tpot")
    assert judged.method == "single-session"
    assert judged.verdict is Verdict.FAIL


def test_one_process_on_each_side_cannot_tell(a_session: Any) -> None:
    case = one(compare([a_session(1, processes=1)], a_session(9, processes=1)))
    assert case.verdict is Verdict.INCONCLUSIVE


def test_a_case_without_a_match_is_new_with_its_reason(a_session: Any, bases: list[Any]) -> None:
    comparison = compare(bases, a_session(9, machine="machine-b", slow=9.0))
    case = one(comparison)
    assert case.verdict is Verdict.NEW
    assert case.mismatch is not None
    assert case.mismatch.kind is Kind.HARDWARE
    assert comparison.unmatched == (case.mismatch,)


def test_a_limit_is_judged_without_a_baseline(a_session: Any, bases: list[Any]) -> None:
    of = thresholds_of(parse_thresholds("ttft:<20ms"))
    case = one(compare(bases, a_session(9, name="test_other", version="9"), of))
    assert case.verdict is Verdict.FAIL
    assert case.mismatch is not None
    assert [one.method for one in case.judgments] == ["limit"]


def test_a_case_that_measured_nothing_is_invalid_with_its_error(a_session: Any, a_case: Any) -> None:
    now = a_session(9, [a_case(processes=0, outcome="failed")])
    case = one(compare([a_session(1)], now))
    assert case.verdict is Verdict.INVALID
    assert case.reason == "nothing was measured: AssertionError: too slow"


def test_a_case_that_failed_and_was_measured_is_judged(a_session: Any, bases: list[Any]) -> None:
    assert one(compare(bases, a_session(9, outcome="failed"))).verdict is Verdict.PASS


def test_a_skipped_case_is_missing(a_session: Any, bases: list[Any], a_case: Any) -> None:
    comparison = compare(bases, a_session(9, [a_case(outcome="skipped", processes=0)]))
    assert comparison.cases == ()
    assert [one.kind for one in comparison.missing] == [Kind.MISSING]


def test_the_base_side_of_an_ab_session_is_neither_judged_nor_missing(a_session: Any, a_case: Any) -> None:
    base_side = a_case(measurement=f"default{BASE_SUFFIX}")
    assert len(compare([a_session(1)], a_session(9, [a_case(), base_side])).cases) == 1
    assert compare([a_session(1, [a_case(), base_side])], a_session(9)).missing == ()


def test_a_renamed_case_is_not_missing_too(a_session: Any, bases: list[Any]) -> None:
    comparison = compare(bases, a_session(9, name="test_renamed"))
    assert [one.kind for one in comparison.unmatched] == [Kind.RENAMED]


def test_a_metric_that_nobody_measured_is_passed_over_unless_asked_for(
    a_session: Any, bases: list[Any]
) -> None:
    now = a_session(9)
    assert one(compare(bases, now, thresholds_of((), ["ttft", "energy"]))).verdict is Verdict.PASS
    asked = one(compare(bases, now, thresholds_of(parse_thresholds("energy:5%"), ["ttft"])))
    assert judgment(asked, "energy").verdict is Verdict.INVALID


def test_a_metric_that_is_no_longer_measured_is_invalid(a_session: Any, bases: list[Any]) -> None:
    now = a_session(9)
    for process in now.cases[0].processes:
        del process.values["peak_rss"]
    case = one(compare(bases, now))
    assert judgment(case, "peak_rss").reason == "the baseline has it, and it was not measured now"
    assert case.verdict is Verdict.INVALID


def test_a_metric_that_the_baseline_does_not_have_is_new(a_session: Any) -> None:
    base = a_session(1)
    for process in base.cases[0].processes:
        del process.values["peak_rss"]
    assert judgment(one(compare([base], a_session(9))), "peak_rss").verdict is Verdict.NEW


def test_a_value_of_zero_has_no_relative_change(a_session: Any) -> None:
    of = thresholds_of(parse_thresholds("load_time:5%"), [])
    now = a_session(9)
    for process in now.cases[0].processes:
        process.values["load_time"] = 0.0
    case = one(compare([a_session(1)], now, of))
    assert case.verdict is Verdict.INVALID


def test_a_percentile_is_judged_by_exceedance(a_session: Any) -> None:
    of = thresholds_of(parse_thresholds("itl.p95:<15ms"), [])
    case = one(compare([a_session(1)], a_session(9), of))
    assert judgment(case, "itl").method == "exceedance"
    assert case.verdict is Verdict.PASS


def test_a_session_cannot_be_compared_with_itself(a_session: Any) -> None:
    now = a_session(9)
    with pytest.raises(UsageError, match="compared with itself"):
        compare([now], now)
    assert len(compare([now, a_session(1)], now).bases) == 1


def test_many_cases_share_the_error_and_lend_each_other_their_spread(a_session: Any, a_case: Any) -> None:
    def suite(day: int, slow: float = 1.0) -> Any:
        return a_session(day, [a_case(f"test_{i}", seed=day, slow=slow) for i in range(8)])

    now = suite(9, slow=1.3)
    gate = Gate([suite(day) for day in (1, 2, 3)], present={case.nodeid for case in now.cases})
    judged = [gate.judge(case, now) for case in now.cases]
    # ttft and tpot; decode_throughput is tpot's reciprocal, and memory is exact.
    assert gate.comparisons == 16
    assert all(case is not None and case.verdict is Verdict.FAIL for case in judged)
    assert gate.comparison(now).counts == {Verdict.FAIL: 8}


def test_a_test_that_is_run_again_counts_once(a_session: Any, a_case: Any) -> None:
    gate = Gate([a_session(1)])
    for slow in (3.0, 1.0):
        gate.judge(a_case(slow=slow), a_session(9))
    (case,) = gate.comparison(a_session(9)).cases
    assert case.verdict is not Verdict.FAIL


def test_what_else_differs_is_noted(a_session: Any) -> None:
    base, now = a_session(1), a_session(9, commit="b" * 40, branch="topic")
    base.versions, now.versions = {"torch": "2.12"}, {"torch": "2.13"}
    notes = compare([base], now).notes
    assert "commit: aaaaaaaaa on main → bbbbbbbbb on topic" in notes
    assert "torch: 2.12 → 2.13" in notes


def test_a_policy_says_what_follows_from_a_verdict(a_session: Any, bases: list[Any]) -> None:
    passing, failing = compare(bases, a_session(9)), compare(bases, a_session(9, slow=2.0))
    improved, other = (
        compare(bases, a_session(9, slow=0.5)),
        compare(bases, a_session(9, machine="machine-b")),
    )
    unclear = compare([a_session(1, processes=1)], a_session(9, processes=1))
    assert passing.action(Policy()) == "pass"
    assert failing.action(Policy()) == "fail"
    assert improved.action(Policy()) == "pass"
    assert improved.action(Policy(improvement="fail")) == "fail"
    assert other.action(Policy()) == "warn"
    assert other.action(Policy(missing="fail")) == "fail"
    assert unclear.action(Policy()) == "warn"
    assert unclear.action(Policy(inconclusive="pass")) == "pass"


def test_missing_cases_alone_follow_the_policy(a_session: Any, a_case: Any) -> None:
    bases = [a_session(day, [a_case("test_x", seed=day), a_case("test_y", seed=day)]) for day in range(1, 6)]
    comparison = compare(bases, a_session(9, [a_case("test_x", seed=9)]))
    assert comparison.verdict is Verdict.PASS
    assert comparison.action(Policy()) == "warn"
    assert comparison.action(Policy(missing="fail")) == "fail"


def test_under_ci_what_is_missing_fails() -> None:
    assert missing_policy({"CI": "true"}) == "fail"
    assert missing_policy({}) == "warn"
    assert missing_policy({"CI": "false"}) == "warn"


def test_a_quieter_machine_is_not_advised_for_a_load_that_its_client_spoiled(
    a_session: Any, bases: list[Any]
) -> None:
    now = a_session(9)
    now.cases[0].processes[0].load = a_load_record(invalid="the client was busy: ask for a smaller load")
    case = one(compare(bases, now))
    assert judgment(case, "tpot").reason == "the client was busy: ask for a smaller load"
    disturbed = one(compare(bases, a_session(9, disturbed=4)))
    assert (judgment(disturbed, "tpot").reason or "").endswith(": measure again on a quieter machine")


# -- conversations -------------------------------------------------------------------------------


def as_turn(case: Any, turn: int, invalid: str | None = None) -> Any:
    """The case as a turn of a conversation, with a round that cannot be right if *invalid*."""
    case.measurement = f"talk turn {turn}"
    for r in case.rounds:
        r.turn = TurnRecord(conversation="talk", turn=turn, repetition=1, cache="warm")
    if invalid is not None:
        case.rounds[0].invalid, case.rounds[0].counted = invalid, False
    return case


def test_a_round_that_cannot_be_right_makes_its_case_invalid(a_session: Any, a_case: Any) -> None:
    bases = [a_session(day, [as_turn(a_case(seed=day), 2)]) for day in range(1, 6)]
    now = a_session(9, [as_turn(a_case(), 2, "more hits than there can be")])
    (found,) = compare(bases, now).cases
    assert (found.verdict, found.reason) == (Verdict.INVALID, "more hits than there can be")
    every = as_turn(a_case(), 2, "more hits than there can be")
    for r in every.rounds:
        r.counted = False
    (found,) = compare(bases, a_session(9, [every])).cases
    assert (found.verdict, found.reason) == (Verdict.INVALID, "more hits than there can be")


def test_a_session_with_such_a_round_is_no_baseline(a_session: Any, a_case: Any) -> None:
    base = a_session(1, [as_turn(a_case(), 2, "more hits than there can be")])
    (found,) = compare([base], a_session(9, [as_turn(a_case(), 2)])).cases
    assert found.verdict is Verdict.NEW
    assert "it is not valid (more hits than there can be) in session" in (found.reason or "")


def test_a_limit_of_memory_is_held_by_the_first_turn_alone(a_session: Any, a_case: Any) -> None:
    cases = [as_turn(a_case(), turn) for turn in (1, 2)]
    for process in cases[1].processes:
        process.values = {}
    limits = parse_thresholds("peak_rss:<1000GiB")
    gate = Gate((), thresholds=lambda case: limits)
    now = a_session(9, cases)
    first, second = (gate.judge(case, now) for case in cases)
    assert first is not None
    assert first.verdict is Verdict.PASS
    assert second is None

"""What does the gate make of pairs, whoever measured them?"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from pytest_llmbench.gate.ab import BaseSide
from pytest_llmbench.gate.budget import Budget
from pytest_llmbench.gate.compare import CaseComparison
from pytest_llmbench.gate.judge import PairedJudge
from pytest_llmbench.gate.noise import OnDisturbed
from pytest_llmbench.gate.paired import LOOKS, looks_until
from pytest_llmbench.gate.pairing import PairedRun, Pairing
from pytest_llmbench.gate.thresholds import ClockChoice, Threshold, by_clock, parse_thresholds
from pytest_llmbench.measure.pairs import SideName
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.row import Scope
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import Timeline, Untimed
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.report.judgment import explain
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.records import Header, Session
from pytest_llmbench.results.verdict import Judgment, Verdict

FACTORS = (1.0, 1.01, 0.99, 1.02, 0.98, 1.015, 0.985, 1.005)


@dataclass(frozen=True)
class Scripted:
    """A pair with given values."""

    values: Mapping[str, tuple[float | None, float | None]]
    codes: str | None = None
    """Why it is dropped, but for the metrics of the CPU's clock."""
    spoiled: str | None = None
    """Why it is dropped in any case."""
    invalid: str | None = None
    reasons: Mapping[str, Untimed] = field(default_factory=dict)
    incomparable: str | None = None
    burden: tuple[float, float] = (0.3, 0.3)
    unlike: str | None = None

    def dropped(self, metric: str, *, disturbed: bool = False) -> str | None:
        codes = None if disturbed or METRICS[metric].clock == "cpu" else self.codes
        return self.spoiled or codes

    def unknown(self, metric: str) -> Untimed | None:
        return self.reasons.get(metric)

    def value(self, side: SideName, metric: str, *, disturbed: bool = False) -> float | None:
        return self.values.get(metric, (None, None))[side == "now"]

    def difference(self, metric: str, *, disturbed: bool = False) -> float | None:
        base, now = self.value("base", metric), self.value("now", metric)
        if not base or not now:
            return None
        return (1 if METRICS[metric].better == "lower" else -1) * math.log(now / base)


@dataclass
class Source:
    """Gives one pair after the other, the last one for ever, and puts memory into the sides' runs."""

    pairs: Iterator[Scripted]
    scopes: tuple[Scope, ...] = ("round", "level")
    order: str | None = None
    measured: int = 0
    base: Run = field(default_factory=lambda: Run("default@base", {}))
    now: Run = field(default_factory=lambda: Run("default", {}))

    def pair(self) -> Scripted:
        self.measured += 1
        for run in (self.base, self.now):
            run.processes.append(ProcessRun(1, {}, {}, measured={"peak_rss": 2**20}))
        return next(self.pairs)


def ever(metric: str = "tpot", base: float | None = 0.01, now: float | None = 0.01) -> Iterator[Scripted]:
    number = 0
    while True:
        factor = FACTORS[number % len(FACTORS)]
        number += 1
        yield Scripted({metric: (base, now if now is None else now * factor)})


def pairing(
    *metrics: str,
    budget: Budget | None = None,
    session: str = "20260101T000000Z-0a0a0a0a",
    disturbed: OnDisturbed = "auto",
) -> Pairing:
    base = BaseSide(model="other")
    return Pairing(base, session, metrics=metrics or ("tpot",), budget=budget, disturbed=disturbed)


def case_verdict(
    source: Source,
    *metrics: str,
    budget: Budget | None = None,
    marker: tuple[Threshold, ...] = (),
    disturbed: OnDisturbed = "auto",
    clock: ClockChoice = "auto",
) -> CaseComparison:
    pairs = pairing(*metrics, budget=budget, disturbed=disturbed)
    paired = pairs.measure(source, source.now, source.base, marker, clock)
    case = case_from_run(
        source.now, nodeid="test_a.py::test_x", backend="server", model=ModelSpec("x"), outcome="passed"
    )
    case.thresholds = {threshold.name: threshold.value for threshold in marker}
    header = Header(session=Session(id="now", started="2026-01-01T00:00:00Z"))
    found = PairedJudge().judge(case, header, paired)
    assert found is not None
    return found


def judged(
    source: Source,
    *metrics: str,
    budget: Budget | None = None,
    marker: tuple[Threshold, ...] = (),
    disturbed: OnDisturbed = "auto",
    clock: ClockChoice = "auto",
) -> list[Judgment]:
    found = case_verdict(source, *metrics, budget=budget, marker=marker, disturbed=disturbed, clock=clock)
    return list(found.judgments)


def test_equal_sides_pass_at_the_first_look() -> None:
    source = Source(ever())
    (one,) = judged(source)
    assert (one.verdict, source.measured) == (Verdict.PASS, 8)


def test_a_metric_of_a_load_level_is_judged_where_pairs_have_it() -> None:
    source = Source(ever("request_throughput", 100.0, 50.0))
    (one,) = judged(source, "request_throughput")
    assert (one.verdict, one.base) == (Verdict.FAIL, 100.0)
    assert one.change == pytest.approx(0.5, abs=0.05)


def test_the_order_of_the_sides_is_told_where_they_did_not_alternate() -> None:
    (one,) = judged(Source(ever(), order="first this, then that"))
    assert one.details["order"] == "first this, then that"
    assert "first this, then that" in " ".join(explain(one).split())
    (one,) = judged(Source(ever()))
    assert "order" not in one.details


def test_what_makes_a_pair_invalid_ends_the_measurement_and_is_the_reason() -> None:
    def pairs() -> Iterator[Scripted]:
        yield from (pair for pair, _ in zip(ever(), range(3), strict=False))
        yield Scripted({}, invalid="the server was on fire")

    source = Source(pairs())
    (one,) = judged(source)
    assert (one.verdict, one.reason, source.measured) == (Verdict.INVALID, "the server was on fire", 4)


def test_what_failed_by_the_pairs_before_an_invalid_one_stays_failed() -> None:
    def pairs() -> Iterator[Scripted]:
        # One metric fails after 12 pairs; the other one is about its threshold, and asks for more.
        for number in range(12):
            e2e = 1.3 if number % 2 else 0.85
            yield Scripted({"tpot": (0.01, 0.02), "e2e_latency": (1.0, e2e)})
        yield Scripted({}, invalid="the server was on fire")

    found = {one.metric: one for one in judged(Source(pairs()), "tpot", "e2e_latency")}
    assert found["tpot"].verdict is Verdict.FAIL
    assert found["e2e_latency"].verdict is Verdict.INVALID


def test_disturbed_pairs_are_replaced_until_they_are_too_many() -> None:
    def pairs(bad: int) -> Iterator[Scripted]:
        for number, pair in enumerate(ever()):
            yield replace(pair, codes="steal") if number < bad else pair

    source = Source(pairs(2))
    (one,) = judged(source)
    assert (one.verdict, one.dropped, source.measured) == (Verdict.PASS, 2, 10)
    (one,) = judged(Source(pairs(32)), disturbed="drop")
    assert one.verdict is Verdict.INVALID
    assert "17 of 17 pairs were disturbed: steal (17)" in str(one.reason)


def test_a_metric_that_is_not_there_and_that_nobody_asked_for_is_left_out() -> None:
    source = Source(ever())
    found = case_verdict(source, "tpot", "goodput")
    assert [one.metric for one in found.judgments] == ["tpot"]
    assert found.verdict is Verdict.PASS
    source = Source(ever())
    found = case_verdict(source, "goodput")
    assert found.judgments == ()
    assert (found.verdict, source.measured) == (Verdict.NEW, 1)


def test_a_metric_that_is_not_there_and_was_asked_for_is_invalid_and_says_so() -> None:
    found = judged(Source(ever()), marker=parse_thresholds("goodput:5%"))
    assert {one.metric: one.verdict for one in found} == {
        "tpot": Verdict.PASS,
        "goodput": Verdict.INVALID,
    }
    assert [one.reason for one in found if one.metric == "goodput"] == ["it was not measured"]


def test_a_metric_that_only_one_side_has_is_invalid() -> None:
    (one,) = judged(Source(ever("tpot", 0.01, None)))
    assert (one.verdict, one.reason) == (Verdict.INVALID, "it was not measured")


@pytest.mark.parametrize("base", [None, 0.01])
def test_a_metric_that_a_side_cannot_have_is_invalid_with_the_reason_and_soon(base: float | None) -> None:
    """Nobody asked for it by name: that both sides lack it says nothing of the server."""
    pair = Scripted({"tpot": (base, None), "ttft": (0.1, 0.1)}, reasons={"tpot": "buffered"})
    source = Source(itertools.repeat(pair))
    case = case_verdict(source, "tpot", "ttft")
    found = {one.metric: one for one in case.judgments}
    assert found["ttft"].verdict is Verdict.PASS
    assert found["tpot"].verdict is Verdict.INVALID
    assert "buffered: chunks arrived many at a time" in (found["tpot"].reason or "")
    assert "proxy_buffering off" in (found["tpot"].reason or "")
    assert case.verdict is Verdict.INVALID
    alone = Source(itertools.repeat(pair))
    judged(alone, "tpot")
    assert alone.measured < 7


def test_a_limit_on_what_cannot_be_known_is_invalid_and_does_not_pass() -> None:
    line = Timeline(0, 0, None, (5, 5), 6, 4, 2, "o", "p", "length", untimed="buffered")
    source = Source(ever("ttft"))
    source.now.processes.append(ProcessRun(1, {}, {}, [Round(line)]))
    found = judged(source, "ttft", marker=parse_thresholds("tpot:<1s"))
    assert {one.metric: one.verdict for one in found} == {"ttft": Verdict.PASS, "tpot": Verdict.INVALID}


def test_memory_alone_is_judged_by_a_few_pairs() -> None:
    source = Source(ever())
    (one,) = judged(source, "peak_rss")
    assert (one.metric, one.verdict, one.n) == ("peak_rss", Verdict.PASS, 5)
    source = Source(ever())
    judged(source, "peak_rss", budget=Budget(pairs=2))
    assert source.measured == 2


def test_sides_that_cannot_be_compared_are_not_compared_by_memory_either() -> None:
    (one,) = judged(Source(iter([Scripted({}, invalid="other work")])), "peak_rss")
    assert (one.verdict, one.reason) == (Verdict.INVALID, "other work")


def test_a_budget_of_time_that_is_spent_ends_with_the_pair_at_hand() -> None:
    source = Source(ever(now=0.02))
    (one,) = judged(source, budget=Budget(seconds=1e-9))
    assert (one.verdict, one.n, source.measured) == (Verdict.INCONCLUSIVE, 1, 1)


def flips(session: Pairing, count: int = 32) -> list[bool]:
    coin = session.coin()
    return [coin.random() < 0.5 for _ in range(count)]


def test_each_measurement_has_a_coin_of_its_own_that_the_session_tells() -> None:
    one, again, other = pairing(), pairing(), pairing(session="20260101T000000Z-0a0a0a0b")
    first, second = flips(one), flips(one)
    assert first != second
    assert [flips(again), flips(again)] == [first, second]
    assert flips(other) != first


def test_who_goes_first_differs_from_session_to_session() -> None:
    # Of 400 fair coins, from 150 to 250 show the same side, but for one in a million times.
    for place in range(4):
        heads = sum(flips(pairing(session=f"session {number}"), 4)[place] for number in range(400))
        assert 150 < heads < 250


# --- A machine that is disturbed ------------------------------------------------------------------


def busy(
    values: Mapping[str, tuple[float, float]],
    noise: Mapping[str, float],
    *,
    quiet: int = 0,
    codes: str = "foreign_cpu+steal",
    **facts: object,
) -> Iterator[Scripted]:
    """Pairs that are all disturbed but the first *quiet* ones; *noise* is the spread of logs of a metric."""
    drawn = random.Random(3)
    number = 0
    while True:
        found: dict[str, tuple[float | None, float | None]] = {
            name: (base, now * math.exp(noise.get(name, 0.0) * drawn.gauss(0, 1)))
            for name, (base, now) in values.items()
        }
        pair = Scripted(found, codes=None if number < quiet else codes)
        number += 1
        yield replace(pair, **facts)  # type: ignore[arg-type]


def test_pairs_of_a_machine_that_is_always_disturbed_are_used_and_the_verdict_is_noisy() -> None:
    source = Source(busy({"tpot": (0.01, 0.02)}, {"tpot": 0.1}))
    (one,) = judged(source)
    assert (one.verdict, source.measured, one.dropped) == (Verdict.FAIL, 12, 0)
    assert one.noise == {"foreign_cpu": 12, "steal": 12}


def test_the_pairs_that_were_replaced_until_then_are_used_too() -> None:
    source = Source(busy({"tpot": (0.01, 0.01)}, {"tpot": 0.01}, quiet=5))
    (one,) = judged(source)
    # Of 11 pairs, 6 are disturbed: all 11 are used, and the next look is at 12.
    assert (one.verdict, one.n, source.measured) == (Verdict.PASS, 12, 12)
    assert one.noise == {"foreign_cpu": 7, "steal": 7}


def test_load_that_falls_on_one_side_is_invalid_and_never_passes() -> None:
    for values in ({"tpot": (0.02, 0.01)}, {"tpot": (0.01, 0.02)}):
        source = Source(busy(values, {"tpot": 0.02}, burden=(0.0, 0.5)))
        (one,) = judged(source)
        assert (one.verdict, source.measured) == (Verdict.INVALID, 8)
        assert "8 of 8 pairs were disturbed: foreign_cpu (8), steal (8)" in str(one.reason)
        assert "falls on the new side" in str(one.reason)


def test_keep_uses_every_pair_from_the_first_and_believes_one_sided_load_as_little() -> None:
    (one,) = judged(Source(busy({"tpot": (0.01, 0.01)}, {"tpot": 0.01})), disturbed="keep")
    assert (one.verdict, one.n) == (Verdict.PASS, 8)
    assert one.noise == {"foreign_cpu": 8, "steal": 8}
    (one,) = judged(Source(busy({"tpot": (0.01, 0.01)}, {}, unlike="other threads")), disturbed="keep")
    assert one.verdict is Verdict.INVALID
    assert "other threads" in str(one.reason)


@pytest.mark.parametrize("pairs", [1, 32])
def test_what_is_not_there_is_not_taken_for_disturbed(pairs: int) -> None:
    sides: dict[str, tuple[float, float]] = {"tpot": (0.01, 0.01)}
    found = case_verdict(Source(busy(sides, {})), "tpot", "goodput", budget=Budget(pairs=pairs))
    assert [one.metric for one in found.judgments] == ["tpot"]
    asked = parse_thresholds("goodput:5%")
    of = {
        one.metric: one for one in judged(Source(busy(sides, {})), marker=asked, budget=Budget(pairs=pairs))
    }
    assert (of["goodput"].verdict, of["goodput"].reason) == (Verdict.INVALID, "it was not measured")


@pytest.mark.parametrize("how", ["auto", "drop", "keep"])
def test_pairs_that_the_measuring_itself_spoiled_are_used_by_no_rule_and_end_it_soon(
    how: OnDisturbed,
) -> None:
    source = Source(busy({"tpot": (0.01, 0.01)}, {}, spoiled="client"))
    (one,) = judged(source, disturbed=how)
    assert (one.verdict, source.measured, one.dropped, one.noise) == (Verdict.INVALID, 3, 3, None)
    assert one.reason == "3 of 3 pairs have no value of it: client (3)"


def test_drop_says_that_the_machine_was_disturbed_when_half_of_the_budget_was() -> None:
    source = Source(busy({"tpot": (0.01, 0.02)}, {}))
    (one,) = judged(source, disturbed="drop", budget=Budget(pairs=10))
    assert (one.verdict, source.measured) == (Verdict.INVALID, 6)


def test_a_small_budget_is_used_up_with_what_there_is() -> None:
    source = Source(busy({"tpot": (0.01, 0.01)}, {}))
    (one,) = judged(source, budget=Budget(pairs=4))
    assert (one.verdict, one.n, source.measured) == (Verdict.INCONCLUSIVE, 4, 4)
    assert one.noise == {"foreign_cpu": 4, "steal": 4}


def test_dropped_pairs_count_for_the_budget() -> None:
    def pairs() -> Iterator[Scripted]:
        for number in itertools.count():
            factor = 1.02 if number % 4 < 2 else 1.10
            yield Scripted({"tpot": (0.01, 0.01 * factor)}, codes="steal" if number % 3 == 0 else None)

    source = Source(pairs())
    (one,) = judged(source)
    assert source.measured == 32
    assert (one.n, one.dropped) == (21, 11)


# --- The CPU's clock ------------------------------------------------------------------------------


BOTH = {"tpot": (0.01, 0.01), "cpu_time_per_token": (0.01, 0.01)}
NOISY = {"tpot": 0.8, "cpu_time_per_token": 0.01}


def test_cpu_time_decides_what_noise_leaves_undecided_and_stands_beside_it() -> None:
    found = case_verdict(Source(busy(BOTH, NOISY)))
    wall, cpu = found.judgments
    assert (wall.metric, wall.verdict, wall.decided_by) == (
        "tpot",
        Verdict.INCONCLUSIVE,
        "cpu_time_per_token",
    )
    assert (cpu.metric, cpu.verdict, cpu.stands_for) == ("cpu_time_per_token", Verdict.PASS, ("tpot",))
    assert cpu.noise is None
    assert found.verdict is Verdict.PASS


def test_more_work_fails_by_cpu_time_where_the_time_tells_nothing() -> None:
    more = {"tpot": (0.01, 0.012), "cpu_time_per_token": (0.01, 0.012)}
    found = case_verdict(Source(busy(more, NOISY)))
    assert found.verdict is Verdict.FAIL
    assert [one.metric for one in found.judgments if one.verdict is Verdict.FAIL] == ["cpu_time_per_token"]


def test_cpu_time_stands_for_load_that_falls_on_one_side_too() -> None:
    found = case_verdict(Source(busy(BOTH, {}, burden=(0.6, 0.0))))
    assert [one.verdict for one in found.judgments] == [Verdict.INVALID, Verdict.PASS]
    assert found.verdict is Verdict.PASS


def test_cpu_time_that_does_not_compare_is_not_judged() -> None:
    found = case_verdict(Source(busy(BOTH, NOISY, incomparable="2 threads")))
    assert [one.metric for one in found.judgments] == ["tpot"]
    assert found.verdict is Verdict.INCONCLUSIVE


def test_what_time_decides_needs_no_cpu_time() -> None:
    found = case_verdict(Source(busy(BOTH, {"tpot": 0.01})))
    assert [one.metric for one in found.judgments] == ["tpot"]


def test_cpu_time_does_not_stand_for_what_was_not_measured() -> None:
    pairs = (Scripted({"cpu_time_per_token": (0.01, 0.01)}) for _ in itertools.count())
    found = case_verdict(Source(pairs), marker=parse_thresholds("tpot:5%"))
    assert [one.verdict for one in found.judgments] == [Verdict.INVALID]


def test_one_cpu_time_stands_for_several_metrics() -> None:
    values = {**BOTH, "decode_throughput": (100.0, 100.0)}
    noise = {**NOISY, "decode_throughput": 0.8}
    found = case_verdict(Source(busy(values, noise)), "tpot", "decode_throughput")
    assert [one.metric for one in found.judgments] == ["tpot", "decode_throughput", "cpu_time_per_token"]
    assert found.judgments[-1].stands_for == ("tpot", "decode_throughput")


def test_the_wall_clock_alone_has_no_cpu_time_beside_it() -> None:
    found = case_verdict(Source(busy(BOTH, NOISY)), clock="wall")
    assert [one.metric for one in found.judgments] == ["tpot"]


def test_the_cpu_clock_judges_cpu_times_instead() -> None:
    values = {**BOTH, "ttft": (0.1, 0.1), "prefill_cpu_time": (0.1, 0.2), "decode_throughput": (100.0, 100.0)}
    source = Source(busy(values, {**NOISY, "ttft": 0.8}))
    found = case_verdict(source, "ttft", "tpot", "decode_throughput", clock="cpu")
    assert {one.metric: one.verdict for one in found.judgments} == {
        "prefill_cpu_time": Verdict.FAIL,
        "cpu_time_per_token": Verdict.PASS,
    }
    assert not any(one.stands_for or one.noise for one in found.judgments)


def test_a_limit_is_of_the_wall_clock_and_the_strictest_allowance_holds_for_cpu_time() -> None:
    given = (*parse_thresholds("tpot:10%,<1s"), *parse_thresholds("decode_throughput:3%"))
    found = {t.name: t.value for t in by_clock(given, "cpu")}
    assert found == {"tpot": "<1s", "cpu_time_per_token": "3%"}
    own = (*given, *parse_thresholds("cpu_time_per_token:7%"))
    assert {t.name: t.value for t in by_clock(own, "cpu")} == {"tpot": "<1s", "cpu_time_per_token": "7%"}
    assert by_clock(given, "auto") == given


def test_a_larger_budget_has_room_for_more_looks_and_spends_no_more_error() -> None:
    assert looks_until(32) == looks_until(12) == LOOKS
    for most in (33, 64, 100, 512):
        looks, spend = looks_until(most)
        assert list(looks) == sorted(set(looks))
        assert looks[-1] == most
        assert len(looks) == len(spend)
        assert sum(spend) == pytest.approx(1.0)


def test_a_change_about_the_threshold_is_decided_by_more_pairs_where_the_budget_has_them() -> None:
    noise = {"tpot": 0.05}
    assert judged(Source(busy({"tpot": (0.01, 0.0108)}, noise)))[0].verdict is Verdict.INCONCLUSIVE
    (one,) = judged(Source(busy({"tpot": (0.01, 0.0108)}, noise)), budget=Budget(pairs=200))
    assert one.verdict is Verdict.FAIL
    assert one.n > 32


def test_the_cpu_clock_of_sides_that_do_not_tell_their_cpu_time_does_not_pass_silently() -> None:
    (one,) = judged(Source(ever()), clock="cpu")
    assert (one.metric, one.verdict) == ("cpu_time_per_token", Verdict.INVALID)
    assert "CPU time was not measured" in (one.reason or "")


# -- several runs at once, such as the turns of a conversation ---------------------------------------


@dataclass
class Turns:
    """Gives a pair of each of several sources at once."""

    sources: list[Source]
    order: str | None = None
    measured: int = 0

    def pairs(self) -> list[Scripted]:
        self.measured += 1
        return [source.pair() for source in self.sources]


def all_judged(*sources: Source, metrics: tuple[str, ...] = ("tpot",)) -> tuple[list[list[Judgment]], Turns]:
    turns = Turns(list(sources))
    runs = [PairedRun(one.now, one.base, one.scopes) for one in sources]
    found = pairing(*metrics).measure_all(turns, runs)
    return [list(one) for one in found], turns


def test_pairs_are_measured_until_each_run_is_decided() -> None:
    (same, slower), turns = all_judged(Source(ever()), Source(ever(now=0.02)))
    assert [one.verdict for one in same] == [Verdict.PASS]
    assert [one.verdict for one in slower] == [Verdict.FAIL]
    # The first look passes; a failure takes another.
    assert (same[0].n, slower[0].n, turns.measured) == (8, 12, 12)


def test_each_runs_metrics_are_chances_to_err_and_share_those_of_its_case() -> None:
    alone, _ = all_judged(Source(ever()))
    found, _ = all_judged(*(Source(ever()) for _ in range(12)))
    levels = {one.details["level_change"] for judgments in found for one in judgments}
    # 5% over the time and the CPU time of twelve; of a single run at most 1%.
    assert levels == {0.05 / 24}
    assert alone[0][0].details["level_change"] == 0.01


def test_other_work_in_one_turn_makes_that_one_invalid_and_the_others_go_on() -> None:
    other = Source(iter([Scripted({}, invalid="other lengths")] * 40))
    (same, broken), turns = all_judged(Source(ever()), other)
    assert [one.verdict for one in same] == [Verdict.PASS]
    assert [(one.verdict, one.reason) for one in broken] == [(Verdict.INVALID, "other lengths")]
    assert broken[0].details["pairs"] == turns.measured == 8
    (only,), turns = all_judged(Source(iter([Scripted({}, invalid="other lengths")])))
    assert (only[0].verdict, turns.measured) == (Verdict.INVALID, 1)


def test_what_only_the_first_run_can_have_is_asked_of_no_other() -> None:
    first = Source(ever("load_time", 1.0, 1.0), scopes=("round", "process"))
    later = Source(ever("load_time", None, None))
    (one, two), _ = all_judged(first, later, metrics=("load_time",))
    assert [judgment.metric for judgment in one] == ["load_time"]
    assert two == []

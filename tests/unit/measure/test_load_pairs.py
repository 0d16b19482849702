"""What is a pair of load levels, when does it count, and in which order is it measured?"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.facts import RequestFacts
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.errors import EngineError
from pytest_llmbench.measure import load_pairs as module
from pytest_llmbench.measure.load_pairs import CLIENT, LoadPair, LoadPairs, LoadSide
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.servers.endpoint import Endpoint
from tests.fakes.llmbench_levels import a_failure, a_level

MS = 1_000_000


def plan(requests: int = 20, *, tokens: int = 4, ignore_eos: bool = True, **more: Any) -> LoadPlan:
    params = GenerationParams(max_new_tokens=tokens, ignore_eos=ignore_eos)
    asked = tuple(Request(tokens, prompt="p") for _ in range(requests))
    return LoadPlan(Endpoint("http://x/v1", "m"), asked, params, concurrency=2, **more)


def request(
    number: int,
    *,
    ttft: float = 50.0,
    tpot: float = 10.0,
    tokens: int = 4,
    prompt: int = 16,
    source: str = "usage",
    disturbance: tuple[str, ...] = (),
    counted: bool = True,
) -> Round:
    """One request; times in ms."""
    times = tuple(round((ttft + tpot * index) * MS) for index in range(tokens))
    line = Timeline(0, 1, None, times, times[-1], prompt, tokens, "o", "p", "length")
    facts = RequestFacts(number=number, at=0.0, token_source=source)
    return Round(line, disturbance=disturbance, request=facts, counted=counted)


def level(rounds: Sequence[Round] | None = None, *, failed: int = 0, **more: Any) -> ProcessRun:
    load = a_level(invalid=more.pop("invalid", None), advice=more.pop("advice", None))
    made = [request(number) for number in range(20)] if rounds is None else list(rounds)
    failures = [a_failure("status", "503 overloaded", number=90 + n) for n in range(failed)]
    return ProcessRun(1, {}, {}, made, measured=more, load=load, failures=failures)


def pair(
    base: ProcessRun | None = None, now: ProcessRun | None = None, *, planned: LoadPlan | None = None
) -> LoadPair:
    return LoadPair(base or level(), now or level(), planned or plan(), planned or plan())


def test_a_difference_is_that_of_the_medians_of_what_counts() -> None:
    slow = [request(number, ttft=100.0) for number in range(18)]
    # Outside the window, and disturbed: neither is part of it.
    slow += [request(18, ttft=9000.0, counted=False), request(19, ttft=9000.0, disturbance=("steal",))]
    both = pair(now=level(slow))
    assert both.difference("ttft") == pytest.approx(math.log(2))
    assert both.value("base", "ttft") == pytest.approx(0.05)
    assert both.value("now", "ttft") == pytest.approx(0.1)
    assert both.difference("tpot") == pytest.approx(0.0)
    assert both.difference("e2e_latency") == pytest.approx(math.log(130 / 80))


def test_a_positive_difference_is_worse_whatever_the_direction_of_the_metric() -> None:
    both = pair(now=level([request(number, tpot=20.0) for number in range(20)]))
    assert both.difference("tpot") == pytest.approx(math.log(2))
    assert both.difference("itl") == pytest.approx(math.log(2))
    assert both.difference("decode_throughput") == pytest.approx(math.log(2))


def test_of_a_level_its_own_value_counts() -> None:
    both = pair(
        level(request_throughput=8.0, system_throughput=80.0, goodput=6.0, load_time=10.0),
        level(request_throughput=4.0, system_throughput=80.0, goodput=3.0, load_time=5.0),
    )
    assert both.difference("request_throughput") == pytest.approx(math.log(2))
    assert both.difference("system_throughput") == 0
    assert both.difference("goodput") == pytest.approx(math.log(2))
    assert both.difference("load_time") == pytest.approx(-math.log(2))


def test_a_level_is_compared_by_the_cpu_time_that_it_had_as_a_whole() -> None:
    rounds = [request(n, disturbance=("steal",) if n < 3 else ()) for n in range(20)]
    both = pair(level(rounds, cpu_time_per_token=0.002), level(cpu_time_per_token=0.004))
    assert both.value("base", "cpu_time_per_token") == 0.002
    assert both.difference("cpu_time_per_token") == pytest.approx(math.log(2))
    assert both.incomparable == "not comparable: not measured"


def test_a_goodput_that_fell_to_nothing_is_worse_and_not_unknown() -> None:
    both = pair(level(goodput=6.0), level(goodput=0.0))
    # Half a request in a window of two seconds.
    assert both.difference("goodput") == pytest.approx(math.log(6.0 / 0.25))
    assert pair(level(goodput=0.0), level(goodput=0.0)).difference("goodput") == 0


def test_what_was_not_measured_has_no_difference() -> None:
    both = pair(now=level([request(number, tokens=1) for number in range(20)]))
    assert both.value("now", "tpot") is None
    assert both.difference("tpot") is None
    assert both.difference("goodput") is None


@pytest.mark.parametrize("side", ["base", "now"])
@pytest.mark.parametrize(("disturbed", "codes"), [(4, None), (5, "foreign_cpu+steal")])
def test_a_pair_is_dropped_where_more_than_a_fifth_of_a_level_was_disturbed(
    side: str, disturbed: int, codes: str | None
) -> None:
    why = [("steal",), ("foreign_cpu",), ("steal",), ("steal",), ("steal",)]
    rounds = [request(n, disturbance=why[n] if n < disturbed else ()) for n in range(20)]
    # Those outside the window are no part of either number.
    rounds += [request(n, disturbance=("swap",), counted=False) for n in range(20, 40)]
    both = pair(**{side: level(rounds)})
    assert both.dropped("tpot") == codes
    assert both.dropped("tpot", disturbed=True) is None


def test_a_pair_whose_client_was_late_is_dropped() -> None:
    assert pair().dropped("tpot") is None
    late = pair(now=level(invalid="the client could not keep its schedule"))
    assert late.dropped("tpot") == late.dropped("tpot", disturbed=True) == CLIENT


@pytest.mark.parametrize(
    ("base", "now", "side"),
    [(1, 0, "base"), (0, 1, "new")],
)
def test_failed_requests_make_a_pair_invalid_and_name_the_side(base: int, now: int, side: str) -> None:
    few = [request(number) for number in range(19)]
    both = pair(
        level(few, failed=1) if base else level(),
        level(few, failed=1) if now else level(),
    )
    assert both.invalid == (
        f"on the {side} side 1 of 20 requests failed, the first by status: 503 overloaded; the others ran "
        "under less load"
    )


def test_one_failed_request_in_a_hundred_is_no_other_load() -> None:
    many = [request(number) for number in range(99)]
    now = level([*many, request(99)])
    assert pair(level(many, failed=1), now, planned=plan(100)).invalid is None


def test_what_may_help_against_failures_is_said_with_them() -> None:
    spoiled = level(failed=9, advice="start it with --x")
    assert str(pair(now=spoiled).invalid).endswith("ran under less load; start it with --x")


def test_a_key_that_only_one_side_was_asked_without_is_other_work() -> None:
    without, named = (
        replace(plan(), endpoint=replace(plan().endpoint, words=words))
        for words in ({"seed": None}, {"max_tokens": "max_completion_tokens"})
    )
    said = LoadPair(level(), level(), plan(), without).invalid
    assert said is not None
    assert "one side refuses seed" in said
    assert """server.body={"seed": null}""" in said
    assert LoadPair(level(), level(), without, without).invalid is None
    # Another name for it is the same request.
    assert LoadPair(level(), level(), plan(), named).invalid is None


def test_another_number_of_requests_is_other_work_unless_the_clock_ended_the_level() -> None:
    fewer = level([request(number) for number in range(15)])
    assert str(pair(now=fewer).invalid).endswith("work: 20 requests on the base side and 15 now")
    assert pair(now=fewer, planned=plan(duration=5.0)).invalid is None


def test_other_numbers_of_tokens_are_other_work_request_by_request() -> None:
    # As many altogether, and yet not the same work.
    other = [request(number, tokens=(3, 5)[number % 2]) for number in range(20)]
    said = str(pair(now=level(other)).invalid)
    assert "20 of 20 requests generated other numbers of tokens, such as 4 on the base side and 3" in said
    one = [request(number, tokens=3 if number == 7 else 4) for number in range(20)]
    assert "1 of 20 requests" in str(pair(base=level(one)).invalid)


def test_lengths_that_end_by_the_text_may_differ_and_not_on_average() -> None:
    def ended(*tokens: int) -> ProcessRun:
        return level([request(n, tokens=tokens[n % len(tokens)]) for n in range(20)])

    free = plan(tokens=64, ignore_eos=False)
    assert pair(ended(10, 20, 30), ended(20, 30, 10), planned=free).invalid is None
    said = str(pair(ended(28, 30, 32), ended(10, 12, 14), planned=free).invalid)
    assert "generated tokens a request on the base side and" in said
    # A server that takes no order to go on ends by the text as well.
    assert pair(ended(10, 20, 30), ended(20, 30, 10), planned=plan(tokens=64)).invalid is None


def test_prompts_of_another_length_are_other_work() -> None:
    def asked(*tokens: int) -> ProcessRun:
        return level([request(n, prompt=tokens[n % len(tokens)]) for n in range(20)])

    # Other words, other tokens.
    assert pair(asked(100, 103, 98), asked(102, 99, 101)).invalid is None
    said = str(pair(asked(100, 103, 98), asked(130, 128, 133)).invalid)
    assert "100.5 prompt tokens a request on the base side and 130.2 now" in said
    # A server that does not count them.
    assert pair(asked(0), asked(100)).invalid is None


def test_chunks_are_no_count_of_tokens() -> None:
    chunks = [request(number, tokens=2 + number % 3, source="chunks") for number in range(20)]
    assert pair(now=level(chunks)).invalid is None


# -- measuring ----------------------------------------------------------------------------------


class Measuring:
    """Sides whose levels take no time, and what happened to them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fresh: bool = True, fails: str = "") -> None:
        self.happened: list[str] = []
        self.texts: list[tuple[str, int, int]] = []
        self.runs = {name: Run(name, {}) for name in ("base", "now")}
        measuring = self

        class Bench:
            def __init__(self, server: str, *_: object) -> None:
                self.server = server

            def level(self, plan: LoadPlan, run: Run, *, fresh: bool) -> None:
                measuring.happened.append(f"{self.server} level")
                run.processes.append(level())
                if self.server == fails and len(run.processes) == 2:
                    msg = "it broke"
                    raise EngineError(msg)

        monkeypatch.setattr(module, "LoadBench", Bench)
        self.pairs = LoadPairs(
            self._side("base", fresh),
            self._side("now", fresh),
            None,
            Progress(),
            slo={},
            coin=random.Random(0),
        )

    def _side(self, name: str, fresh: bool) -> LoadSide:
        @contextmanager
        def server() -> Iterator[Any]:
            self.happened.append(f"{name} starts")
            try:
                yield name
            finally:
                self.happened.append(f"{name} ends")

        def planned(_: Any, number: int, text: int) -> LoadPlan:
            self.texts.append((name, number, text))
            return replace(plan(), warmup=number)

        return LoadSide(self.runs[name], server, planned, fresh)


def test_one_server_ends_before_the_other_one_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring = Measuring(monkeypatch)
    for _ in range(20):
        measuring.pairs.pair()
    steps = [measuring.happened[n : n + 3] for n in range(0, len(measuring.happened), 3)]
    assert len(steps) == 40
    for step in steps:
        name = step[0].split()[0]
        assert step == [f"{name} starts", f"{name} level", f"{name} ends"]
    firsts = [steps[n][0].split()[0] for n in range(0, 40, 2)]
    assert all(
        {a[0], b[0]} == {"base starts", "now starts"} for a, b in zip(steps[::2], steps[1::2], strict=True)
    )
    # A coin that is fair, and the same each time.
    assert 4 < firsts.count("base") < 16
    again = Measuring(monkeypatch)
    for _ in range(20):
        again.pairs.pair()
    assert again.happened == measuring.happened


def test_no_two_levels_have_the_same_words_and_both_of_a_pair_the_same_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measuring = Measuring(monkeypatch)
    for _ in range(5):
        measuring.pairs.pair()
    assert len({text for _, _, text in measuring.texts}) == 10
    numbers = [number for _, number, _ in measuring.texts]
    assert numbers == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_level_is_kept_on_its_side_also_if_the_other_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring = Measuring(monkeypatch, fails="now")
    measuring.pairs.pair()
    with pytest.raises(EngineError, match="it broke") as raised:
        measuring.pairs.pair()
    assert len(measuring.runs["now"].processes) == 2
    assert "It was the new side of pair 2." in raised.value.__notes__[0]
    assert "requests of both sides are kept" in raised.value.__notes__[0]
    assert measuring.happened[-1] == "now ends"


def test_the_order_is_told_in_words_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Measuring(monkeypatch).pairs.order == (
        "a fresh server for each level, one after the other in drawn order"
    )
    stays = Measuring(monkeypatch, fresh=False).pairs
    assert stays.order == "one level after the other in drawn order"
    stays._sides["now"] = replace(stays._sides["now"], fresh=True)
    assert stays.order == (
        "one level after the other in drawn order, the server of the new side started anew each time"
    )

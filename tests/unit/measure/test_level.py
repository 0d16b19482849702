"""Is a level what the server did? Simulated servers, whose truth is known; nothing here takes a time."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.facts import ClientFacts
from pytest_llmbench.client.plan import Failure, LoadPlan, LoadResult, Request, RequestResult
from pytest_llmbench.errors import UsageError
from pytest_llmbench.measure.facts import Level
from pytest_llmbench.measure.level import knee, summarize_level
from pytest_llmbench.measure.window import STEADY, RequestArrays
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.results.records import LoadRecord
from pytest_llmbench.servers.endpoint import Endpoint

S = 1_000_000_000
Draw = Callable[[np.random.Generator], float]
Queue = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def answered(
    number: int,
    sent: float,
    times: Sequence[float],
    *,
    tokens: int | None = None,
    ended: float | None = None,
    due: float | None = None,
    **more: Any,
) -> RequestResult:
    """A request that succeeded; seconds."""
    begin = round((sent if due is None else due) * S)
    end = round((times[-1] if ended is None else ended) * S)
    tokens = len(times) if tokens is None else tokens
    line = Timeline(
        begin, begin, None, tuple(round(t * S) for t in times), end, 8, tokens, "o", "p", "length"
    )
    scheduled = None if due is None else begin
    facts: dict[str, Any] = {"status": 200, "chunks": len(times), "token_source": "usage", "warmup": False}
    return RequestResult(
        number=number,
        at=sent,
        send_lag=None if due is None else sent - due,
        sent=round(sent * S),
        ended=end,
        scheduled=scheduled,
        timeline=line,
        **{**facts, **more},
    )


def failed(
    number: int,
    sent: float,
    ended: float,
    *,
    kind: Any = "reset",
    status: int | None = None,
    due: float | None = None,
) -> RequestResult:
    scheduled = None if due is None else round(due * S)
    failure = Failure(kind, "it did")
    return RequestResult(
        number=number,
        at=sent,
        send_lag=None if due is None else sent - due,
        status=status,
        warmup=False,
        sent=round(sent * S),
        ended=round(ended * S),
        scheduled=scheduled,
        failure=failure,
    )


def summed(
    requests: Sequence[RequestResult],
    *,
    concurrency: int | None = None,
    tokens: int = 16,
    slo: dict[str, float] | None = None,
    **client: Any,
) -> Level:
    """The level of *requests*: a closed loop with a concurrency, else an open one.

    :param client: facts of the client.
    """
    ordered = tuple(sorted(requests, key=lambda request: request.number))
    result = LoadResult(
        ordered,
        started=min((r.sent for r in ordered), default=0),
        ended=max((r.ended for r in ordered), default=S),
        client=ClientFacts(**{"stamps": "kernel", "cpu": 0.0, "reads": 1, **client}),
    )
    plan = LoadPlan(
        Endpoint("http://127.0.0.1:1", "tiny"),
        tuple(Request(tokens, "p") for _ in ordered),
        GenerationParams(),
        concurrency=concurrency,
        schedule=None if concurrency else tuple((r.scheduled or 0) / S for r in ordered),
        warmup=sum(r.warmup for r in ordered),
    )
    return summarize_level(result, plan, slo=slo)


# --- Servers ---------------------------------------------------------------------------------------


def streams(
    concurrency: int,
    measured: int,
    rng: np.random.Generator,
    *,
    warmup: int | None = None,
    ttft: float = 0.2,
    gap: float = 0.01,
    spread: float = 0.02,
    length: Draw = lambda _: 128,
    a_chunk: int = 1,
) -> list[RequestResult]:
    """A closed loop in which no stream disturbs another; the client takes 20 µs to send."""
    warmup = concurrency if warmup is None else warmup
    free = [(0.0, stream) for stream in range(concurrency)]
    found = []
    client = 0.0
    for number in range(warmup + measured):
        ready, stream = heapq.heappop(free)
        client = sent = max(client, ready) + 20e-6
        first, step = (each * math.exp(spread * rng.standard_normal()) for each in (ttft, gap))
        times = [sent + first + step * token for token in range(int(length(rng)))]
        shown = times[a_chunk - 1 :: a_chunk]
        if not shown or shown[-1] != times[-1]:
            shown.append(times[-1])
        found.append(answered(number, sent, shown, tokens=len(times), warmup=number < warmup))
        heapq.heappush(free, (times[-1], stream))
    return found


def batching(
    concurrency: int, measured: int, rng: np.random.Generator, *, length: Draw
) -> list[RequestResult]:
    """A closed loop on a continuously batching server: a step gives each stream a token."""
    waiting = iter(range(concurrency + measured))
    running: list[tuple[int, float, int, list[float]]] = []
    found: list[RequestResult] = []
    now = 0.0
    while True:
        new = [
            (number, now, int(length(rng)), [])
            for _, number in zip(range(concurrency - len(running)), waiting, strict=False)
        ]
        running += new
        if not running:
            return found
        now += 0.005 + 0.0002 * len(running) + 0.004 * len(new)
        for number, sent, tokens, times in running:
            times.append(now)
            if len(times) == tokens:
                found.append(answered(number, sent, times, warmup=number < concurrency))
        running = [one for one in running if len(one[3]) < one[2]]


def queue(
    rng: np.random.Generator, requests: int, servers: int, load: float, *, constant: bool = False
) -> Queue:
    """M/M/c, capacity one request a second: when each came, began and ended; all different."""
    gaps = np.full(requests, 1 / load) if constant else rng.exponential(1 / load, requests)
    came = np.cumsum(gaps)
    takes = rng.exponential(servers, requests)
    free = [0.0] * servers
    began = np.empty(requests)
    for i in range(requests):
        began[i] = max(came[i], heapq.heappop(free))
        heapq.heappush(free, began[i] + takes[i])
    return came, began, began + takes


def queued(came: NDArray[np.float64], began: NDArray[np.float64], ended: NDArray[np.float64]) -> Level:
    """The level of an open loop on that server; a first token takes a twentieth of a request."""
    first = began + 0.05 * (ended - began)
    rows = zip(came.tolist(), first.tolist(), ended.tolist(), strict=True)
    return summed(
        [answered(i, due, [token, end], tokens=16, due=due) for i, (due, token, end) in enumerate(rows)]
    )


# --- Closed loop: the window and its throughput ------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 8, 64])
@pytest.mark.parametrize("waves", [2, 5])
@pytest.mark.parametrize("ttft", [0.05, 2.0])
@pytest.mark.parametrize("part_of_a_wave", [0, 0.5])
def test_waves_in_step_give_the_throughput_of_whole_waves(
    concurrency: int, waves: int, ttft: float, part_of_a_wave: float
) -> None:
    measured = concurrency * waves + int(concurrency * part_of_a_wave)
    requests = streams(concurrency, measured, np.random.default_rng(0), ttft=ttft, spread=0.0)
    level = summed(requests, concurrency=concurrency)
    truth = concurrency * 128 / (ttft + 127 * 0.01)
    assert level.why == STEADY
    assert level.system_throughput == pytest.approx(truth, rel=0.01)
    assert level.request_throughput == pytest.approx(truth / 128, rel=0.01)
    assert level.in_flight == pytest.approx(concurrency, rel=0.01)
    # What was in step with the warm-up is not lost for the latencies.
    assert level.trimmed[0] == 0


@pytest.mark.parametrize("seed", range(10))
def test_waves_that_blur_are_cut_where_they_are_whole(seed: int) -> None:
    # In one piece at the end: half a wave at the window's edge is all of its tokens, or none.
    requests = streams(8, 64, np.random.default_rng(seed), a_chunk=128, spread=0.02)
    lives = [(r.ended - r.sent) / S for r in requests]
    level = summed(requests, concurrency=8)
    assert level.system_throughput == pytest.approx(8 * 128 / np.mean(lives), rel=0.01)


@pytest.mark.simulation
@pytest.mark.parametrize("concurrency", [8, 32])
@pytest.mark.parametrize(
    "length",
    [lambda r: r.integers(32, 225), lambda r: min(1000, r.geometric(0.01))],
    ids=["even", "long-tailed"],
)
def test_streams_out_of_step_are_on_average_right_where_the_whole_level_is_not(
    concurrency: int, length: Draw
) -> None:
    rng = np.random.default_rng(1)
    mean = float(np.mean([length(rng) for _ in range(50_000)]))
    truth = concurrency * mean / ((0.2 + 0.01 * (mean - 1)) * math.exp(0.0002))
    levels, wholes = [], []
    for seed in range(40):
        requests = streams(concurrency, 6 * concurrency, np.random.default_rng(seed), length=length)
        levels.append(summed(requests, concurrency=concurrency))
        kept = [r for r in requests if not r.warmup]
        tokens = sum(r.timeline.output_tokens for r in kept if r.timeline)
        wholes.append(tokens * S / (max(r.ended for r in kept) - min(r.sent for r in kept)))
    assert {level.why for level in levels} == {STEADY}
    assert np.mean([level.system_throughput for level in levels]) == pytest.approx(truth, rel=0.01)
    assert np.mean(wholes) < 0.9 * truth


@pytest.mark.parametrize("length", [lambda _: 96, lambda r: r.integers(32, 128)], ids=["equal", "mixed"])
@pytest.mark.parametrize("measured", [64, 72])
def test_a_batching_server_in_its_steady_state_is_right_within_a_per_cent(
    length: Draw, measured: int
) -> None:
    long = batching(16, 2000, np.random.default_rng(9), length=length)
    times = np.sort([time for r in long if r.timeline for time in r.timeline.token_times]) / S
    inner = times[(times > times[-1] / 10) & (times < times[-1] * 9 / 10)]
    truth = len(inner) / (0.8 * times[-1])
    found = [
        summed(
            batching(16, measured, np.random.default_rng(seed), length=length), concurrency=16
        ).system_throughput
        for seed in range(20)
    ]
    assert np.mean(found) == pytest.approx(truth, rel=0.01)


def test_a_level_without_a_steady_part_is_taken_whole_and_says_so() -> None:
    level = summed(streams(8, 6, np.random.default_rng(0)), concurrency=8)
    assert "of 6 requests were sent while 8 requests were in flight: the whole level counts" in level.why
    assert "send 32" in level.why
    assert level.trimmed == (0, 0)
    few = summed(streams(8, 4, np.random.default_rng(0), warmup=0)[:4], concurrency=8)
    assert "never 8 requests in flight" in few.why
    assert few.request_throughput == pytest.approx(4 / (0.2 + 1.27), rel=0.05)


def test_the_warm_up_is_over_without_its_stragglers() -> None:
    lengths = iter([1000] + [50] * 200)
    requests = streams(4, 60, np.random.default_rng(0), length=lambda _: next(lengths))
    level = summed(requests, concurrency=4)
    assert level.why == STEADY
    assert level.trimmed[0] <= 4


def test_only_requests_sent_in_the_window_belong_to_it() -> None:
    requests = streams(8, 64, np.random.default_rng(0), length=lambda r: r.integers(32, 225))
    level = summed(requests, concurrency=8)
    measured = [r for r in requests if not r.warmup]
    start, end = level.window(min(r.sent for r in requests))
    held = [start <= r.sent <= end for r in measured]
    assert sum(held) + sum(level.trimmed) == 64
    # The last ones go on after the window's end, and are not lost for that.
    assert any(r.ended > end for r, inside in zip(measured, held, strict=True) if inside)


# --- Open loop: the window and its throughput --------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 10])
def test_an_open_loop_has_the_throughput_that_it_was_sent(burst: int) -> None:
    dues = [i // burst * burst * 0.05 for i in range(400)]
    requests = [
        answered(i, due, [due + 0.2 + 0.01 * k for k in range(128)], due=due, warmup=i < 40)
        for i, due in enumerate(dues)
    ]
    level = summed(requests)
    assert level.why == STEADY
    assert level.request_throughput == pytest.approx(20, rel=0.01)
    assert level.system_throughput == pytest.approx(20 * 128, rel=0.01)
    assert level.in_flight == pytest.approx(20 * 1.47, rel=0.01)


def test_a_schedule_shorter_than_its_requests_has_no_steady_part() -> None:
    requests = [answered(i, 0.1 * i, [0.1 * i + 1, 0.1 * i + 30], due=0.1 * i) for i in range(200)]
    level = summed(requests)
    assert "took up to 30 s" in level.why
    assert level.saturated is None
    assert level.end == 49.9


# --- Saturation ------------------------------------------------------------------------------------


def share_saturated(
    load: float, servers: int, requests: int, levels: int, *, constant: bool = False
) -> float:
    rng = np.random.default_rng(20261124)
    found = [queued(*queue(rng, requests, servers, load, constant=constant)).saturated for _ in range(levels)]
    return sum(one is True for one in found) / levels


@pytest.mark.simulation
@pytest.mark.parametrize("servers", [1, 16])
@pytest.mark.parametrize(("load", "requests"), [(0.5, 120), (0.8, 120), (0.8, 600)])
def test_a_server_that_keeps_up_is_not_called_saturated(servers: int, load: float, requests: int) -> None:
    assert share_saturated(load, servers, requests, 100) <= 0.01


@pytest.mark.simulation
@pytest.mark.parametrize("servers", [1, 16])
def test_an_overload_of_a_fifth_is_found(servers: int) -> None:
    assert share_saturated(1.2, servers, 1200, 60) >= 0.95


@pytest.mark.simulation
def test_constant_arrivals_show_it_in_fewer_requests() -> None:
    assert share_saturated(1.2, 8, 600, 60, constant=True) >= 0.95


@pytest.mark.parametrize("load", [2.0, 10.0])
def test_a_swamped_server_is_found_though_the_level_has_no_steady_part(load: float) -> None:
    level = queued(*queue(np.random.default_rng(5), 400, 8, load))
    assert level.why != STEADY
    assert level.saturated is True
    assert "piled up" in level.saturation


def test_longer_requests_alone_are_no_overload() -> None:
    requests = []
    for i in range(1000):
        tokens = 20 + i // 2
        times = [0.1 * i + 0.05 + 0.01 * k for k in range(tokens)]
        requests.append(answered(i, 0.1 * i, times, due=0.1 * i))
    level = summed(requests)
    assert level.saturated is False
    assert "might not show" in level.saturation


def test_a_rate_that_rises_is_no_overload() -> None:
    # With more in flight a token takes half as long again, and the server keeps up.
    dues = [30 * math.sqrt(i / 600) + i / 60 for i in range(600)]
    requests = []
    for i, due in enumerate(dues):
        gap = 0.01 * (1 + 0.5 * due / dues[-1])
        requests.append(answered(i, due, [due + 0.05 + gap * k for k in range(128)], due=due))
    level = summed(requests)
    assert level.why == STEADY
    assert level.saturated is False


def test_requests_that_are_turned_away_make_a_level_saturated() -> None:
    requests: list[RequestResult] = []
    for i in range(400):
        due = 0.1 * i
        if i % 5 == 4:
            requests.append(failed(i, due, due + 0.001, kind="status", status=429, due=due))
        else:
            requests.append(answered(i, due, [due + 0.05, due + 0.5], due=due))
    level = summed(requests)
    assert level.saturated is True
    assert "refused" in level.saturation
    assert level.failed == {"status": 80}


def test_what_cannot_be_told_is_not_told() -> None:
    few = summed([answered(i, 1.0 * i, [i + 0.1, i + 0.2], due=1.0 * i) for i in range(30)])
    assert few.saturated is None
    assert few.saturation == "it takes 100 requests while the load was on, and there were 29"
    closed = summed(streams(4, 40, np.random.default_rng(0)), concurrency=4)
    assert closed.saturated is None
    assert "closed loop" in closed.saturation


# --- Whether the client is to be believed ------------------------------------------------------------


def on_schedule(lags: Sequence[float], ttft: float = 0.03) -> list[RequestResult]:
    return [
        answered(i, 0.1 * i + lag, [0.1 * i + ttft, 0.1 * i + ttft + 0.1], due=0.1 * i)
        for i, lag in enumerate(lags)
    ]


def test_a_client_on_time_is_believed() -> None:
    level = summed(on_schedule([0.0001] * 200))
    assert level.invalid is None
    assert level.send_lag == pytest.approx({"p50": 0.0001, "p99": 0.0001, "max": 0.0001})


def test_a_client_that_sends_late_spoils_the_level() -> None:
    level = summed(on_schedule([0.0001, 0.0001, 0.0001, 0.02] * 50))
    assert level.invalid is not None
    assert "sent more than 5 ms late (p99 20 ms)" in level.invalid
    assert "ask for a smaller load" in level.invalid


def test_lateness_is_measured_against_what_it_spoils() -> None:
    assert summed(on_schedule([0.02] * 200, ttft=0.3)).invalid is None
    assert summed(on_schedule([0.02] * 200, ttft=0.1)).invalid is not None


def test_one_late_request_does_not_spoil_a_level() -> None:
    assert summed(on_schedule([0.0] * 30 + [0.05] + [0.0] * 29)).invalid is None
    assert summed(on_schedule(([0.0] * 20 + [0.05]) * 3)).invalid is not None


@pytest.mark.parametrize(
    ("stamps", "what"),
    [
        ("kernel", "send times, and in the 0% of chunks that it read with later ones;"),
        ("user", "send times and latencies;"),
    ],
)
def test_a_client_without_time_left_spoils_the_level(stamps: str, what: str) -> None:
    requests = streams(8, 64, np.random.default_rng(0))
    seconds = max(r.ended for r in requests) / S
    busy = summed(requests, concurrency=8, cpu=0.95 * seconds, stamps=stamps)
    assert busy.invalid is not None
    assert what in busy.invalid
    assert busy.client_cpu == pytest.approx(0.95, rel=0.05)
    assert summed(requests, concurrency=8, cpu=0.5 * seconds, stamps=stamps).invalid is None


def test_a_client_that_lacks_something_says_that_it_would_help() -> None:
    requests = streams(8, 64, np.random.default_rng(0))
    seconds = max(r.ended for r in requests) / S
    slow, fast = (
        summed(requests, concurrency=8, cpu=0.95 * seconds, receiver=receiver, real_time=real_time)
        for receiver, real_time in (("python", False), ("native", True))
    )
    assert (slow.client.receiver, fast.client.receiver) == ("python", "native")
    assert (slow.client.real_time, fast.client.real_time) == (False, True)
    assert slow.invalid is not None
    assert "real-time priority (RLIMIT_RTPRIO), or install its part in C" in slow.invalid
    assert fast.invalid is not None
    assert fast.invalid.endswith("leave the client a core of its own")


def test_a_closed_loop_has_no_schedule_to_be_late_for() -> None:
    assert summed(streams(4, 40, np.random.default_rng(0)), concurrency=4).send_lag is None


def test_chunks_that_were_read_together_are_told() -> None:
    apart = [answered(i, i, [i + 0.1, i + 0.2, i + 0.3]) for i in range(20)]
    assert summed(apart, concurrency=1).read_together == 0.0
    # Of the two steps of each, one is none.
    together = [answered(i, i, [i + 0.2, i + 0.2, i + 0.3]) for i in range(20)]
    level = summed(together, concurrency=1, cpu=0.95 * 20)
    assert level.read_together == 0.5
    assert "in the 50% of chunks that it read with later ones" in (level.invalid or "")
    assert summed([answered(i, i, [i + 0.2]) for i in range(20)], concurrency=1).read_together is None


@pytest.mark.parametrize(
    ("read_lag", "together", "spoiled"),
    [
        (0.08, True, True),
        # Half the time between two chunks is 37 ms.
        (0.03, True, False),
        (0.08, False, False),
        (None, True, False),
    ],
)
def test_a_client_that_reads_late_and_two_at_a_time_spoils_the_level(
    read_lag: float | None, together: bool, spoiled: bool
) -> None:
    second = 0.1 if together else 0.15
    requests = [answered(i, i, [i + 0.1, i + second, i + 0.2, i + 0.3, i + 0.4]) for i in range(20)]
    level = summed(requests, concurrency=1, read_lag=read_lag)
    assert (level.invalid is not None) == spoiled
    assert not spoiled or "the client read late (p99 80 ms after the arrival), and 25% of" in level.invalid  # type: ignore[operator]


# --- What else is counted ----------------------------------------------------------------------------


def test_failures_are_counted_and_bring_no_throughput() -> None:
    requests = [
        answered(i, 0.2 * i, [0.2 * i + 0.1, 0.2 * i + 0.15]) if i % 2 else failed(i, 0.2 * i, 0.2 * i + 0.15)
        for i in range(40)
    ]
    level = summed(requests, concurrency=1)
    assert (level.sent, level.successful, level.failed) == (40, 20, {"reset": 20})
    assert level.request_throughput == pytest.approx(2.5, rel=0.03)


def test_a_level_of_failures_alone_has_no_throughput_but_its_reasons() -> None:
    closed = summed([failed(i, 0.1 * i, 0.1 * i + 0.01) for i in range(20)], concurrency=1)
    opened = summed([failed(i, 0.1 * i, 0.1 * i + 0.01, due=0.1 * i) for i in range(20)])
    for level in (closed, opened):
        assert (level.successful, level.failed) == (0, {"reset": 20})
        assert (level.request_throughput, level.system_throughput) == (0.0, 0.0)
        assert level.tokens_per_chunk is None


def test_a_level_in_which_nothing_was_measured_is_invalid() -> None:
    nothing = summed([], concurrency=2)
    warmup = summed([answered(0, 0.0, [0.5, 1.0], warmup=True)], concurrency=1)
    assert nothing.invalid == warmup.invalid == "no measured request was sent"
    assert warmup.system_throughput == 0.0


def test_goodput_counts_what_met_every_objective() -> None:
    def one(i: int, ttft: float, gap: float) -> RequestResult:
        return answered(i, 1.0 * i, [i + ttft + gap * k for k in range(11)], ended=i + 0.999)

    requests = [one(i, *((0.1, 0.01), (0.5, 0.01), (0.1, 0.05), (0.1, 0.01))[i % 4]) for i in range(80)]
    assert summed(requests, concurrency=1).goodput is None
    assert summed(requests, concurrency=1, slo={}).goodput is None
    for slo, share in (
        ({"ttft": 0.2, "tpot": 0.02}, 1 / 2),
        ({"ttft": 0.2}, 3 / 4),
        ({"e2e_latency": 0.55}, 1 / 2),
        ({"ttft": 0.01}, 0),
    ):
        level = summed(requests, concurrency=1, slo=slo)
        assert level.goodput == pytest.approx(share * level.request_throughput, rel=0.03)


def buffered(i: int, *, tokens: int = 20, untimed: str | None = "buffered") -> RequestResult:
    one = answered(i, 1.0 * i, [i + 0.1 + 0.01 * k for k in range(tokens)], ended=i + 0.999)
    assert one.timeline is not None
    return replace(one, timeline=replace(one.timeline, untimed=untimed))  # type: ignore[arg-type]


def test_a_level_whose_streams_are_buffered_has_no_goodput_by_the_time_between_tokens() -> None:
    requests = [buffered(i) for i in range(40)]
    level = summed(requests, concurrency=1, slo={"ttft": 1.0, "tpot": 1.0})
    assert (level.untimed, level.buffered) == ("buffered", 1.0)
    assert (level.goodput, level.goodput_unknown) == (None, "buffered")
    assert level.invalid is None
    by_ttft = summed(requests, concurrency=1, slo={"ttft": 1.0})
    assert (by_ttft.goodput, by_ttft.goodput_unknown) == (by_ttft.request_throughput, None)
    without = summed(requests, concurrency=1)
    assert (without.goodput, without.goodput_unknown) == (None, None)


def test_a_single_buffered_request_is_not_known_to_be_good_and_the_others_are() -> None:
    requests = [buffered(i, untimed="buffered" if i % 10 == 0 else None) for i in range(80)]
    level = summed(requests, concurrency=1, slo={"tpot": 1.0})
    assert (level.untimed, level.goodput_unknown) == (None, None)
    assert level.buffered == pytest.approx(0.1, abs=0.02)
    assert level.goodput == pytest.approx(0.9 * level.request_throughput, rel=0.03)


def test_few_tokens_that_came_at_once_meet_any_limit_on_the_time_between_them() -> None:
    requests = [buffered(i, tokens=4, untimed="one_arrival") for i in range(20)]
    level = summed(requests, concurrency=1, slo={"tpot": 1e-6})
    assert (level.untimed, level.goodput) == (None, level.request_throughput)
    whole = summed([buffered(i, untimed="one_arrival") for i in range(20)], concurrency=1, slo={"tpot": 1e-6})
    assert (whole.goodput, whole.goodput_unknown) == (None, "one_arrival")


def test_a_buffered_level_whose_client_was_late_is_invalid_as_any_other() -> None:
    requests = [replace(buffered(i), new_connection=False) for i in range(20)]
    together = [
        replace(
            r,
            timeline=replace(
                r.timeline, token_times=(r.timeline.token_times[0],) * 10 + r.timeline.token_times[10:]
            ),
        )
        for r in requests
        if r.timeline is not None
    ]
    level = summed(together, concurrency=1, read_lag=0.2)
    assert (level.untimed, level.buffered) == ("buffered", 1.0)
    assert "the client read late (p99 200 ms after the arrival)" in (level.invalid or "")
    # And a server that sends even chunks to a late client is accused of nothing.
    late = [
        replace(r, timeline=replace(r.timeline, untimed=None)) for r in together if r.timeline is not None
    ]
    assert summed(late, concurrency=1, read_lag=0.2).untimed is None


def test_hidden_tokens_are_work_that_was_done_before_the_first_chunk() -> None:
    def hidden(i: int, first: float) -> RequestResult:
        one = answered(i, 1.0 * i, [i + first + 0.01 * k for k in range(20)], tokens=120, ended=i + 0.999)
        assert one.timeline is not None
        return replace(one, timeline=replace(one.timeline, hidden_tokens=100))

    level = summed([hidden(i, 0.5) for i in range(40)], concurrency=1, tokens=120)
    assert level.hidden_tokens == 40 * 100
    assert level.tokens_per_chunk == 1.0
    assert level.system_throughput == pytest.approx(120, rel=0.03)
    # Where the window ends between the first chunk and the last, what is in it has 101 of the 120 and more.
    arrays = RequestArrays([hidden(0, 0.5)])
    assert arrays.shares(0, round(0.505 * S)) == pytest.approx(101 / 120)
    assert arrays.shares(round(0.505 * S), S) == pytest.approx(19 / 120)


def test_chunks_of_one_token_have_equal_shares_of_it() -> None:
    arrays = RequestArrays([answered(0, 0.0, [0.1 * k for k in range(1, 9)])])
    for count in range(9):
        assert arrays.shares(0, round((0.1 * count + 0.05) * S)) == pytest.approx(count / 8)


def test_one_token_meets_any_limit_on_the_time_between_tokens() -> None:
    requests = [answered(i, 1.0 * i, [i + 0.5]) for i in range(10)]
    level = summed(requests, concurrency=1, slo={"tpot": 1e-6})
    assert level.goodput == level.request_throughput > 0


@pytest.mark.parametrize(
    ("slo", "match"),
    [
        ({"itl": 0.1}, "itl has more than one value for each request; take tpot"),
        ({"goodput": 1.0}, "There are ttft, tpot, e2e_latency"),
        ({"ttft": 0.0}, "above 0 seconds"),
        ({"ttft": math.nan}, "above 0 seconds"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(slo: dict[str, float], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        summed(streams(1, 4, np.random.default_rng(0)), concurrency=1, slo=slo)


def test_chunks_sources_and_lengths_are_told() -> None:
    requests = [
        answered(
            i,
            1.0 * i,
            [i + 0.2, i + 0.4],
            tokens=16 if i % 4 else 9,
            token_source="usage" if i % 2 else "chunks",
        )
        for i in range(40)
    ]
    level = summed(requests, concurrency=1)
    assert level.token_sources == {"usage": 20, "chunks": 20}
    assert level.tokens_per_chunk == pytest.approx((30 * 16 + 10 * 9) / 80)
    assert level.output_mismatch == 0
    short = [replace(r, token_source="usage") for r in requests]
    assert summed(short, concurrency=1).output_mismatch == 10


def test_parts_that_have_no_text_are_counted_by_request() -> None:
    requests = [answered(i, i, [i + 0.2], ignored_parts=("audio",) if i else ()) for i in range(4)]
    assert summed(requests, concurrency=1).ignored_parts == {"audio": 3}


def test_a_level_goes_into_the_document_whole() -> None:
    level = summed(on_schedule([0.0] * 150), slo={"ttft": 1.0})
    record = LoadRecord.model_validate(level, from_attributes=True)
    data = json.loads(record.model_dump_json())
    assert data.keys() == {field.name for field in fields(Level)}
    assert data["client"] == asdict(level.client)
    assert LoadRecord.model_validate(data) == record


def test_the_window_is_exact_to_the_nanosecond() -> None:
    level = summed(on_schedule([0.0] * 150))
    started = 86_400 * S + 123_456_789
    start, end = level.window(started)
    assert (start - started, end - started) == (round(level.start * S), round(level.end * S))


# --- The knee of a sweep -----------------------------------------------------------------------------


def test_the_knee_is_where_latency_begins_to_rise_more_than_throughput() -> None:
    batches = [(n / (0.01 + 0.0005 * n), 0.01 + 0.0005 * n) for n in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    found = knee(batches)
    assert found is not None
    # Where the batch costs as much as the step itself, twice the streams bring less than 41% more.
    assert (1, 2, 4, 8, 16, 32, 64, 128, 256)[found] in (16, 32)


def test_a_rate_beyond_capacity_puts_the_knee_below_it() -> None:
    assert knee([(10, 0.5), (20, 0.5), (40, 0.55), (80, 0.8), (95, 4.0), (95, 20.0)]) == 3


def test_a_server_that_gains_nothing_has_its_knee_at_once() -> None:
    assert knee([(10, 0.1), (10.5, 0.2), (10.6, 0.4)]) == 0


def test_no_knee_is_told_from_two_levels_or_where_it_lies_beyond() -> None:
    assert knee([(10, 0.1), (11, 1.0)]) is None
    assert knee([(10, 0.1), (20, 0.1), (40, 0.1)]) is None
    assert knee([(10, 0.1), (0, 0.1), (40, 0.1)]) is None

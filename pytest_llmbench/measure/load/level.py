"""What does a load level amount to?

A level has a beginning, when streams fill up, and an end, when they run empty; what a server does
under load is in between. :func:`summarize_level` finds that window, says what the server did in it,
and whether the client could be believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import UsageError
from pytest_llmbench.measure.load.plan import LoadPlan, LoadResult, RequestResult, Stamps
from pytest_llmbench.measure.metrics import METRICS
from pytest_llmbench.measure.timeline import NANO

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEADY = "steady"
"""Why the window is what it is, where it holds the steady part alone."""
SLO_METRICS = ("ttft", "tpot", "e2e_latency")
"""What a service-level objective may limit: what each request has one value of."""

LATE = 0.005
"""Seconds by which a request may be sent late whatever it measures: what a shared core costs at times."""
LATE_SHARE = 0.1
"""The same as a share of the median TTFT: latencies count from when a request was due."""
MAY_BE_LATE = 0.01
"""The share of requests that may be sent later than that."""
BUSY = 0.9
"""Of one core: a client above it reads late and sends late."""

OVERLOAD = 0.05
"""The share of requests that must pile up before a level is called saturated."""
SLOWER = 1.2
"""How much longer the last third of the requests must wait, or take a token, than the first."""
_BLOCKS = 20
_IN_A_BLOCK = 10
"""Requests: with fewer, an increment is no sum of many."""
_FEWEST_BLOCKS = 10

_TOGETHER = 0.05
"""Of a request's duration: within it, streams that are in step end together."""
_EVEN = 0.005
"""Of the window's tokens: how much its edges may bias them."""


@dataclass(frozen=True, slots=True)
class Level:
    """What a server did at one load level; seconds, requests/s, tokens/s.

    Rates are those of the window. Counts of requests are those of the whole level without its
    warm-up, so that no failure is trimmed away.
    """

    started: int
    """ns: the level's start, warm-up included."""
    start: int
    """ns: the window's."""
    end: int
    why: str
    """:data:`STEADY`, or why the whole level without its warm-up was taken instead."""
    trimmed: tuple[int, int]
    """Requests that do not belong to the window: due before it, and after it."""
    sent: int
    successful: int
    failed: Mapping[str, int]
    """By the kind of failure."""
    request_throughput: float
    system_throughput: float
    goodput: float | None
    """None without objectives."""
    send_lag: Mapping[str, float] | None
    """How late requests were sent: ``p50``, ``p99``, ``max``; None in a closed loop."""
    client_cpu: float
    """Share of one core that the client used."""
    stamps: Stamps
    stamps_reason: str | None
    tokens_per_chunk: float | None
    """Mean over the window's requests; None where no token came."""
    token_sources: Mapping[str, int]
    """Who counted the tokens of how many requests."""
    output_mismatch: int
    """Requests with another number of tokens than was asked for, by the server's own count, while the
    end of sequence was to be ignored."""
    in_flight: float
    """Mean number of requests, warm-up and failed ones too."""
    saturated: bool | None
    """Whether requests came faster than the server ended them; None where it cannot be told."""
    saturation: str
    """Why."""
    invalid: str | None
    """Why the figures are not the server's, and what to do; None if they are."""

    def holds(self, request: RequestResult) -> bool:
        """Whether a request belongs to the window: it was due in it, in a closed loop sent in it.

        Choosing by the end would favour short requests: the long ones are still going on.
        """
        return self.start <= _due(request) <= self.end

    def to_json(self) -> dict[str, Any]:
        """The level as the results document keeps it; the window in seconds since the level's start."""
        data = {name: getattr(self, name) for name in self.__slots__}
        del data["started"]
        return {
            **data,
            "start": round((self.start - self.started) * NANO, 9),
            "end": round((self.end - self.started) * NANO, 9),
            "trimmed": list(self.trimmed),
        }


def summarize_level(result: LoadResult, plan: LoadPlan, *, slo: Mapping[str, float] | None = None) -> Level:
    """Sum up *result*, the traffic of *plan*.

    :param slo: objectives, seconds by metric of :data:`SLO_METRICS`.
    :raises UsageError: for an objective that cannot be; see :func:`check_slo`.

    **Window, closed loop.** It begins with the first send that finds ``concurrency`` requests in
    flight, itself included, once as many requests have ended as the warm-up had: its stragglers are a
    load like any other, and with lengths that differ they would use up the level. It ends with the
    first end that no send follows: from there on the load falls. Both allow 5 % of a request's
    duration, within which streams in step end together, one being sent again after the other.

    Streams that began together go on in step: all wait for a first token at one time, and decode at
    another. With half a wave at its edge, a window would have the one more often than the other. So
    its end is moved back to the last moment at which tokens that had arrived in it are, to 0.5 %, as
    many as if each request had spread its own evenly over its life. That holds for whole waves, and
    nearly everywhere where streams are not in step. A window in which fewer than ``concurrency``
    requests were sent shows no steady state: the whole level after its warm-up is taken.

    **Window, open loop.** From the first due time of a measured request that comes no sooner after
    the level's first than 95 % of the requests take, to the last due time. A server that keeps up has
    then as many requests in flight as it will have: their number depends on the arrivals within one
    request's duration alone (M/G/infinity; Eick, Massey and Whitt 1993). From a due time to a due
    time a window holds whole intervals, of bursts too. If it is shorter than those 95 % take, the
    whole level is taken.

    **Throughput.** Output tokens of successful requests, warm-up ones too, that arrived in the window
    (where a chunk had several, in equal shares) over its length; and requests by the share of their
    tokens that did. So whatever reaches over an edge counts on each side for what it did there,
    though a request at the end goes on in a falling load. Good requests are the successful ones that
    met every objective; one token has no TPOT and meets any.

    **Saturation**, of an open loop: see :func:`_saturation`. A closed loop cannot tell: no more than
    ``concurrency`` requests ever wait.

    **Invalid** is a level whose client spoiled it. In an open loop: more than 1 % of the requests, and
    more than one, were sent later than 5 ms and than a tenth of the median TTFT: latencies count from
    when a request was due, so the client's lateness is in each of them. In any loop: the client was
    busy for more than 90 % of the window; its CPU time counts by the share of chunks that came then.
    """
    slo = {} if slo is None else slo
    check_slo(slo)
    measured = result.measured
    traffic = _Traffic(result.requests)
    start, end, why = window = _window(result, plan, traffic)
    seconds = (end - start) * NANO

    def rate(amount: float) -> float:
        return amount / seconds if seconds else 0.0

    shares = traffic.shares(start, end)
    good = [all(_meets(request, name, limit) for name, limit in slo.items()) for request in traffic.done]
    inside = [request for request in measured if start <= _due(request) <= end]
    timed = [request for request in inside if request.ok and request.timeline is not None]
    chunks = sum(request.chunks for request in timed)
    client_cpu = _client_cpu(result, start, end)
    saturated, saturation = _saturation(result, plan, traffic, window)
    lags = None if plan.schedule is None else [(request.send_lag or 0.0) for request in inside]
    return Level(
        started=result.started,
        start=start,
        end=end,
        why=why,
        trimmed=(sum(_due(r) < start for r in measured), sum(_due(r) > end for r in measured)),
        sent=len(measured),
        successful=sum(request.ok for request in measured),
        failed=dict(Counter(request.failure.kind for request in measured if request.failure is not None)),
        request_throughput=rate(float(shares.sum())),
        system_throughput=rate(float(shares @ traffic.tokens)),
        goodput=rate(float(shares[good].sum())) if slo else None,
        send_lag=_percentiles(lags) if lags else None,
        client_cpu=client_cpu,
        stamps=result.stamps,
        stamps_reason=result.stamps_reason,
        tokens_per_chunk=(
            sum(r.timeline.output_tokens for r in timed if r.timeline) / chunks if chunks else None
        ),
        token_sources=dict(Counter(r.token_source for r in measured if r.timeline is not None)),
        output_mismatch=sum(_mismatch(request, plan) for request in measured),
        in_flight=traffic.in_flight(start, end),
        saturated=saturated,
        saturation=saturation,
        invalid=_invalid(result, timed, lags, client_cpu),
    )


def check_slo(slo: Mapping[str, float]) -> None:
    """Refuse objectives that no request can be held to.

    :raises UsageError: for a metric that is not one of :data:`SLO_METRICS`, or a limit that is not
        positive.
    """
    for name, limit in slo.items():
        if name not in SLO_METRICS:
            instead = "; take tpot, the mean of a request's gaps" if name == "itl" else ""
            msg = (
                f"slo: {name} has no one value for each request{instead}. There are {', '.join(SLO_METRICS)}"
            )
            raise UsageError(msg)
        if not limit > 0:
            msg = f"slo: {name} needs a limit above 0 seconds, not {limit!r}"
            raise UsageError(msg)


def knee(points: Sequence[tuple[float, float]]) -> int | None:
    """The index of the level from which on more load raises latency more than throughput.

    :param points: (throughput, latency) of each level, by rising load; shape (levels,).

    It is the level of the greatest power, throughput over latency (Giessler et al. 1978; Kleinrock
    1979), which weighs a per cent of the one against a per cent of the other, needs no scale and, in
    a closed loop, by Little's law asks of a doubled concurrency 41 % more throughput. None for fewer
    than three levels, for one without throughput or latency, and where the last level has the
    greatest power: the knee lies beyond it then, if anywhere.
    """
    if len(points) < 3 or not all(throughput > 0 and latency > 0 for throughput, latency in points):
        return None
    powers = [throughput / latency for throughput, latency in points]
    best = powers.index(max(powers))
    return best if best < len(points) - 1 else None


class _Traffic:
    """The requests of a level as arrays; times in ns, int64."""

    def __init__(self, requests: Sequence[RequestResult]) -> None:
        import numpy as np

        self.sent = np.array([request.sent for request in requests], dtype=np.int64)
        self.ended = np.array([request.ended for request in requests], dtype=np.int64)
        self.done = [request for request in requests if request.ok and request.timeline is not None]
        """The successful ones."""
        lines = [request.timeline for request in self.done if request.timeline is not None]
        self.tokens = np.array([line.output_tokens for line in lines], dtype=np.float64)
        """Of each successful one."""
        chunks = np.array([len(line.token_times) for line in lines], dtype=np.int64)
        self._times = np.array([time for line in lines for time in line.token_times], dtype=np.int64)
        self._owner = np.repeat(np.arange(len(lines)), chunks)
        self._part = 1.0 / np.repeat(chunks, chunks)

    def shares(self, start: int, end: int) -> NDArray[np.float64]:
        """The share of its tokens that each successful request brought in the window."""
        import numpy as np

        inside = (self._times >= start) & (self._times <= end)
        shares = np.bincount(self._owner[inside], weights=self._part[inside], minlength=len(self.done))
        return shares.astype(np.float64)

    def in_flight(self, start: int, end: int) -> float:
        """Mean number of requests between their send and their end."""
        import numpy as np

        overlap = np.minimum(self.ended, end) - np.maximum(self.sent, start)
        return float(overlap.clip(min=0).sum()) / max(end - start, 1)

    def even_end(self, start: int, end: int) -> int:
        """The last moment up to *end* at which the window is as good as whole waves.

        That is where tokens that arrived since *start* are as many as if each request had spread its
        own evenly over its life; only the window's second half is searched.
        """
        import numpy as np

        at = np.linspace((start + end) // 2, end, 513).astype(np.int64)
        order = np.argsort(self._times)
        arrived = np.concatenate(([0.0], np.cumsum((self.tokens[self._owner] * self._part)[order])))
        counts = arrived[np.searchsorted(self._times[order], at, "right")]
        counts -= arrived[np.searchsorted(self._times[order], start, "left")]
        sent = np.array([request.sent for request in self.done], dtype=np.int64)
        ended = np.array([request.ended for request in self.done], dtype=np.int64)
        life = np.maximum(ended - sent, 1)
        begin = np.clip((start - sent) / life, 0.0, 1.0) @ self.tokens
        spread = np.array([np.clip((t - sent) / life, 0.0, 1.0) @ self.tokens for t in at]) - begin
        off = np.abs(counts - spread)
        even = np.flatnonzero(off <= _EVEN * counts)
        return int(at[even[-1] if len(even) else np.argmin(off)])


def _window(result: LoadResult, plan: LoadPlan, traffic: _Traffic) -> tuple[int, int, str]:
    """The window's start and end, and why it is that."""
    measured = result.measured
    if not measured:
        return result.ended, result.ended, "no measured request was sent"
    found = _closed_window(result, plan, traffic) if plan.schedule is None else _open_window(result, traffic)
    if isinstance(found, str):
        return min(_due(r) for r in measured), max(r.ended for r in measured), found
    return *found, STEADY


def _closed_window(result: LoadResult, plan: LoadPlan, traffic: _Traffic) -> tuple[int, int] | str:
    import numpy as np

    concurrency = plan.concurrency or 1
    sends, ends = np.sort(traffic.sent), np.sort(traffic.ended)
    together = int(_TOGETHER * np.median(traffic.ended - traffic.sent))
    over = min(request.sent for request in result.measured)
    warmup = len(result.requests) - len(result.measured)
    if warmup:
        over = max(over, int(ends[warmup - 1]) - together)
    in_flight = np.arange(1, len(sends) + 1) - np.searchsorted(ends, sends - together, "right")
    ready = np.flatnonzero((in_flight >= concurrency) & (sends >= over))
    if not len(ready):
        return (
            f"there were never {concurrency} requests in flight after the warm-up: the level is taken "
            f"whole, its start and its end too; send {4 * concurrency} requests or more"
        )
    start = int(sends[ready[0]])
    # Each stream's first send follows no end: so many ends at the end are followed by no send.
    end = traffic.even_end(start, int(ends[len(sends) - concurrency]))
    inside = sum(start <= request.sent <= end for request in result.measured)
    if inside < concurrency:
        return (
            f"only {inside} of {len(result.measured)} requests were sent while {concurrency} were in "
            f"flight: the level is taken whole, its start and its end too; send {4 * concurrency} or more"
        )
    return start, end


def _open_window(result: LoadResult, traffic: _Traffic) -> tuple[int, int] | str:
    import numpy as np

    dues = np.sort([_due(request) for request in result.measured])
    lives = [request.ended - request.sent for request in traffic.done]
    if not lives:
        return "no request succeeded: the level is taken whole"
    most = float(np.percentile(lives, 95))
    steady = dues[dues >= min(_due(request) for request in result.requests) + most]
    if not len(steady) or steady[-1] - steady[0] < most:
        return (
            f"95 % of the requests took up to {most * NANO:.3g} s, and they were sent within "
            f"{(dues[-1] - dues[0]) * NANO:.3g} s: the level is taken whole, its start and its end too; "
            "a longer level has a steady part, or a lower rate if the server is saturated"
        )
    return int(steady[0]), int(steady[-1])


def _saturation(
    result: LoadResult, plan: LoadPlan, traffic: _Traffic, window: tuple[int, int, str]
) -> tuple[bool | None, str]:
    """Whether requests came faster than the server ended them, and why.

    Three things must hold. *Requests pile up:* those in flight beyond what Little's law asks, which is
    as many as came within what the first third of them took on average, so that a rate that rises is
    no overload. Their growth over the window, cut into 20 blocks of time, is above 0 by Student's t
    over the blocks' increments, at 5 %. Increments, and not a line through the numbers in flight:
    those hang together for long, while their increments are independent in the worst case, a server
    at just its capacity, and cancel each other below it. *It matters:* they are 5 % of the requests or
    more. *They suffer:* the last third's median TTFT or TPOT is 1.2 times the first third's, or 5 %
    were refused (429, 503) or timed out; else only their lengths grew. A request that was refused or
    timed out was not served, and stays in the count.

    Without a steady part the streams only fill up in a level that is too short, and swamp the server
    in one far over its capacity. It is the latter where the last third waits longer for a first token
    than twice what the first third took altogether; all those in flight count then.
    """
    import numpy as np
    from scipy import special

    if plan.schedule is None:
        return None, "a closed loop waits for the server: compare several concurrencies"
    start, end, why = window
    if why != STEADY:
        dues = [_due(request) for request in result.measured]
        start, end = min(dues, default=start), max(dues, default=end)
    inside = sorted((r for r in result.requests if start <= _due(r) <= end), key=_due)
    blocks = min(_BLOCKS, len(inside) // _IN_A_BLOCK)
    if blocks < _FEWEST_BLOCKS:
        return None, f"{len(inside)} requests cannot tell; {_FEWEST_BLOCKS * _IN_A_BLOCK} are the fewest"
    unserved = np.array([_unserved(request) for request in result.requests])
    edges = np.linspace(start, end, blocks + 1)
    sends = np.sort(traffic.sent)
    ends = np.searchsorted(np.sort(traffic.ended[~unserved]), edges, "right")
    in_flight = np.searchsorted(sends, edges, "right") - ends
    waiting = in_flight
    if why == STEADY:
        took = float(np.mean([request.ended - request.sent for request in _outer_thirds(inside)[0]]))
        waiting = np.searchsorted(sends, edges - took, "right") - ends
    growth = int(waiting[-1] - waiting[0])
    # The least growth that passes the test: t times the mean increment's error, times the blocks.
    least = -float(special.stdtrit(blocks - 1, 0.05)) * float(np.diff(waiting).std(ddof=1)) * blocks**0.5
    numbers = f"{in_flight[0]} requests in flight at first and {in_flight[-1]} at last"
    lost = sum(map(_unserved, inside))
    suffers = _swamped(inside) if why != STEADY else _slower(inside)
    if lost >= OVERLOAD * len(inside):
        suffers = f"{lost} were refused or timed out"
    if growth > least and growth >= OVERLOAD * len(inside) and suffers is not None:
        return True, f"{numbers}: of {len(inside)}, {growth} piled up; {suffers}"
    if why != STEADY:
        return None, f"cannot be told without a steady part: {why}"
    # A growth of twice as much on average passes the test 19 times in 20.
    hidden = max(OVERLOAD, 2 * least / len(inside))
    return False, f"{numbers}; an overload of less than {hidden:.0%} might not show in {len(inside)} requests"


def _slower(requests: Sequence[RequestResult]) -> str | None:
    """What became slower from the first third of the requests to the last; None if nothing did."""
    for name in ("ttft", "tpot"):
        first, last = (_median(part, name) for part in _outer_thirds(requests))
        if first is not None and last is not None and last > SLOWER * first:
            return f"{name} rose from {first:.3g} s to {last:.3g} s"
    return None


def _swamped(requests: Sequence[RequestResult]) -> str | None:
    """How long the last third waited, if that is out of proportion to what the first third took."""
    early, late = _outer_thirds(requests)
    took, waited = _median(early, "e2e_latency"), _median(late, "ttft")
    if took is None or waited is None or waited <= 2 * took:
        return None
    return f"the first requests took {took:.3g} s, the last waited {waited:.3g} s for a token"


def _outer_thirds(
    requests: Sequence[RequestResult],
) -> tuple[Sequence[RequestResult], Sequence[RequestResult]]:
    third = len(requests) // 3
    return requests[:third], requests[len(requests) - third :]


def _median(requests: Iterable[RequestResult], name: str) -> float | None:
    import numpy as np

    values = [value for request in requests if request.ok and (value := _metric(request, name)) is not None]
    return float(np.median(values)) if values else None


def _invalid(
    result: LoadResult, timed: Sequence[RequestResult], lags: Sequence[float] | None, client_cpu: float
) -> str | None:
    if not result.measured:
        return "no measured request was sent"
    reasons = []
    if lags:
        allowed = max(LATE, LATE_SHARE * (_median(timed, "ttft") or 0.0))
        late = sum(lag > allowed for lag in lags)
        if late > max(1, MAY_BE_LATE * len(lags)):
            reasons.append(
                f"the client could not keep its schedule: {late} of {len(lags)} requests were sent more "
                f"than {allowed * 1e3:.3g} ms late (p99 {_percentiles(lags)['p99'] * 1e3:.3g} ms), which is "
                "in their latencies; ask for fewer requests a second, or leave the client a core of its own"
            )
    if client_cpu > BUSY:
        spoiled = "send times" if result.stamps == "kernel" else "send times and latencies"
        reasons.append(
            f"the client used {client_cpu:.0%} of its core: its own lateness is in the {spoiled}; ask for "
            "fewer requests at once, or leave the client a core of its own"
        )
    return "; ".join(reasons) or None


def _client_cpu(result: LoadResult, start: int, end: int) -> float:
    """Share of one core in the window; the level's CPU time counts by the chunks that came in it."""
    times = [time for r in result.requests if r.timeline is not None for time in r.timeline.token_times]
    inside = sum(start <= time <= end for time in times)
    if not inside:
        return min(1.0, result.cpu / (max(result.ended - result.started, 1) * NANO))
    return min(1.0, result.cpu * inside / len(times) / (max(end - start, 1) * NANO))


def _due(request: RequestResult) -> int:
    return request.sent if request.scheduled is None else request.scheduled


def _unserved(request: RequestResult) -> bool:
    return request.failure is not None and (request.failure.kind == "timeout" or request.status in (429, 503))


def _metric(request: RequestResult, name: str) -> float | None:
    compute = METRICS[name].compute
    return None if request.timeline is None or compute is None else compute(request.timeline)


def _meets(request: RequestResult, name: str, limit: float) -> bool:
    value = _metric(request, name)
    return value is None or value <= limit


def _mismatch(request: RequestResult, plan: LoadPlan) -> bool:
    if not plan.params.ignore_eos or not request.ok or request.timeline is None:
        return False
    asked = plan.requests[request.number].max_new_tokens
    return request.token_source == "usage" and request.timeline.output_tokens != asked


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    p50, p99, most = np.percentile(values, (50, 99, 100))
    return {"p50": float(p50), "p99": float(p99), "max": float(most)}

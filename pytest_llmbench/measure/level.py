"""What does a load level amount to?

A level has a beginning, when streams fill up, and an end, when they run empty; what a server does
under load is in between. :func:`summarize_level` finds that window, says what the server did in it,
and whether the client could be believed.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from pytest_llmbench.client.plan import LoadPlan, LoadResult, RequestResult
from pytest_llmbench.errors import UsageError
from pytest_llmbench.measure.facts import Level
from pytest_llmbench.measure.saturation import find_saturation, median_of
from pytest_llmbench.measure.window import RequestArrays, find_window
from pytest_llmbench.metrics.table import METRICS, slo_metrics
from pytest_llmbench.metrics.timeline import FEW, NANO, Timeline, common_untimed

LATE = 0.005
"""Seconds by which a request may be sent late whatever it measures: what a shared core costs at times."""
LATE_SHARE = 0.1
"""The same as a share of the median TTFT: latencies count from when a request was due."""
MAY_BE_LATE = 0.01
"""The share of requests that may be sent later than that."""
BUSY = 0.9
"""Of one core: a client above it reads late and sends late."""
READ_LATE = 0.5
"""Of the time between two chunks: a client that reads so late may read two at a time."""
MAY_BE_TOGETHER = 0.01
"""The share of chunks that a late client may have read together."""

_KINDS = 8
"""So many types of parts without text are told."""


def summarize_level(result: LoadResult, plan: LoadPlan, *, slo: Mapping[str, float] | None = None) -> Level:
    """Sum up *result*, which came of *plan*.

    :param slo: objectives, seconds by metric of :func:`.slo_metrics`.
    :raises UsageError: for an objective that cannot be; see :func:`check_slo`.

    **Window, closed loop.** It begins with the first send that finds ``concurrency`` requests in
    flight, itself included, once as many requests have ended as the warm-up had: its stragglers are a
    load like any other, and with lengths that differ they would use up the level. It ends with the
    first end that no send follows: from there on the load falls. Both allow 5% of a request's
    duration, within which streams in step end together, one being sent again after the other.

    Streams that began together go on in step: all wait for a first token at one time, and decode at
    another. With half a wave at its edge, a window would have the one more often than the other. So
    its end is moved back to the last moment at which tokens that had arrived in it are, to 0.5%, as
    many as if each request had spread its own evenly over its life. That holds for whole waves, and
    nearly everywhere where streams are not in step. A window in which fewer than ``concurrency``
    requests were sent shows no steady state: the whole level after its warm-up is taken.

    Of conversations, so many of these have to be in flight, which they are from their first turn's send to
    their last turn's end: the window ends with the first end of one that no other takes the place of.

    **Window, open loop.** From the first due time of a measured request that comes no sooner after
    the level's first than 95% of the requests take, to the last due time. A server that keeps up has
    then as many requests in flight as it will have: their number depends on the arrivals within one
    request's duration alone (M/G/infinity; Eick, Massey and Whitt 1993). From a due time to a due
    time a window holds whole intervals, of bursts too. If it is shorter than those 95% take, the
    whole level is taken.

    **Throughput.** Output tokens of successful requests, warm-up ones too, that arrived in the window
    (where a chunk had several, in equal shares) over its length; and requests by the share of their
    tokens that did. So whatever reaches over an edge counts on each side for what it did there,
    though a request at the end goes on in a falling load. Tokens that were counted and never sent were
    made before the first chunk, and count with it. Good requests are the successful ones that are known to
    have met every objective; one token has no TPOT and meets any, and so do a few that came at once.

    **Times between tokens.** Where more than a fifth of the window's requests have none, since something
    buffers their streams, those of the others do not represent them: the level has no TPOT, and no goodput by
    it.

    **Saturation**, of an open loop: see :func:`.find_saturation`. A closed loop cannot tell: no more than
    ``concurrency`` requests ever wait.

    **Invalid** is a level whose client spoiled it. In an open loop: more than 1% of the requests, and
    more than one, were sent later than 5 ms and than a tenth of the median TTFT: latencies count from
    when a request was due, so the client's lateness is in each of them. In any loop: the client was
    busy for more than 90% of the window; its CPU time counts by the share of chunks that came then. Or
    it read 1% of the chunks or more together with later ones, and was late enough to be to blame: 1% of
    the segments were read more than 5 ms and half the time between two chunks after their arrival.
    """
    slo = {} if slo is None else slo
    check_slo(slo)
    measured = result.measured
    arrays = RequestArrays(result.requests)
    start, end, why = window = find_window(result, plan, arrays)
    seconds = (end - start) * NANO

    def rate(amount: float) -> float:
        return amount / seconds if seconds else 0.0

    shares = arrays.shares(start, end)
    good = [all(_meets(line, name, limit) for name, limit in slo.items()) for line in arrays.lines]
    inside = [request for request in measured if start <= request.due <= end]
    timed = [request for request in inside if request.ok and request.timeline is not None]
    lines = [request.timeline for request in timed if request.timeline is not None]
    untimed = common_untimed(lines)
    unknown = untimed if "tpot" in slo else None
    chunks = sum(request.chunks or 0 for request in timed)
    client_cpu = _client_cpu(result, start, end)
    together = _read_together(timed)
    saturated, saturation = find_saturation(result, plan, arrays, window)
    lags = None if plan.schedule is None else [(request.send_lag or 0.0) for request in inside]
    return Level(
        start=round((start - result.started) * NANO, 9),
        end=round((end - result.started) * NANO, 9),
        why=why,
        trimmed=(sum(r.due < start for r in measured), sum(r.due > end for r in measured)),
        sent=len(measured),
        successful=sum(request.ok for request in measured),
        failed=dict(Counter(request.failure.kind for request in measured if request.failure is not None)),
        warmup_failed=sum(not request.ok for request in result.requests if request.warmup),
        request_throughput=rate(float(shares.sum())),
        system_throughput=rate(float(shares @ arrays.tokens)),
        goodput=rate(float(shares[good].sum())) if slo and unknown is None else None,
        goodput_unknown=unknown,
        send_lag=_percentiles(lags) if lags else None,
        client_cpu=client_cpu,
        client=result.client,
        tokens_per_chunk=sum(line.shown_tokens for line in lines) / chunks if chunks else None,
        hidden_tokens=sum(r.timeline.hidden_tokens for r in measured if r.ok and r.timeline is not None),
        untimed=untimed,
        buffered=sum(line.untimed == "buffered" for line in lines) / len(lines) if lines else None,
        read_together=together,
        token_sources=dict(Counter(r.token_source for r in measured if r.token_source is not None)),
        ignored_parts=dict(Counter(kind for r in measured for kind in r.ignored_parts).most_common(_KINDS)),
        output_mismatch=sum(_mismatch(request, plan) for request in measured),
        in_flight=arrays.in_flight(start, end),
        conversations_in_flight=arrays.conversations_in_flight(start, end),
        history=None if plan.conversations is None else plan.history,
        abandoned=result.abandoned,
        saturated=saturated,
        saturation=saturation,
        invalid=_invalid(result, timed, lags, client_cpu, together),
    )


def check_slo(slo: Mapping[str, float]) -> None:
    """Refuse objectives that no request can be held to.

    :raises UsageError: for a metric that is not one of :func:`.slo_metrics`, or a limit that is not
        positive.
    """
    for name, limit in slo.items():
        if name not in slo_metrics():
            instead = "; take tpot, the mean of a request's gaps" if name == "itl" else ""
            known = ", ".join(slo_metrics())
            msg = f"slo: {name} has more than one value for each request{instead}. There are {known}"
            raise UsageError(msg)
        if not limit > 0:
            msg = f"slo: {name} needs a limit above 0 seconds, not {limit!r}"
            raise UsageError(msg)


def knee(points: Sequence[tuple[float, float]]) -> int | None:
    """The index of the level from which on more load raises latency more than throughput.

    :param points: (throughput, latency) of each level, by rising load; shape (levels,).

    It is the level of the greatest power, throughput over latency (Giessler et al. 1978; Kleinrock
    1979), which weighs a per cent of the one against a per cent of the other, needs no scale and, in
    a closed loop, by Little's law asks of a doubled concurrency 41% more throughput. None for fewer
    than three levels, for one without throughput or latency, and where the last level has the
    greatest power: the knee lies beyond it then, if anywhere.
    """
    if len(points) < 3 or not all(throughput > 0 and latency > 0 for throughput, latency in points):
        return None
    powers = [throughput / latency for throughput, latency in points]
    best = powers.index(max(powers))
    return best if best < len(points) - 1 else None


def _invalid(
    result: LoadResult,
    timed: Sequence[RequestResult],
    lags: Sequence[float] | None,
    client_cpu: float,
    together: float | None,
) -> str | None:
    if not result.measured:
        return "no measured request was sent"
    client = result.client
    reasons = []
    if lags:
        allowed = max(LATE, LATE_SHARE * (median_of(timed, "ttft") or 0.0))
        late = sum(lag > allowed for lag in lags)
        if late > max(1, MAY_BE_LATE * len(lags)):
            reasons.append(
                f"the client could not keep its schedule: {late} of {len(lags)} requests were sent more "
                f"than {allowed * 1e3:.3g} ms late (p99 {_percentiles(lags)['p99'] * 1e3:.3g} ms), which is "
                "in their latencies"
            )
    if client_cpu > BUSY:
        spoiled = "send times and latencies"
        if client.stamps == "kernel":
            spoiled = f"send times, and in the {together or 0.0:.0%} of chunks that it read with later ones"
        reasons.append(f"the client used {client_cpu:.0%} of its core: its own lateness is in the {spoiled}")
    if client.read_lag is not None and (together or 0.0) > MAY_BE_TOGETHER:
        between = [t for r in timed if (t := _between_chunks(r)) is not None]
        if client.read_lag > max(LATE, READ_LATE * statistics.median(between)):
            reasons.append(
                f"the client read late (p99 {client.read_lag * 1e3:.3g} ms after the arrival), and "
                f"{together:.0%} of the chunks together with later ones, whose arrival they have"
            )
    if not reasons:
        return None
    advice = "ask for a smaller load, or leave the client a core of its own"
    if not client.real_time:
        advice += ", or allow it real-time priority (RLIMIT_RTPRIO)"
    if client.receiver == "python":
        advice += ", or install its part in C, which takes half the CPU and needs Linux and a C compiler"
    return "; ".join([*reasons, advice])


def _between_chunks(request: RequestResult) -> float | None:
    """Seconds, the mean; None for one chunk."""
    times = () if request.timeline is None else request.timeline.token_times
    return (times[-1] - times[0]) * NANO / (len(times) - 1) if len(times) > 1 else None


def _read_together(requests: Sequence[RequestResult]) -> float | None:
    import numpy as np

    steps = [np.diff(r.timeline.token_times) for r in requests if r.timeline is not None]
    apart = np.concatenate(steps) if steps else np.empty(0)
    return float(np.mean(apart == 0)) if apart.size else None


def _client_cpu(result: LoadResult, start: int, end: int) -> float:
    """Share of one core in the window; the level's CPU time counts by the chunks that came in it."""
    cpu = (result.client.cpu or 0.0) / result.client.processes
    times = [time for r in result.requests if r.timeline is not None for time in r.timeline.token_times]
    inside = sum(start <= time <= end for time in times)
    if not inside:
        return min(1.0, cpu / (max(result.ended - result.started, 1) * NANO))
    return min(1.0, cpu * inside / len(times) / (max(end - start, 1) * NANO))


def _meets(line: Timeline, name: str, limit: float) -> bool:
    value = METRICS[name].of(line)
    if value is None:
        return line.untimed is None or line.shown_tokens <= FEW
    return value <= limit


def _mismatch(request: RequestResult, plan: LoadPlan) -> bool:
    if not plan.params.ignore_eos or not request.ok or request.timeline is None:
        return False
    asked = plan.requests[request.number].max_new_tokens
    return request.token_source == "usage" and request.timeline.output_tokens != asked


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    p50, p99, most = np.percentile(values, (50, 99, 100))
    return {"p50": float(p50), "p99": float(p99), "max": float(most)}

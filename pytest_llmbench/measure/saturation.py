"""Did requests come faster than the server ended them?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from pytest_llmbench.client.plan import LoadPlan, LoadResult, RequestResult
from pytest_llmbench.measure.window import STEADY, RequestArrays

OVERLOAD = 0.05
"""The share of requests that must pile up before a level is called saturated."""
SLOWER = 1.2
"""How much longer the last third of the requests must wait, or take a token, than the first."""
_BLOCKS = 20
_IN_A_BLOCK = 10
"""Requests: with fewer, an increment is not a sum of many."""
_FEWEST_BLOCKS = 10
FEWEST_REQUESTS = _FEWEST_BLOCKS * _IN_A_BLOCK
"""Of the window: with fewer it is not told whether a level was saturated."""


def find_saturation(
    result: LoadResult, plan: LoadPlan, arrays: RequestArrays, window: tuple[int, int, str]
) -> tuple[bool | None, str]:
    """Whether requests came faster than the server ended them, and why.

    Three things must hold. *Requests pile up:* those in flight beyond what Little's law asks, which is
    as many as came within what the first third of them took on average, so that a rising rate is
    not an overload. Their growth over the window, cut into 20 blocks of time, is above 0 by Student's t
    over the blocks' increments, at 5%. Increments, and not a line through the numbers in flight:
    those hang together for long, while their increments are independent in the worst case, a server
    at just its capacity, and cancel each other below it. *It matters:* they are 5% of the requests or
    more. *They suffer:* the last third's median TTFT or TPOT is 1.2 times the first third's, or 5%
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
        dues = [request.due for request in result.measured]
        start, end = min(dues, default=start), max(dues, default=end)
    inside = sorted((r for r in result.requests if start <= r.due <= end), key=attrgetter("due"))
    blocks = min(_BLOCKS, len(inside) // _IN_A_BLOCK)
    if blocks < _FEWEST_BLOCKS:
        return (
            None,
            f"it takes {FEWEST_REQUESTS} requests while the load was on, and there were {len(inside)}",
        )
    unserved = np.array([_unserved(request) for request in result.requests])
    edges = np.linspace(start, end, blocks + 1)
    sends = np.sort(arrays.sent)
    ends = np.searchsorted(np.sort(arrays.ended[~unserved]), edges, "right")
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
        return None, f"there is no steady part: {why}"
    # A growth of twice as much on average passes the test 19 times in 20.
    hidden = max(OVERLOAD, 2 * least / len(inside))
    return False, f"{numbers}; an overload of less than {hidden:.0%} might not show in {len(inside)} requests"


def _slower(requests: Sequence[RequestResult]) -> str | None:
    """What became slower from the first third of the requests to the last; None if nothing did."""
    for name in ("ttft", "tpot"):
        first, last = (median_of(part, name) for part in _outer_thirds(requests))
        if first is not None and last is not None and last > SLOWER * first:
            return f"{name} rose from {first:.3g} s to {last:.3g} s"
    return None


def _swamped(requests: Sequence[RequestResult]) -> str | None:
    """How long the last third waited, if that is out of proportion to what the first third took."""
    early, late = _outer_thirds(requests)
    took, waited = median_of(early, "e2e_latency"), median_of(late, "ttft")
    if took is None or waited is None or waited <= 2 * took:
        return None
    return f"the first requests took {took:.3g} s, the last waited {waited:.3g} s for a token"


def _outer_thirds(
    requests: Sequence[RequestResult],
) -> tuple[Sequence[RequestResult], Sequence[RequestResult]]:
    third = len(requests) // 3
    return requests[:third], requests[len(requests) - third :]


def median_of(requests: Iterable[RequestResult], name: str) -> float | None:
    """Of a metric over the successful requests; None where none of them has it."""
    import numpy as np

    values = [value for request in requests if request.ok and (value := request.metric(name)) is not None]
    return float(np.median(values)) if values else None


def _unserved(request: RequestResult) -> bool:
    return request.failure is not None and (request.failure.kind == "timeout" or request.status in (429, 503))

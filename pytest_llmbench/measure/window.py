"""Between which times was the load of a level on?

The rules, and why they are these, are told by :func:`.level.summarize_level`.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from pytest_llmbench.client.plan import LoadPlan, LoadResult, RequestResult
from pytest_llmbench.metrics.timeline import NANO, Timeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEADY = "steady"
"""Why the window is what it is, where it holds the steady part alone."""

_TOGETHER = 0.05
"""Of a request's duration: within it, streams that are in step end together."""
_EVEN = 0.005
"""Of the window's tokens: how much its edges may bias them."""


class RequestArrays:
    """The requests of a level as arrays; times in ns, int64."""

    def __init__(self, requests: Sequence[RequestResult]) -> None:
        import numpy as np

        self.sent = np.array([request.sent for request in requests], dtype=np.int64)
        self.ended = np.array([request.ended for request in requests], dtype=np.int64)
        self.conversations = _spans(requests)
        """When each conversation began and ended, by its beginning."""
        self.done = [request for request in requests if request.ok and request.timeline is not None]
        """The successful ones."""
        self.lines = lines = [request.timeline for request in self.done if request.timeline is not None]
        """Their timelines."""
        self.tokens = np.array([line.output_tokens for line in lines], dtype=np.float64)
        """Of each successful one."""
        chunks = np.array([len(line.token_times) for line in lines], dtype=np.int64)
        self._times = np.array([time for line in lines for time in line.token_times], dtype=np.int64)
        self._owner = np.repeat(np.arange(len(lines)), chunks)
        self._part = np.concatenate([_parts(line) for line in lines]) if lines else np.empty(0)

    def shares(self, start: int, end: int) -> NDArray[np.float64]:
        """The share of its tokens that each successful request brought in the window."""
        import numpy as np

        inside = (self._times >= start) & (self._times <= end)
        shares = np.bincount(self._owner[inside], weights=self._part[inside], minlength=len(self.done))
        return shares.astype(np.float64)

    def in_flight(self, start: int, end: int) -> float:
        """Mean number of requests between their send and their end."""
        return _overlap(self.sent, self.ended, start, end)

    def conversations_in_flight(self, start: int, end: int) -> float | None:
        """Mean number of conversations between their first turn's send and their last turn's end, those that
        think included; None without any."""
        return _overlap(*self.conversations, start, end) if len(self.conversations[0]) else None

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


def _spans(requests: Sequence[RequestResult]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When each conversation's first turn was sent and its last one ended; shape (conversations,) each."""
    import numpy as np

    begun: dict[int, int] = {}
    ended: dict[int, int] = {}
    for request in sorted(requests, key=attrgetter("sent")):
        if (number := request.conversation) is not None:
            begun.setdefault(number, request.sent)
            ended[number] = request.ended
    return np.array([*begun.values()], dtype=np.int64), np.array([ended[n] for n in begun], dtype=np.int64)


def _overlap(begun: NDArray[np.int64], ended: NDArray[np.int64], start: int, end: int) -> float:
    """How many there are at a time on average, from *start* to *end*."""
    import numpy as np

    inside = np.minimum(ended, end) - np.maximum(begun, start)
    return float(inside.clip(min=0).sum()) / max(end - start, 1)


def _parts(line: Timeline) -> NDArray[np.float64]:
    """The share of a request's tokens that each of its chunks stands for; shape (chunks,).

    The first stands for what came with it and for what was made before it and never sent, the others for the
    rest in equal shares.
    """
    import numpy as np

    chunks = len(line.token_times)
    if chunks == 1 or not 0 < line.timed_tokens < line.output_tokens:
        return np.full(chunks, 1.0 / chunks)
    parts = np.full(chunks, line.timed_tokens / line.output_tokens / (chunks - 1))
    parts[0] = 1.0 - line.timed_tokens / line.output_tokens
    return parts


def find_window(result: LoadResult, plan: LoadPlan, arrays: RequestArrays) -> tuple[int, int, str]:
    """The window's start and end, and why it is that."""
    measured = result.measured
    if not measured:
        return result.ended, result.ended, "no measured request was sent"
    found = _closed_window(result, plan, arrays) if plan.schedule is None else _open_window(result, arrays)
    if isinstance(found, str):
        return min(r.due for r in measured), max(r.ended for r in measured), found
    return *found, STEADY


def _closed_window(result: LoadResult, plan: LoadPlan, arrays: RequestArrays) -> tuple[int, int] | str:
    import numpy as np

    streams, of = plan.streams or 1, "requests"
    sends, ends = np.sort(arrays.sent), np.sort(arrays.ended)
    begun, over_at = sends, ends
    if plan.conversations is not None:
        of = "conversations"
        begun, over_at = (np.sort(times) for times in arrays.conversations)
    together = int(_TOGETHER * np.median(arrays.ended - arrays.sent))
    over = min(request.sent for request in result.measured)
    warmup = len(result.requests) - len(result.measured)
    if warmup:
        over = max(over, int(ends[warmup - 1]) - together)
    in_flight = np.searchsorted(begun, sends, "right") - np.searchsorted(over_at, sends - together, "right")
    ready = np.flatnonzero((in_flight >= streams) & (sends >= over))
    enough = f"send {4 * streams} {of} or more"
    if not len(ready):
        return (
            f"there were never {streams} {of} in flight after the warm-up: the whole level counts, with its "
            f"start and its end; {enough}"
        )
    start = int(sends[ready[0]])
    # Each stream's first send follows no end: so many ends at the end are followed by no send.
    end = arrays.even_end(start, int(over_at[len(begun) - streams]))
    inside = sum(start <= request.sent <= end for request in result.measured)
    if inside < streams:
        return (
            f"only {inside} of {len(result.measured)} requests were sent while {streams} {of} were in "
            f"flight: the whole level counts, with its start and its end; {enough}"
        )
    return start, end


def _open_window(result: LoadResult, arrays: RequestArrays) -> tuple[int, int] | str:
    import numpy as np

    dues = np.sort([request.due for request in result.measured])
    lives = [request.ended - request.sent for request in arrays.done]
    if not lives:
        return "no request succeeded: the whole level counts"
    most = float(np.percentile(lives, 95))
    steady = dues[dues >= min(request.due for request in result.requests) + most]
    if not len(steady) or steady[-1] - steady[0] < most:
        return (
            f"95% of the requests took up to {most * NANO:.3g} s, and they were sent within "
            f"{(dues[-1] - dues[0]) * NANO:.3g} s: the whole level counts, with its start and its end; "
            "a longer level has a steady part, or a lower rate if the server is saturated"
        )
    return int(steady[0]), int(steady[-1])

"""Did the chunks of a response come as the server made them, and how many tokens came with the first?

What is between a server and its client may hold the stream back: a reverse proxy passes on 16 KB at a
time, or all of it at the end. The kernel's stamps are then those of the lots, and TPOT would be what is
left of the generation after the first lot. Two things look like it and are none: an engine that sends the
few tokens of a step one after the other, and a client so late that it finds several chunks at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmbench.metrics.timeline import FEW, Untimed

AT_ONCE = 25_000
"""ns between two chunks that are too few for an engine to make a token and send it over HTTP. On a line of
1 Gbit/s or more the segments of one lot lie no further apart."""
AT_ONCE_SHARE = 0.05
"""The same as a share of the request's time over its chunks, which a fast engine's are not far below."""
STEP = 100_000
"""ns that an engine takes at most to send the next token of the same step, as an event of its own."""
STEP_SHARE = 0.15
"""The same as a share of the mean time between two chunks."""
STEPPED = 1.5
"""Chunks a step, on average, by which an engine that takes such steps is known: gaps that are drawn at random
make 1.2."""
IN_TIME = 0.1
"""Of the time between two chunks, within which a client reads that does not find two at once: one that does
finds the later one at any time after its arrival."""


class Arrivals(NamedTuple):
    """The chunks of a response, those together that arrived at one time."""

    lots: int
    """How many such times there are."""
    first: int
    """How many chunks came at the first of them, or in the first step of an engine that makes several."""


def find_arrivals(times: Sequence[int], sent: int) -> Arrivals:
    """When the chunks of a request that was *sent* then arrived; at least one, ns, in order."""
    chunks = len(times)
    alike = min(AT_ONCE, AT_ONCE_SHARE * (times[-1] - sent) / chunks)
    # Segments of a lot that came over a slower line are further apart than their chunks are on average.
    if times[-1] - times[0] <= alike * (chunks - 1):
        return Arrivals(1, chunks)
    lots = _ends(times, alike)
    # An engine writes the tokens of a step one after the other, and each takes it a while.
    steps = _ends(times, min(STEP, STEP_SHARE * (times[-1] - times[0]) / (chunks - 1)))
    stepped = chunks > FEW and STEPPED * len(steps) <= chunks <= FEW * len(steps)
    return Arrivals(len(lots), max(lots[0], steps[0]) if stepped else lots[0])


def _ends(times: Sequence[int], alike: float) -> list[int]:
    """Where a lot ends: of times that are no further apart than *alike*, the index after the last."""
    return [i for i in range(1, len(times)) if times[i] - times[i - 1] > alike] + [len(times)]


def why_untimed(
    times: Sequence[int], sent: int, arrivals: Arrivals, tokens: int, read_lag: int | None
) -> Untimed | None:
    """Why a response has no times between tokens; None if it has.

    :param tokens: how many came.
    :param read_lag: ns from the arrival of a segment to its reading, the median; None if it is not known.

    It was buffered if its chunks arrived in lots of more than :data:`.FEW` on average. What arrived in
    smaller ones keeps its times, so few tokens prove nothing: TPOT leaves the first lot out, without which
    it would be too low by (b - 1) / (n - 1) with b of n tokens in it, and the others are no later than the
    last token of each. A lot that a late client may have made is not held against the server; the level says
    what its client did.
    """
    chunks = len(times)
    if chunks > FEW * arrivals.lots:
        begin, others = (sent, chunks) if arrivals.lots == 1 else (times[0], chunks - arrivals.first)
        if read_lag is None or read_lag <= IN_TIME * (times[-1] - begin) / others:
            return "buffered"
    return "one_arrival" if arrivals.lots == 1 and tokens > 1 else None


def count_first(
    chunks: int,
    tokens: int,
    first: int,
    *,
    told: int | None = None,
    share: float | None = None,
) -> int:
    """How many of a response's *tokens* came with the first of its *chunks*, which are *first* of them.

    :param told: a count from elsewhere; taken where it is possible.
    :param share: of the text, what came with them; taken where no one counted, since tokens are
        of about one length.

    As long as there are no more chunks than tokens, each chunk has one token at least.
    """
    least, most = (first, tokens - (chunks - first)) if chunks <= tokens else (1, tokens)
    if least == most or (told is None and share is None):
        return max(least, 1)
    if told is not None and least <= told <= most:
        return told
    return min(max(round(tokens * (share or 0.0)), least), most)

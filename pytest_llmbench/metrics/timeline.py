"""What happened in one generation, and when?

The timeline is the only primary datum: every latency metric is a function of it. Times are
``time.perf_counter_ns``, which on one machine is the same clock in every process, so that a
worker's times and the hardware sampler's can be held against each other.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pytest_llmbench.processes.wire import Json

NANO = 1e-9

FEW = 8
"""So many tokens of one step an engine may send at once, each in a chunk of its own: speculative decoding
and steps of several tokens do. What comes in larger lots was not sent as it was made."""
MAX_UNTIMED = 0.2
"""The share of generations that may have no times between tokens: with more, the others are not typical."""

Untimed = Literal["buffered", "one_arrival"]
UNTIMED: Mapping[Untimed, str] = {
    "buffered": (
        "chunks arrived many at a time, though the client read in time: something on the way from the "
        "engine buffers the stream, and TTFT is when its first lot came. Look for response buffering in a "
        "reverse proxy or gateway (nginx: proxy_buffering off) and for compression (gzip)"
    ),
    "one_arrival": "all tokens of an answer arrived at once, so that there is no time between them",
}
"""Why a generation has no times between tokens, for a person."""


@dataclass(frozen=True, slots=True, repr=False)
class Timeline:
    """One generation. All times are integers in nanoseconds of the machine's monotonic clock."""

    sent: int
    """The call with text (or messages), before it was tokenized."""
    tokenized: int
    """Prompt token ids known."""
    prefilled: int | None
    """Prompt evaluated, nothing sampled yet; None where the engine cannot tell."""
    token_times: tuple[int, ...]
    """When the host knew each token; shape (output_tokens,)."""
    done: int
    """The call returned."""
    prompt_tokens: int
    output_tokens: int
    output_hash: str
    """``sha256:HEX`` of the output token ids: equal hashes prove equal output."""
    prompt_hash: str
    finish_reason: str
    hidden_tokens: int = 0
    """Of ``output_tokens``, those that were counted and never came, such as reasoning that is not shown."""
    first_tokens: int = 1
    """Of those that came, how many did so at the first of ``token_times``."""
    untimed: Untimed | None = None
    """Why ``token_times`` do not say when the engine had each token, a key of :data:`UNTIMED`; None where
    they do."""

    @property
    def shown_tokens(self) -> int:
        """How many tokens came."""
        return self.output_tokens - self.hidden_tokens

    @property
    def timed_tokens(self) -> int:
        """How many came after the first of ``token_times``."""
        return self.shown_tokens - self.first_tokens

    def __repr__(self) -> str:
        # A failing assert shows it: the times are for those who ask for them.
        times = [*self.token_times[:1], self.done]
        first, *last = (f"{(time - self.sent) * NANO:.3g} s" for time in times)
        when = f"the first after {first}, done after {last[0]}" if last else f"done after {first}"
        return f"<Timeline: {self.output_tokens} tokens, {when}>"

    def to_json(self) -> Json:
        """The timeline as it crosses the worker's socket."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: Json) -> Timeline:
        return cls(**{**data, "token_times": tuple(data["token_times"])})


def gaps(timeline: Timeline) -> list[float]:
    """Seconds between successive token times, of a server between chunks; shape (token_times - 1,).

    None at all where the times are not the engine's.
    """
    times = () if timeline.untimed is not None else timeline.token_times
    return [round((after - before) * NANO, 9) for before, after in pairwise(times)]


def common_untimed(timelines: Iterable[Timeline]) -> Untimed | None:
    """Why none of *timelines* is to have times between tokens; None if they may.

    That is where more than :data:`MAX_UNTIMED` of those with more than :data:`FEW` tokens have none.
    """
    long = [line.untimed for line in timelines if line.shown_tokens > FEW]
    without = Counter(reason for reason in long if reason is not None)
    return without.most_common(1)[0][0] if without.total() > MAX_UNTIMED * len(long) else None


def explain_untimed(why: Untimed) -> str:
    """A reason with its name."""
    return f"{why}: {UNTIMED[why]}"


def by_reason(unknown: Mapping[str, str]) -> dict[Untimed, list[str]]:
    """The metrics that there are not, by why; reasons that this version does not know are left out."""
    found: dict[Untimed, list[str]] = {}
    for name, why in unknown.items():
        for known in UNTIMED:
            if why == known:
                found.setdefault(known, []).append(name)
    return found


def hash_tokens(tokens: list[int] | array[int]) -> str:
    """``sha256:HEX`` over token ids as little-endian 64-bit integers."""
    values = array("q", tokens)
    return "sha256:" + hashlib.sha256(values.tobytes()).hexdigest()


class Recorder:
    """The sink that stamps: two appends a token, nothing else, so that measuring costs nothing."""

    __slots__ = ("_clock", "prefill_cpu", "prefill_time", "times", "tokens")

    def __init__(self) -> None:
        self._clock = time.perf_counter_ns
        self.prefill_time: int | None = None
        self.prefill_cpu: int | None = None
        """CPU time of this process until then, ns."""
        self.times: list[int] = []
        self.tokens: list[int] = []

    def prefilled(self) -> None:
        self.prefill_time = self._clock()
        self.prefill_cpu = time.process_time_ns()

    def token(self, token: int) -> None:
        self.times.append(self._clock())
        self.tokens.append(token)

"""What happened in one generation, and when?

The timeline is the only primary datum: every latency metric is a function of it. Times are
``time.perf_counter_ns``, which on one machine is the same clock in every process, so that a
worker's times and the hardware sampler's can be held against each other.
"""

from __future__ import annotations

import hashlib
import time
from array import array
from dataclasses import dataclass
from typing import Any

NANO = 1e-9


@dataclass(frozen=True, slots=True, repr=False)
class Timeline:
    """One generation. All times are integers in nanoseconds of the machine's monotonic clock."""

    sent: int
    """The call with text (or messages), before it was tokenised."""
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

    def __repr__(self) -> str:
        # A failing assert shows it: the times are for those who ask for them.
        times = [*self.token_times[:1], self.done]
        first, *last = (f"{(time - self.sent) * NANO:.3g} s" for time in times)
        when = f"the first after {first}, done after {last[0]}" if last else f"done after {first}"
        return f"<Timeline: {self.output_tokens} tokens, {when}>"

    def to_json(self) -> dict[str, Any]:
        """The timeline as it crosses the worker's socket."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Timeline:
        return cls(**{**data, "token_times": tuple(data["token_times"])})


def hash_tokens(tokens: list[int] | array[int]) -> str:
    """``sha256:HEX`` over token ids as little-endian 64-bit integers."""
    values = array("q", tokens)
    return "sha256:" + hashlib.sha256(values.tobytes()).hexdigest()


class Recorder:
    """The sink that stamps: two appends a token, nothing else, so that measuring costs nothing."""

    __slots__ = ("_clock", "prefill_time", "times", "tokens")

    def __init__(self) -> None:
        self._clock = time.perf_counter_ns
        self.prefill_time: int | None = None
        self.times: list[int] = []
        self.tokens: list[int] = []

    def prefilled(self) -> None:
        self.prefill_time = self._clock()

    def token(self, token: int) -> None:
        self.times.append(self._clock())
        self.tokens.append(token)

"""What is known of a load level, of a request that failed, and of the turns of a conversation?

Each fact is one field here, and so in the results document; see :mod:`pytest_llmbench.client.facts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmbench.client.facts import ClientFacts, RequestFacts


@dataclass(frozen=True, kw_only=True)
class FailedRequest:
    """A request that failed; it is not a round."""

    kind: str | None
    """Such as ``timeout`` or ``status``: :data:`pytest_llmbench.client.plan.FailureKind`."""
    detail: str | None
    """For a person: the system's or the server's words, trimmed."""
    ended: float
    """Seconds from the level's start until the failure was known."""
    output_tokens: int = 0
    """That had come before."""
    request: RequestFacts


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """What of a prompt lay in a prefix cache; how many tokens, the metrics ``cached_possible`` and
    ``cached_tokens`` say."""

    source: str | None = None
    """Who reported ``cached_tokens``: ``cut``, the engine cut its own cache there; ``usage`` or ``timings``,
    the server's answer; ``counters``, the server's metrics over the request. None: it was not reported."""
    unknown: str | None = None
    """Why it was not reported."""
    break_at: int | None = None
    """Tokens after which the prompt left what the cache held; None where it went on with it, or where the
    ids are not known."""
    cold: bool = False
    """Whether it was to find nothing."""
    depth: int | None = None
    """Tokens that were put there before it: a state that the engine kept, or on a server a request before it.
    None: there were none."""


@dataclass(frozen=True, kw_only=True)
class TurnFacts:
    """Which turn of which conversation a round is."""

    conversation: str
    turn: int
    """From 1."""
    repetition: int
    """From 1: which time the process held the conversation."""
    cache: str
    """``warm``: with what the turn before left in the cache; ``cold``: with nothing."""
    think_time: float = 0.0
    """Seconds from the end of the answer before until it was sent, as asked for."""
    same_output: bool | None = None
    """Whether a warm turn generated what the cold one did; None where that is not known."""
    tie: bool = False
    """Whether it generated something else because two tokens were nearly as likely: nearer than the engine
    rounds from one order of evaluation to another."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What a server did at one load level; seconds, requests/s, tokens/s.

    Rates are those of the window. Counts of requests are those of the whole level without its
    warm-up, so that no failure is trimmed away.
    """

    start: float
    """Seconds from the level's start, warm-up included, to the window's."""
    end: float
    """Likewise, to the window's end."""
    why: str
    """:data:`.window.STEADY`, or why the whole level without its warm-up was taken instead."""
    trimmed: tuple[int, int]
    """Requests that do not belong to the window: due before it, and after it."""
    sent: int
    successful: int
    failed: Mapping[str, int]
    """By the kind of failure."""
    warmup_failed: int
    """How many of the warm-up's requests failed."""
    request_throughput: float
    system_throughput: float
    goodput: float | None
    """None without objectives, and where too many requests cannot be held to them."""
    goodput_unknown: str | None
    """Why it is None although there are objectives."""
    send_lag: Mapping[str, float] | None
    """How late requests were sent: ``p50``, ``p99``, ``max``; None in a closed loop."""
    client_cpu: float
    """Share of one core that the client used, of its processes the mean."""
    client: ClientFacts
    tokens_per_chunk: float | None
    """Of those that came, the mean over the window's requests; None where no token came."""
    hidden_tokens: int
    """Of all successful requests, the tokens that the server counted and never sent."""
    untimed: str | None
    """Why no request has times between tokens: too many of the window's have none; None where they have."""
    buffered: float | None
    """The share of the window's requests whose stream was buffered on its way; None without any."""
    read_together: float | None
    """The share of the window's chunks that have the arrival of the chunk before them: they were sent
    together, or a busy client read them together, and the first of them came sooner. None without two."""
    token_sources: Mapping[str, int]
    """Who counted the tokens of how many requests."""
    ignored_parts: Mapping[str, int]
    """Of content in parts: the types of those without text, and of how many requests they were left out."""
    output_mismatch: int
    """Requests with another number of tokens than was asked for, by the server's own count, while the
    end of sequence was to be ignored."""
    in_flight: float
    """Mean number of requests, warm-up and failed ones too."""
    conversations_in_flight: float | None = None
    """Mean number of conversations, those that think included; None without any."""
    history: str | None = None
    """Whose answers the turns of conversations have before them: those that were given beforehand
    (``recorded``), or the server's own (``live``), whose requests the client writes while the level runs."""
    abandoned: int = 0
    """Turns that were not sent because one before them failed."""
    saturated: bool | None
    """Whether requests came faster than the server ended them; None where it cannot be told."""
    saturation: str
    """Why."""
    invalid: str | None
    """Why the figures are not the server's, and what to do; None if they are."""
    server_metrics: Mapping[str, float | None] | None = None
    """What the server counted of itself meanwhile; a value is None where it does not say, or where its
    counter shrank."""
    advice: str | None = None
    """What may help against the failures; None where nothing is known to."""
    energy: float | None = None
    """Joules of the whole level; None where no counter can be read."""

    def window(self, started: int) -> tuple[int, int]:
        """ns: the window of this level, which started then."""
        return started + round(self.start * 1e9), started + round(self.end * 1e9)

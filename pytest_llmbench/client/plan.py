"""What is sent to a server and when, and what came back?

These cross the socket between pytest and the load client's process as JSON. Times of results are
integer nanoseconds of ``time.perf_counter_ns``; times of a plan are seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.facts import ClientFacts, RequestFacts
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.servers.endpoint import Endpoint
from pytest_llmbench.workloads.messages import Message

FailureKind = Literal[
    "resolve",
    "refused",
    "tls",
    "timeout",
    "reset",
    "status",
    "error_in_stream",
    "truncated",
    "malformed",
    "too_large",
    "empty",
]
Receiver = Literal["native", "python"]
History = Literal["recorded", "live"]
"""Whose answers a turn has before it: those of its messages, or the server's own."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; either a ``prompt`` or ``messages``, which are all that its turn has before it."""

    max_new_tokens: int
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    follows: int | None = None
    """The number of the request before it in its conversation, after whose end it is sent; None where it is
    the first. At most one follows each."""
    think_time: float = 0.0
    """Seconds from the end of the answer before until it is sent."""
    conversation: int | None = None
    """From 1; None where it is of none."""
    turn: int | None = None
    """From 1. The first that is sent of a conversation need not be its turn 1."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One load level: closed loop with ``concurrency`` or ``conversations``, open loop with ``schedule``."""

    endpoint: Endpoint
    requests: tuple[Request, ...]
    """In the order in which they are sent, warm-up first; conversation after conversation, each of which
    begins in this order. Their number bounds the level."""
    params: GenerationParams
    concurrency: int | None = None
    """Closed loop: so many requests at once, or at most; the next is sent when one has ended."""
    conversations: int | None = None
    """Closed loop: so many conversations at once, those that think included; the next begins when one has
    ended. None for as many as there are requests at once."""
    history: History = "recorded"
    schedule: tuple[float, ...] | None = None
    """Open loop: when each request is due, in seconds since the start; shape (requests,)."""
    duration: float | None = None
    """Seconds after the first measured request after which none is sent any more."""
    warmup: int = 0
    """How many of the requests come first and are not measured; the load does not pause after them."""
    timeout: float = 600.0
    """Seconds for one request, from its send to its end."""
    retries: int = 0
    """How often a request is sent again after 429 or 503, no sooner than ``Retry-After`` says."""
    memory: int | None = None
    """Bytes that all its responses may have together; None for as much as :func:`.room.room_for` finds."""

    @property
    def at_once(self) -> int | None:
        """The most requests that can be on their way at a time; None in an open loop."""
        return min(filter(None, (self.concurrency, self.conversations)), default=None)

    @property
    def streams(self) -> int | None:
        """How many conversations there are at once, or requests without any; None in an open loop."""
        return self.conversations or self.concurrency

    def to_json(self) -> Json:
        """The plan as it crosses the socket: of a turn, what the turn before it has not said already."""
        data = dataclasses.asdict(dataclasses.replace(self, requests=()))
        data["requests"] = sent = []
        for request in self.requests:
            one = dataclasses.asdict(dataclasses.replace(request, messages=None))
            if request.messages is not None:
                before = () if request.follows is None else self.requests[request.follows].messages or ()
                one["same"] = same = _in_common(before, request.messages)
                one["messages"] = request.messages[same:]
            sent.append(one)
        return data

    @classmethod
    def from_json(cls, data: Json) -> LoadPlan:
        requests: list[Request] = []
        for one in data["requests"]:
            if (messages := one["messages"]) is not None:
                same, follows = one.pop("same"), one["follows"]
                before = () if follows is None else requests[follows].messages or ()
                one["messages"] = (*before[:same], *messages)
            requests.append(Request(**one))
        return cls(
            **{
                **data,
                "endpoint": Endpoint(**data["endpoint"]),
                "requests": tuple(requests),
                "params": GenerationParams(**data["params"]),
                "schedule": None if data["schedule"] is None else tuple(data["schedule"]),
            }
        )


def _in_common(one: Sequence[Message], other: Sequence[Message]) -> int:
    """How many messages both begin with."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request did not succeed."""

    kind: FailureKind
    detail: str
    """For a person: the system's or the server's words, trimmed; never a key."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass(frozen=True, kw_only=True)
class RequestResult(RequestFacts):
    """One request as it happened: what the document keeps of it, and what else the client's process knows."""

    warmup: bool
    sent: int
    """ns: just before the request's first byte was handed to the kernel (the last attempt's)."""
    ended: int
    """ns: the response was complete, or the failure was known."""
    scheduled: int | None = None
    """ns: when it was due; None in a closed loop."""
    failure: Failure | None = None
    timeline: Timeline | None = None
    """Its ``sent`` is ``scheduled`` in an open loop. ``token_times`` has the arrival of each chunk that
    brought tokens, shape (chunks,), and may be shorter than ``output_tokens``. A request that failed
    keeps what had come; None if nothing had."""
    text: str | None = None
    """The output; kept for the first measured request only."""
    answer: str | None = None
    """What of it is not reasoning; kept likewise."""
    answer_ids: tuple[int, ...] | None = None
    """The token ids of the output, where the server sends all of them; kept likewise."""

    @property
    def ok(self) -> bool:
        return self.failure is None

    @property
    def due(self) -> int:
        """ns: when it was scheduled; in a closed loop, when it was sent."""
        return self.sent if self.scheduled is None else self.scheduled

    def metric(self, name: str) -> float | None:
        """A metric of its timeline, in the metric's unit; None where it has none."""
        return None if self.timeline is None else METRICS[name].of(self.timeline)

    def to_json(self) -> Json:
        """The result as it crosses the socket."""
        data = dict(vars(self))
        data["timeline"] = None if self.timeline is None else self.timeline.to_json()
        data["failure"] = None if self.failure is None else dataclasses.asdict(self.failure)
        return data

    @classmethod
    def from_json(cls, data: Json) -> RequestResult:
        timeline, failure = data["timeline"], data["failure"]
        return cls(
            **{
                **data,
                "timeline": None if timeline is None else Timeline.from_json(timeline),
                "failure": None if failure is None else Failure(**failure),
                "ignored_parts": tuple(data["ignored_parts"]),
                "answer_ids": None if data["answer_ids"] is None else tuple(data["answer_ids"]),
            }
        )


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One load level as the client saw it."""

    requests: tuple[RequestResult, ...]
    """Those that were sent, by number."""
    started: int
    """ns: the level's start, warm-up included; a schedule counts from here."""
    ended: int
    """ns: the last request had ended."""
    client: ClientFacts
    abandoned: int = 0
    """Turns that were not sent because one before them failed."""

    @property
    def measured(self) -> Sequence[RequestResult]:
        """The requests that were not warm-up."""
        return [request for request in self.requests if not request.warmup]

    def to_json(self) -> Json:
        """The result as it crosses the socket."""
        return {
            "requests": [request.to_json() for request in self.requests],
            "started": self.started,
            "ended": self.ended,
            "client": vars(self.client),
            "abandoned": self.abandoned,
        }

    @classmethod
    def from_json(cls, data: Json) -> LoadResult:
        requests = tuple(RequestResult.from_json(request) for request in data["requests"])
        client = ClientFacts(**data["client"])
        return cls(requests, data["started"], data["ended"], client, data["abandoned"])

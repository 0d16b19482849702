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


@dataclass(frozen=True, slots=True)
class Request:
    """One request; either a ``prompt`` or ``messages``."""

    max_new_tokens: int
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """One load level: closed loop with ``concurrency``, open loop with ``schedule``."""

    endpoint: Endpoint
    requests: tuple[Request, ...]
    """In the order in which they are sent, warm-up first. Their number bounds the level."""
    params: GenerationParams
    concurrency: int | None = None
    """Closed loop: so many requests at once; the next is sent when one has ended."""
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

    def to_json(self) -> Json:
        """The plan as it crosses the socket."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> LoadPlan:
        return cls(
            **{
                **data,
                "endpoint": Endpoint(**data["endpoint"]),
                "requests": tuple(_request(one) for one in data["requests"]),
                "params": GenerationParams(**data["params"]),
                "schedule": None if data["schedule"] is None else tuple(data["schedule"]),
            }
        )


def _request(data: Json) -> Request:
    messages = data["messages"]
    return Request(data["max_new_tokens"], data["prompt"], None if messages is None else tuple(messages))


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
        }

    @classmethod
    def from_json(cls, data: Json) -> LoadResult:
        requests = tuple(RequestResult.from_json(request) for request in data["requests"])
        return cls(requests, data["started"], data["ended"], ClientFacts(**data["client"]))

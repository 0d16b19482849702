"""What is sent to a server and when, and what came back?

These cross the socket between pytest and the load client's process as JSON. Times of results are
integer nanoseconds of ``time.perf_counter_ns``; times of a plan are seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import NANO, Timeline
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
TokenSource = Literal["usage", "tokenizer", "chunks"]
Stamps = Literal["kernel", "user"]
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

    def to_json(self) -> dict[str, Any]:
        """The plan as it crosses the socket."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoadPlan:
        return cls(
            **{
                **data,
                "endpoint": Endpoint(**data["endpoint"]),
                "requests": tuple(_request(one) for one in data["requests"]),
                "params": GenerationParams(**data["params"]),
                "schedule": None if data["schedule"] is None else tuple(data["schedule"]),
            }
        )


def _request(data: Mapping[str, Any]) -> Request:
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


@dataclass(frozen=True, slots=True)
class RequestResult:
    """One request as it happened."""

    number: int
    """Its place in the plan."""
    warmup: bool
    sent: int
    """ns: just before the request's first byte was handed to the kernel (the last attempt's)."""
    ended: int
    """ns: the response was complete, or the failure was known."""
    scheduled: int | None = None
    """ns: when it was due; None in a closed loop."""
    status: int | None = None
    """HTTP status; None where no response came."""
    failure: Failure | None = None
    timeline: Timeline | None = None
    """Its ``sent`` is ``scheduled`` in an open loop. ``token_times`` has the arrival of each chunk that
    brought tokens, shape (chunks,), and may be shorter than ``output_tokens``. A request that failed
    keeps what had come; None if nothing had."""
    chunks: int = 0
    """Chunks that brought tokens, those of reasoning too."""
    reasoning_chunks: int = 0
    reasoning_tokens: int | None = None
    """As the server counted them; None where it did not say."""
    first_content: int | None = None
    """ns: the first chunk that was not reasoning; None if none came."""
    ignored_parts: tuple[str, ...] = ()
    """Of content in parts: the types of those without text, which were left out."""
    token_source: TokenSource = "usage"
    """Who counted the tokens: the server, the model's tokenizer, or neither (chunks)."""
    attempts: int = 1
    new_connection: bool = False
    """Whether its connection was made for it."""
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

    @property
    def send_lag(self) -> float | None:
        """Seconds by which it was sent later than it was due; None in a closed loop."""
        return None if self.scheduled is None else (self.sent - self.scheduled) * NANO

    def to_json(self) -> dict[str, Any]:
        """The result as it crosses the socket."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        data["timeline"] = None if self.timeline is None else self.timeline.to_json()
        data["failure"] = None if self.failure is None else dataclasses.asdict(self.failure)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RequestResult:
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
    stamps: Stamps
    """Who took the arrival times: the kernel, or the client when it read."""
    stamps_reason: str | None
    """Why some arrivals, or all, are not the kernel's; None if all are."""
    cpu: float
    """Seconds of CPU that the client used between ``started`` and ``ended``."""
    reads: int
    """How often it read from a socket meanwhile."""
    read_lag: float | None = None
    """Seconds within which 99 of 100 segments were read after they had arrived; None for few of them, or
    where only the client took the time of their arrival."""
    receiver: Receiver = "python"
    """What the segments were read with: C, or Python where that was not built."""
    real_time: bool = False
    """Whether the client ran before what is not in real time."""
    processes: int = 1
    """Among how many processes of the client the level was divided."""

    @property
    def measured(self) -> Sequence[RequestResult]:
        """The requests that were not warm-up."""
        return [request for request in self.requests if not request.warmup]

    def to_json(self) -> dict[str, Any]:
        """The result as it crosses the socket."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        data["requests"] = [request.to_json() for request in self.requests]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoadResult:
        requests = tuple(RequestResult.from_json(request) for request in data["requests"])
        return cls(**{**data, "requests": requests})

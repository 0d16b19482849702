"""What is one case: which model, on what, under which load?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pytest_llmbench.cases.target import Target
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.workloads.arrivals import level_label

TargetT_co = TypeVar("TargetT_co", bound=Target, covariant=True)


@dataclass(frozen=True, slots=True)
class LoadLevel:
    """How much a server is asked at a time: a closed loop, an open one, or (neither) a trace's own.

    With ``conversations``, ``concurrency`` is the most requests of theirs that are on their way at a time.
    """

    concurrency: int | None = None
    request_rate: float | None = None
    """Requests a second."""
    conversations: int | None = None

    @property
    def closed(self) -> bool:
        """Whether what is sent next waits for what was sent before."""
        return self.concurrency is not None or self.conversations is not None

    @property
    def label(self) -> str:
        """As :func:`level_label` has it; ``trace`` for a trace's own times."""
        return level_label(self.concurrency, self.conversations, self.request_rate) or "trace"


@dataclass(frozen=True, slots=True)
class Case(Generic[TargetT_co]):
    """What ``llm_model``, ``llm_load`` or ``llm_server`` stands for in one test."""

    target: TargetT_co
    spec: ModelSpec
    """Of a server that runs already, the name that it has for the model; empty for the only one it has."""
    load: LoadLevel | None = None
    """None where the model is asked one thing at a time."""

    @property
    def id(self) -> str:
        """What test ids call it: ``llamacpp-tiny-q8_0``, ``server-c8``, ``vllm-tiny-r2.5``."""
        parts = [self.target.label, self.spec.label, "" if self.load is None else self.load.label]
        return "-".join(part for part in parts if part)

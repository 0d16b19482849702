"""What matters to a chatbot, to a batch, at the edge?

One row a use case: limits that hold and weights of what counts beyond them, where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

UseName = Literal["chatbot", "batch", "edge", "rag", "agent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One use case."""

    description: str
    slo: Mapping[str, str] = field(default_factory=dict)
    """Limits by metric."""
    weights: Mapping[str, float]
    """By criterion."""
    source: str
    """Where the limits come from."""


USES: Mapping[UseName, Use] = {
    "chatbot": Use(
        description="a person reads along: the first word soon, and faster than one reads",
        slo={"ttft": "p95<500ms", "tpot": "p95<50ms"},
        weights={"ttft": 2, "tpot": 1, "cost": 1, "quality": 1},
        source="near MLPerf Inference v5.0, Llama 2 70B Interactive: 450 ms and 40 ms at the 99th percentile",
    ),
    "batch": Use(
        description="no person waits: what it costs, and how much comes out",
        weights={"cost": 3, "throughput": 1, "quality": 1},
        source="MLPerf Inference, scenario Offline, which limits no latency",
    ),
    "edge": Use(
        description="a small machine that answers one at a time: memory and energy count",
        slo={"tpot": "p95<200ms"},
        weights={"memory": 2, "energy": 1, "ttft": 1, "quality": 1},
        source="MLPerf Inference, Llama 2 70B Server: 200 ms a token, about 240 words a minute",
    ),
    "rag": Use(
        description="documents stand before each question: long prompts, and a person waits",
        slo={"ttft": "p95<2s", "tpot": "p95<200ms"},
        weights={"ttft": 2, "cost": 1, "quality": 2},
        source="MLPerf Inference, Llama 2 70B Server: 2 s and 200 ms at the 99th percentile",
    ),
    "agent": Use(
        description="steps that wait for one another: the whole answer has to be there",
        slo={"e2e_latency": "p95<30s"},
        weights={"latency": 2, "cost": 1, "quality": 2},
        source="what tools for agents give a step before they try again; set your own",
    ),
}

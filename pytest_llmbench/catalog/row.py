"""What is one configuration of a catalog?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pytest_llmbench.results.records import DEFAULT_MEASUREMENT

STATISTICS = ("median", "p90", "p95", "p99", "mean", "stddev", "n", "processes")
"""Of a metric, that a catalog has. The median is the one that comparisons take, where there is one: it leaves
out what other load disturbed."""
MOST = 200_000
"""Configurations; more are refused rather than half read."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration, and the case that measured it."""

    case: int
    """Of the index."""
    session: str
    position: int
    """Of the case in its document."""
    nodeid: str
    workload: str
    """What was asked, whatever the load; see :class:`pytest_llmbench.results.index.facts.CaseFacts`."""
    test: str
    """Its name, for a person."""
    model: str
    quantization: str | None
    engine: str
    engine_version: str | None
    hardware: str | None
    count: int
    market: str | None
    load: str | None
    """``c8``, ``r2.5``; None where one thing was asked at a time."""
    measured: datetime
    prompt_tokens: int | None
    output_tokens: int | None
    machine: str | None
    spoiled: str | None = None
    """Why its times are uncertain: what other load did while it was measured; None for nothing."""

    @property
    def label(self) -> str:
        """What a person calls it: ``tiny q8_0, llamacpp, L4x2, c8``."""
        model = " ".join(part for part in (self.model, self.quantization) if part)
        devices = self.hardware and (self.hardware if self.count == 1 else f"{self.hardware}x{self.count}")
        return ", ".join(part for part in (model, self.engine, devices, self.load) if part)


def name_of_test(nodeid: str, measurement: str) -> str:
    """What a person calls the test of a case: its name, and that of one of several measurements."""
    name = nodeid.partition("[")[0].rpartition("::")[2]
    return name if measurement == DEFAULT_MEASUREMENT else f"{name} {measurement}"

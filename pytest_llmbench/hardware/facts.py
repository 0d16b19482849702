"""What is known of what the machine did over a span?

Each fact is one field here, and so in the results document; see :mod:`pytest_llmbench.client.facts`. SI
units; what could not be read is None, and ``unavailable`` has the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Energy:
    """Energy between two moments."""

    joules: float | None
    """Sum of the domains; None where nothing could be read."""
    method: str | None
    """``nvml_counter``, ``rapl`` or ``power_integral``; several are joined with ``+``."""
    reason: str | None
    """Why there is none, or what is missing."""
    domains: Mapping[str, float]
    """``gpuN`` (the whole card) and ``packageN`` (the processor), joules each."""


@dataclass(frozen=True)
class Assessment:
    """Whether the load of others disturbed a span."""

    codes: tuple[str, ...] | None
    """The reason codes of :data:`.disturbance.BOUNDS`; empty if nothing did. None where that is not known."""
    figures: Mapping[str, float | None]
    """By which they were judged; None where a figure could not be read."""
    seconds: float
    """What the judgment rests on."""
    unknown: str | None = None
    """Why nothing can be said of the span as a whole, if so; what was seen in a part of it holds."""


@dataclass(frozen=True, kw_only=True)
class HardwareSummary:
    """What happened between two moments."""

    duration: float
    """Seconds."""
    samples: int
    """Beats of the sampler in the span."""
    rate: float
    """Beats a second."""
    values: Mapping[str, Mapping[str, float]]
    """Field to ``mean`` and ``max`` over the beats of the span, or over the beat nearest to it where it is
    too short to have one. Fields and units: :mod:`.probes`, :func:`.series.rows`."""
    held_back: Mapping[str, tuple[str, ...]]
    """What lowered the clocks, by name: ``gpuN`` (NVML's event reasons, idling left out), ``pi``."""
    energy: Energy
    peak_rss: int | None
    """Bytes: the largest of the span, of the followed processes; how it is known is in ``methods``."""
    peak_vram: int | None
    """Bytes, likewise."""
    disturbance: Assessment
    unavailable: Mapping[str, str]
    """Field, or whole source, to the reason why it is not read."""
    methods: Mapping[str, str]
    """How a figure is known."""
    sampler_cpu: float | None
    """Seconds of CPU that the sampler itself has used since it began."""
    missed_beats: int | None
    """Since it began."""

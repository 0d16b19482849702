"""What of a measurement can have values: a round, a process, a case?

Live ones, while they are measured, and stored ones, as a document has them, answer alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pytest_llmbench.hardware.facts import HardwareSummary
from pytest_llmbench.metrics.timeline import Timeline


class RoundPart(Protocol):
    """One measured repetition, live or stored."""

    @property
    def counted(self) -> bool:
        """Whether it is part of the metrics."""
        ...

    @property
    def gaps(self) -> Sequence[float]:
        """Seconds between successive token times; shape (token times - 1,), or (0,) without known times."""
        ...

    def value(self, metric: str) -> float | None:
        """Its value of a metric of a round; None where it has none."""
        ...


class ProcessPart(Protocol):
    """One process or load level, live or stored."""

    @property
    def rounds(self) -> Sequence[RoundPart]: ...

    def value(self, metric: str) -> float | None:
        """Its own value of a metric; None where it has none, as mostly of one of rounds or gaps."""
        ...


class CasePart(Protocol):
    """All that one measurement yielded, live or stored."""

    @property
    def processes(self) -> Sequence[ProcessPart]: ...

    def value(self, metric: str) -> float | None:
        """Its value of a metric of a case; None where it has none."""
        ...


class MeasuredRound(RoundPart, Protocol):
    """A round while it is measured: what a metric of a round can be made from."""

    @property
    def timeline(self) -> Timeline: ...

    @property
    def instructions(self) -> int | None:
        """That the engine's process ran in user space."""
        ...


class MeasuredProcess(ProcessPart, Protocol):
    """A process or load level while it is measured: what a metric of one can be made from."""

    @property
    def pid(self) -> int: ...

    @property
    def engine(self) -> Mapping[str, object]:
        """What the engine said of its load: threads, device, context, ..."""
        ...

    @property
    def versions(self) -> Mapping[str, str]: ...

    @property
    def hardware(self) -> HardwareSummary | None:
        """Summary of the hardware samples over its rounds, where its rounds are over."""
        ...

    @property
    def rounds(self) -> Sequence[MeasuredRound]: ...


class MeasuredCase(CasePart, Protocol):
    """A case while it is measured: what a metric of one can be made from."""

    @property
    def processes(self) -> Sequence[MeasuredProcess]: ...

"""What can a comparison say, and what does it say it with?"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pytest_llmbench.metrics.row import Better
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.processes.wire import Json


class Verdict(StrEnum):
    """The answer of the gate for one metric of one case, or for a whole case."""

    PASS = "pass"
    """Not slower than the threshold allows, beyond doubt."""
    FAIL = "fail"
    """Slower, beyond doubt and beyond the threshold."""
    INCONCLUSIVE = "inconclusive"
    """The data can say neither; more of it may."""
    INVALID = "invalid"
    """The measurement itself was spoiled: too much disturbed, or not the same work."""
    NEW = "new"
    """Nothing to compare with."""


# The worst first: a case is what its worst metric is.
_ORDER = (Verdict.FAIL, Verdict.INVALID, Verdict.INCONCLUSIVE, Verdict.NEW, Verdict.PASS)


@dataclass(frozen=True)
class Judgment:
    """The verdict on one metric, with everything that it stands on.

    Changes are relative and oriented so that positive is worse: 0.05 is 5% slower for a latency
    and 5% fewer tokens a second for a throughput. ``base`` and ``now`` are in the metric's unit.
    """

    metric: str
    verdict: Verdict
    method: str
    """How it was judged: ``signed-rank``, ``prediction``, ``single-session``, ``exact``,
    ``exceedance`` or ``limit``."""
    base: float | None = None
    now: float | None = None
    change: float | None = None
    low: float | None = None
    """Lower end of the change's two-sided confidence interval; None where there is none."""
    high: float | None = None
    confidence: float | None = None
    """Of the interval, such as 0.95."""
    threshold: float | None = None
    """The relative change that is allowed; None for an absolute limit."""
    n: int = 0
    """Pairs, or processes of the new side."""
    dropped: int = 0
    """Pairs or processes left out because the machine was disturbed."""
    detectable: float | None = None
    """The smallest change that this data could have called a failure with a power of 80%."""
    p: float | None = None
    reason: str | None = None
    """In words: why it is inconclusive or invalid, and what would decide it."""
    improved: bool = False
    """Faster than the threshold, beyond doubt."""
    details: Json = field(default_factory=dict)

    @property
    def better(self) -> Better:
        return METRICS[self.metric].better


def worst(verdicts: list[Verdict]) -> Verdict:
    """What a whole case is, of what its metrics are; ``new`` for none."""
    return next((v for v in _ORDER if v in verdicts), Verdict.NEW)

"""What can a comparison say, and what does it say it with?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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


UNDECIDED = frozenset({Verdict.INCONCLUSIVE, Verdict.INVALID})
"""What says neither that it is slower nor that it is not."""
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
    noise: Mapping[str, int] | None = None
    """Reason codes of other load, and how many of the ``n`` they disturbed, where these were used all the
    same: the verdict is *noisy*. None where none was."""
    stands_for: tuple[str, ...] = ()
    """Metrics of the wall's clock that noise left undecided, and for which this one was judged."""
    decided_by: str | None = None
    """Of a metric that noise left undecided: the one of the CPU's clock that has a verdict instead."""
    details: Json = field(default_factory=dict)

    @property
    def better(self) -> Better:
        return METRICS[self.metric].better


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """What a whole case is, of what its metrics are; ``new`` for none."""
    found = set(verdicts)
    return next((v for v in _ORDER if v in found), Verdict.NEW)


def verdicts_of(judgments: Iterable[Judgment]) -> list[Verdict]:
    """The verdicts that count for a whole case: of a metric that another one decides, the other's."""
    return [one.verdict for one in judgments if one.decided_by is None]


def with_cpu_time(
    wall: Sequence[Judgment], cpu: Sequence[Judgment], undecided: Collection[str]
) -> tuple[Judgment, ...]:
    """The judgments by the wall's clock, and beside them those by the CPU's that stand for some.

    A metric that noise left undecided is decided by its own of the CPU's clock if that one is ``pass`` or
    ``fail``.

    :param undecided: the metrics of *wall* that noise left undecided. What is ``invalid`` for another reason,
        such as that it was not measured, stays so.
    """
    by_name = {one.metric: one for one in cpu}
    told: list[Judgment] = []
    stands_for: dict[str, list[str]] = {}
    for one in wall:
        other = by_name.get(METRICS[one.metric].on_cpu or "")
        if other is None or one.metric not in undecided:
            told.append(one)
            continue
        stands_for.setdefault(other.metric, []).append(one.metric)
        decided = other.metric if other.verdict not in UNDECIDED else None
        told.append(replace(one, decided_by=decided))
    beside = [replace(by_name[name], stands_for=tuple(names)) for name, names in stands_for.items()]
    return (*told, *beside)

"""What of a pair is kept, so that the gate can judge it again without the machine?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_llmbench.measure.pairs import MeasuredPair, SideName
from pytest_llmbench.metrics.timeline import Untimed


@dataclass(frozen=True, slots=True)
class KeptValue:
    """One metric of a pair, by the rounds that count: without disturbed ones, or with them."""

    dropped: str | None
    difference: float | None
    base: float | None
    now: float | None


@dataclass(frozen=True, slots=True)
class KeptPair:
    """Answers as the :class:`~pytest_llmbench.measure.pairs.MeasuredPair` did that it was made of."""

    seconds: float
    """That its measurement took, loading and all."""
    invalid: str | None
    incomparable: str | None
    unlike: str | None
    burden: tuple[float, float]
    quiet: Mapping[str, KeptValue]
    """Metric to its values without the disturbed rounds."""
    whole: Mapping[str, KeptValue]
    """And with them."""
    why_unknown: Mapping[str, Untimed | None]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> KeptPair:
        """What :meth:`to_json` told."""
        values = {
            name: {metric: KeptValue(**value) for metric, value in told[name].items()}
            for name in ("quiet", "whole")
        }
        base, now = told["burden"]
        return cls(**{**told, **values, "burden": (base, now)})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def _kept(self, metric: str, *, disturbed: bool) -> KeptValue:
        found = (self.whole if disturbed else self.quiet).get(metric)
        return found or KeptValue(None, None, None, None)

    def dropped(self, metric: str, *, disturbed: bool = False) -> str | None:
        return self._kept(metric, disturbed=disturbed).dropped

    def value(self, side: SideName, metric: str, *, disturbed: bool = False) -> float | None:
        kept = self._kept(metric, disturbed=disturbed)
        return kept.base if side == "base" else kept.now

    def unknown(self, metric: str) -> Untimed | None:
        return self.why_unknown.get(metric)

    def difference(self, metric: str, *, disturbed: bool = False) -> float | None:
        return self._kept(metric, disturbed=disturbed).difference


def keep(pair: MeasuredPair, metrics: Sequence[str], seconds: float) -> KeptPair:
    """What *pair* says of *metrics*; measuring it took so many seconds."""

    def values(*, disturbed: bool) -> dict[str, KeptValue]:
        return {
            metric: KeptValue(
                pair.dropped(metric, disturbed=disturbed),
                pair.difference(metric, disturbed=disturbed),
                pair.value("base", metric, disturbed=disturbed),
                pair.value("now", metric, disturbed=disturbed),
            )
            for metric in metrics
        }

    return KeptPair(
        seconds=seconds,
        invalid=pair.invalid,
        incomparable=pair.incomparable,
        unlike=pair.unlike,
        burden=pair.burden,
        quiet=values(disturbed=False),
        whole=values(disturbed=True),
        why_unknown={metric: pair.unknown(metric) for metric in metrics},
    )

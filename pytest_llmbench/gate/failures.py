"""Did more requests of a load level fail than may?

What was answered while others failed was answered under another load than the level's, so that no
figure of it is what the server does under that load.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Protocol

from pytest_llmbench.measure.facts import FailedRequest, Level
from pytest_llmbench.metrics.units import count, precise_percent


class SentLevel(Protocol):
    """A load level, as it was measured or as a document has it."""

    @property
    def failures(self) -> Sequence[FailedRequest]: ...

    @property
    def rounds(self) -> Sized:
        """One for each request that was answered."""

    @property
    def load(self) -> Level | None: ...


@dataclass(frozen=True, slots=True)
class Allowed:
    """How many requests of a level may fail: a share of those that were sent, or a number."""

    share: float | None = None
    number: int | None = None

    def __str__(self) -> str:
        return str(self.number) if self.share is None else f"{self.share * 100:g}%"

    @property
    def words(self) -> str:
        """What a person reads."""
        if self.share is not None:
            return precise_percent(self.share)
        return count(self.number, "request") if self.number else "none"

    def exceeded(self, failed: int, sent: int) -> bool:
        """Whether more failed than may."""
        return failed > (self.number or 0 if self.share is None else self.share * sent)


def parse_allowed(value: object) -> Allowed:
    """``1%`` or 0.01 for a share, 3 for a number of requests; 0 allows none.

    :raises ValueError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    text = str(value).strip()
    if text.isdecimal():
        return Allowed(number=int(text))
    share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    # 1.5 may be meant as a number, and 1 as a share: neither is guessed.
    if not (math.isfinite(share) and share >= 0 and (share <= 1 if text.endswith("%") else share < 1)):
        raise ValueError
    return Allowed(share=share)


def kinds(failures: Iterable[FailedRequest]) -> str:
    """``12 HTTP 503, 7 timeout``: what failed how often, the most frequent first."""
    counted = Counter(
        f"HTTP {failure.request.status}" if failure.kind == "status" else str(failure.kind)
        for failure in failures
    )
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counted.items(), key=lambda one: (-one[1], one[0])))


def why_failed(levels: Iterable[SentLevel], allowed: Allowed) -> str | None:
    """What to say of the first of *levels* of which too many requests failed; None if there is none.

    Its first line says it all, for a list of failures.
    """
    for level in levels:
        failed, sent = len(level.failures), len(level.failures) + len(level.rounds)
        if level.load is None or not allowed.exceeded(failed, sent):
            continue
        first = level.failures[0]
        example = first.detail or first.kind or "no reason"
        lines = [
            f"{failed} of {count(sent, 'request')} failed; {allowed.words} may fail",
            f"  how       {kinds(level.failures)}",
            f"  such as   {example}",
        ]
        if before := level.load.warmup_failed:
            lines.append(f"  before    {count(before, 'warm-up request')} failed too")
        if level.load.advice:
            lines.append(f"  to do     {level.load.advice}")
        lines += [
            "  so        the others ran under less load than the level says: no figure of this level",
            "            is what the server does under it",
            "  allowed   by failures= of the marker, --llm-max-failures or the ini option llm_failures",
        ]
        return "\n".join(lines)
    return None

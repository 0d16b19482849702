"""Is the new side slower than the base, judged by pairs of processes?

The pairs come one after the other, and most cases need few of them: the data is looked at after 8,
12, 20 and 32 pairs. What keeps this honest:

- Each pair's order was drawn by a fair coin, so that under "no change" each difference is as likely
  positive as negative whatever the machine did meanwhile; the signed-rank test is then exact.
- ``fail`` takes two things at once. The change exceeds the threshold: H0 "effect <= threshold", at
  ``case_alpha`` (1%). And something changed at all: H0 "effect <= 0", at ``alpha / comparisons``,
  so that a whole session in which nothing changed fails anywhere with at most ``alpha`` (5%;
  Bonferroni). Both levels are spent over the looks in fixed shares, whose sum they are.
- The first look can end a case but not fail it. Stopping early *without* failing only takes chances
  to fail away, so the pairs of the first look are used again in the later ones (a non-binding
  futility bound: Jennison and Turnbull 2000, section 4.8). Fresh pairs would be as honest, and
  weaker.
- ``pass`` means that the 95% interval lies below the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, stdev

from pytest_llmbench.gate.statistics import (
    Estimate,
    hodges_lehmann,
    signed_rank,
    smallest_detectable,
    t_quantile,
    to_change,
    to_log,
)
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import count, precise_percent
from pytest_llmbench.results.verdict import Judgment, Verdict

CASE_ALPHA = 0.01
"""The chance to fail a case whose change is just the threshold."""
MAX_DROPPED = 0.2
"""The share of pairs that may be dropped as disturbed before a case is invalid."""
DEFAULT_SCREEN = 8
"""Pairs until the first look."""


@dataclass(frozen=True, slots=True)
class Look:
    """When to look, and the p values that it takes to fail."""

    pairs: int
    beyond: float
    """For "the effect is at most the threshold"."""
    changed: float
    """For "the effect is at most 0"."""


Looks = tuple[tuple[int, ...], tuple[float, ...]]
LOOKS: Looks = ((12, 20, 32), (0.1, 0.8, 0.1))
"""After how many pairs it is looked, and the share of the error that each look may use."""
LONG_LOOKS = (64, 128, 256, 512)
"""Further ones, where a budget has room for them."""
MANY = LONG_LOOKS[-1]
"""More pairs than this are not asked for in a reason: the change is about the threshold itself."""


def looks_until(pairs: int) -> Looks:
    """The looks of a session that may take so many pairs.

    Where there are further ones, the three first keep most of the error: most cases are decided by them.
    """
    further = tuple(look for look in LONG_LOOKS if look < pairs) + ((pairs,) if pairs > LOOKS[0][-1] else ())
    if not further:
        return LOOKS
    return (*LOOKS[0], *further), (0.1, 0.5, 0.1, *(0.3 / len(further) for _ in further))


class PairedTest:
    """The sequential decision on one metric of one case; feed it pairs until :attr:`needs_more` is 0.

    ``looks`` are total numbers of pairs, those of the screen among them; ``spend`` is the share of
    the error against the threshold that each may use; the error against "no change" is spread evenly,
    since that test is rarely the one in the way. ``budget``, a number of pairs, cuts the plan
    short: the last look is then there and gets all that is left. ``comparisons`` is the number of gated noisy
    metrics in the session. Metrics of one case share their pairs: a test that has decided ignores
    what comes later.

    :raises ValueError: for looks, shares or levels that are not possible.
    :raises UsageError: for a threshold that is not possible, such as 100% of a throughput.
    """

    def __init__(
        self,
        threshold: float,
        *,
        metric: str = "tpot",
        alpha: float = 0.05,
        case_alpha: float = CASE_ALPHA,
        comparisons: int = 1,
        screen: int = DEFAULT_SCREEN,
        looks: Sequence[int] = LOOKS[0],
        spend: Sequence[float] = LOOKS[1],
        suspicious: float = 0.5,
        confidence: float = 0.95,
        budget: int | None = None,
    ) -> None:
        sizes = (screen, *looks)
        if sorted(set(sizes)) != list(sizes) or screen < 1 or len(spend) != len(looks):
            msg = f"looks must rise from the screen on, with a share for each: {sizes}, {tuple(spend)}"
            raise ValueError(msg)
        if min(spend) < 0 or sum(spend) > 1 + 1e-9 or comparisons < 1 or not 0 < alpha < 1:
            msg = f"cannot spend {tuple(spend)} of an error of {alpha} over {comparisons} comparisons"
            raise ValueError(msg)
        if threshold < 0:
            msg = f"a threshold is how much worse is allowed, so not negative: {threshold}"
            raise ValueError(msg)
        if budget is not None and budget < 1:
            msg = f"a budget of {budget} pairs can decide nothing"
            raise ValueError(msg)
        self.metric = metric
        self.threshold = threshold
        self.differences: list[float] = []
        self.dropped: dict[str, int] = {}
        self._disturbed = 0
        """Of the dropped pairs, how many were disturbed."""
        self._better = METRICS[metric].better
        self._shift = to_log(threshold, self._better)
        self._case_level = min(case_alpha, alpha)
        self._suite_level = min(self._case_level, alpha / comparisons)
        self._suspicious = suspicious
        self._confidence = confidence
        self._bases: list[float] = []
        self._nows: list[float] = []
        even = self._suite_level / len(looks)
        self._plan = [Look(screen, 0.0, 0.0)] + [
            Look(pairs, share * self._case_level, even) for pairs, share in zip(looks, spend, strict=True)
        ]
        if budget is not None and budget < sizes[-1]:
            self._cut([look for look in self._plan if look.pairs < budget], budget)
        self._looked = 0
        self._verdict: Verdict | None = None
        self._p: tuple[float, float] | None = None
        self._reason: str | None = None

    # --- What comes in --------------------------------------------------------------------------

    def add(self, difference: float, base: float | None = None, now: float | None = None) -> None:
        """Take the next pair: its log ratio, positive when the new side is worse.

        *base* and *now* are the pair's values in the metric's unit, for the report alone.

        :raises ValueError: for a difference that is not finite.
        """
        if not math.isfinite(difference):
            msg = f"a pair's difference must be a finite number, not {difference!r}"
            raise ValueError(msg)
        if self._verdict is not None:
            return
        self.differences.append(difference)
        if base is not None and now is not None:
            self._bases.append(base)
            self._nows.append(now)
        if len(self.differences) == self._plan[self._looked].pairs:
            self._look()

    def drop(self, reason: str, *, disturbed: bool = False) -> None:
        """Count a pair that is left out, by why; it is to be replaced.

        The decision must not have seen the pair's difference. More than one in five of the pairs up to the
        next look without a value make the case invalid; of disturbed ones there may be more, as long as they
        are replaced.

        :param disturbed: whether it was disturbed, *reason* being its reason codes.
        """
        if self._verdict is not None:
            return
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        if disturbed:
            self._disturbed += 1
            return
        gone = sum(self.dropped.values()) - self._disturbed
        if gone > MAX_DROPPED * (self._plan[self._looked].pairs + gone):
            why = ", ".join(f"{name} ({n})" for name, n in sorted(self.dropped.items()))
            self.spoil(f"{gone} of {gone + len(self.differences)} pairs have no value of it: {why}")

    def spoil(self, reason: str) -> None:
        """Say that what was measured can tell nothing, whatever it shows."""
        self._verdict, self._reason = Verdict.INVALID, reason

    def take_all(self, pairs: Sequence[tuple[float, float | None, float | None]]) -> None:
        """Go on with these pairs, (difference, base, now), instead of those that were taken so far.

        For a session that ends to leave disturbed pairs out; what made it do so must not have been the
        differences. A look that there are too many pairs for already gives its part of the error to the next
        one, so that no more of it is spent.

        :raises ValueError: as :meth:`add`.
        """
        if self._verdict is not None:
            return
        self.differences, self._bases, self._nows = [], [], []
        self.dropped, self._disturbed = {}, 0
        while self._looked < len(self._plan) - 1 and self._plan[self._looked].pairs < len(pairs):
            late, following = self._plan[self._looked : self._looked + 2]
            self._plan[self._looked : self._looked + 2] = [
                Look(following.pairs, late.beyond + following.beyond, late.changed + following.changed)
            ]
        for difference, base, now in pairs:
            self.add(difference, base, now)

    def finish(self) -> None:
        """Look for the last time, now: for a budget of time that is spent.

        Spends all that is left of the error. Honest as long as the clock, not the differences,
        decided when.
        """
        if self._verdict is None:
            self._cut(self._plan[: self._looked], len(self.differences))
            self._look()

    # --- What it says ---------------------------------------------------------------------------

    @property
    def verdict(self) -> Verdict | None:
        """``pass``, ``fail``, ``inconclusive`` or ``invalid``; None while it is not decided."""
        return self._verdict

    @property
    def looked(self) -> int:
        """How often the pairs were looked at."""
        return self._looked

    @property
    def done(self) -> bool:
        return self._verdict is not None

    @property
    def needs_more(self) -> int:
        """How many pairs until the next look; 0 when the verdict is there."""
        return 0 if self.done else self._plan[self._looked].pairs - len(self.differences)

    def judgment(self) -> Judgment:
        """The verdict with its figures; ``inconclusive`` when more pairs were wanted."""
        n = len(self.differences)
        estimate = hodges_lehmann(self.differences, self._confidence) if n else None
        reason = self._reason
        if self._verdict is None:
            reason = f"stopped after {count(n, 'pair')}; {self.needs_more} more until the next look"
        low, high = self._ends(estimate)
        return Judgment(
            metric=self.metric,
            verdict=self._verdict or Verdict.INCONCLUSIVE,
            base=median(self._bases) if self._bases else None,
            now=median(self._nows) if self._nows else None,
            change=None if estimate is None else to_change(estimate.effect, self._better),
            low=low,
            high=high,
            confidence=None if estimate is None else self._confidence,
            threshold=self.threshold,
            method="signed-rank",
            n=n,
            dropped=sum(self.dropped.values()),
            detectable=self._detectable(),
            p=None if self._p is None else self._p[0],
            reason=reason,
            improved=self._verdict is Verdict.PASS and high is not None and high < -self.threshold,
            details=self._details(estimate),
        )

    # --- Deciding -------------------------------------------------------------------------------

    def _cut(self, kept: list[Look], pairs: int) -> None:
        """End the plan with a look at *pairs* after those *kept*; it gets all that is left of the error."""
        beyond = sum(look.beyond for look in self._plan) - sum(look.beyond for look in kept)
        changed = sum(look.changed for look in self._plan) - sum(look.changed for look in kept)
        self._plan = [*kept, Look(pairs, beyond, changed)]

    def _look(self) -> None:
        look = self._plan[self._looked]
        self._looked += 1
        last = self._looked == len(self._plan)
        if not self.differences:
            self._verdict = Verdict.INCONCLUSIVE
            self._reason = "no pair was measured; the machine or the budget left no room for one"
            return
        beyond = signed_rank(self.differences, self._shift)
        changed = beyond if self._shift == 0 else signed_rank(self.differences)
        self._p = (beyond, changed)
        estimate = hodges_lehmann(self.differences, self._confidence)
        if beyond <= look.beyond and changed <= look.changed:
            self._verdict = Verdict.FAIL
        elif estimate.high < self._shift:
            self._verdict = Verdict.PASS
        elif last or not (beyond <= self._suspicious or self._may_pass(estimate)):
            self._verdict = Verdict.INCONCLUSIVE
            self._reason = self._why(estimate)

    def _may_pass(self, estimate: Estimate) -> bool:
        """Whether the interval may lie below the threshold at the last look.

        Yes if it would with an effect half a standard error better than the estimate.
        """
        spread = self._spread()
        if spread is None:
            return True
        n, last = len(self.differences), self._plan[-1].pairs
        error = spread * math.sqrt(math.pi / 3)
        half = t_quantile((1 - self._confidence) / 2, last - 1) * error / math.sqrt(last)
        return estimate.effect - 0.5 * error / math.sqrt(n) + half < self._shift

    # --- Telling --------------------------------------------------------------------------------

    def _spread(self) -> float | None:
        return stdev(self.differences) if len(self.differences) > 1 else None

    def _ends(self, estimate: Estimate | None) -> tuple[float | None, float | None]:
        if estimate is None:
            return None, None
        return tuple(  # type: ignore[return-value]
            to_change(end, self._better) if math.isfinite(end) else None
            for end in (estimate.low, estimate.high)
        )

    def _detectable(self) -> float | None:
        """The smallest change that these looks find with 80%, at the spread that was seen."""
        spread = self._spread()
        if spread is None or len(self.differences) < 3:
            return None
        df = len(self.differences) - 1

        def least(shift: float, level: float, pairs: int) -> float:
            return smallest_detectable(shift, spread / math.sqrt(pairs), level, df, ranks=True)

        found = [
            max(least(self._shift, look.beyond, look.pairs), least(0.0, look.changed, look.pairs))
            for look in self._plan
            # So few pairs have no p value that is small enough.
            if look.pairs and 0.5**look.pairs <= min(look.beyond, look.changed)
        ]
        if not found:
            return None
        return to_change(
            max(min(found), least(self._shift, self._suspicious, self._plan[0].pairs)), self._better
        )

    def _why(self, estimate: Estimate) -> str:
        """What is in the way of a verdict, and how many pairs would decide it."""
        n = len(self.differences)
        if 0.5**n > (1 - self._confidence) / 2:
            few = f"{count(n, 'pair')} {'is' if n == 1 else 'are'}"
            return f"{few} too few for any verdict; {DEFAULT_SCREEN} or more may decide"
        wanted = self._wanted(estimate)
        where = "above" if estimate.effect > self._shift else "below"
        after = f"not beyond doubt after {count(n, 'pair')}"
        said = f"{where} the threshold of {precise_percent(self.threshold)}, but {after}"
        if wanted is None:
            return f"{said}; it is so close to the threshold that more pairs will hardly decide it"
        return f"{said}; about {wanted} pairs would decide it"

    def _wanted(self, estimate: Estimate) -> int | None:
        """How many pairs would decide if effect and spread stay as they are; None for too many."""
        spread = self._spread()
        gap = abs(estimate.effect - self._shift)
        if spread is None or gap == 0:
            return None
        # Half the time, by its median: the quantile alone, without what a power of 80% adds.
        level = self._case_level / 2 if estimate.effect > self._shift else (1 - self._confidence) / 2
        pairs = math.pi / 3 * (t_quantile(level, math.inf) * spread / gap) ** 2
        return max(math.ceil(pairs), len(self.differences) + 1) if pairs <= MANY else None

    def _details(self, estimate: Estimate | None) -> dict[str, object]:
        details: dict[str, object] = {
            "looks": [look.pairs for look in self._plan],
            "looked": self._looked,
            "level_threshold": self._case_level,
            "level_change": self._suite_level,
        }
        if self._p is not None:
            details["p_change"] = self._p[1]
        if self.dropped:
            details["dropped"] = dict(self.dropped)
        if estimate is not None and self._verdict in (None, Verdict.INCONCLUSIVE):
            details["pairs_wanted"] = self._wanted(estimate)
        return details

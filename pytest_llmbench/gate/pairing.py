"""How many pairs does it take to tell the two sides of an A/B session apart?

Pair after pair is measured until every metric that gates is decided, or the budget is spent. Who measures
them is a :class:`.PairSource`; what they show of each metric is a :class:`.PairedTest`.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.ab import BaseSide
from pytest_llmbench.gate.budget import Budget
from pytest_llmbench.gate.clock import no_cpu_time
from pytest_llmbench.gate.exact import judge_exact
from pytest_llmbench.gate.noise import MOSTLY, OnDisturbed, SpoiledBy, mostly_disturbed, one_sided
from pytest_llmbench.gate.paired import PairedTest, looks_until
from pytest_llmbench.gate.thresholds import (
    ClockChoice,
    Threshold,
    by_clock,
    default_thresholds,
    merge_thresholds,
    on_cpu,
)
from pytest_llmbench.measure.pairs import SIDES, MeasuredPair, PairSource, PairsSource
from pytest_llmbench.measure.run import UNWATCHED, Run
from pytest_llmbench.metrics.row import Scope
from pytest_llmbench.metrics.table import METRICS, chances
from pytest_llmbench.metrics.timeline import UNTIMED, explain_untimed
from pytest_llmbench.metrics.units import count
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.results.verdict import Judgment, Verdict, with_cpu_time

# Of memory, so many values show by how much it varies.
_FEW_PAIRS = 5
# Why a pair has no difference of a metric.
_NO_VALUE = "it was not measured"
_ZERO = "a value of 0 has no relative change"


class Pairing:
    """Measures the cases of one session in pairs, against *base*.

    :param session: the session's id, which tells what the coins show; it is in its document.
    :param cases: how many the session has: they share the chance to fail by noise.
    :param thresholds: what the command line allows.
    :param metrics: what gates where nothing else is said; by default what the table of metrics says.
    :param budget: what one case may cost.
    :param disturbed: what is done with pairs that other load disturbed; see :mod:`.noise`.
    """

    def __init__(
        self,
        base: BaseSide,
        session: str,
        *,
        cases: int = 1,
        thresholds: Sequence[Threshold] = (),
        metrics: Sequence[str] | None = None,
        budget: Budget | None = None,
        disturbed: OnDisturbed = "auto",
    ) -> None:
        self.base = base
        self._coins = random.Random(session)
        self._cases = cases
        self._given = tuple(thresholds)
        self._metrics = metrics
        self._budget = budget or Budget()
        self._disturbed = disturbed

    def coin(self) -> random.Random:
        """The coin of the next measurement in pairs, independent of every other's."""
        return random.Random(self._coins.getrandbits(64))

    def measure(
        self,
        source: PairSource,
        run: Run,
        base_run: Run,
        marker: Sequence[Threshold] = (),
        clock: ClockChoice = "auto",
    ) -> tuple[Judgment, ...]:
        """Measure pairs of both sides. Returns the judgment on each metric that gates.

        :param run: where *source* puts what it measures of the side that is judged; likewise *base_run*.
        :param marker: what the case itself allows.
        :param clock: ``wall`` or ``cpu``; ``auto`` judges the wall's, and adds the CPU's for what noise keeps
            from a verdict.
        :raises UsageError: for a threshold that cannot be judged in pairs.
        :raises LLMBenchError: as *source* does; what was measured until then is in the runs.
        """
        (found,) = self.measure_all(_OneRun(source), [PairedRun(run, base_run, source.scopes)], marker, clock)
        return found

    def measure_all(
        self,
        source: PairsSource,
        runs: Sequence[PairedRun],
        marker: Sequence[Threshold] = (),
        clock: ClockChoice = "auto",
    ) -> list[tuple[Judgment, ...]]:
        """Measure pairs of several runs at once, until each is decided; as :meth:`measure`.

        They share their case's part of the chance to fail by noise.

        :param runs: in the order of what *source* gives. Returns the judgments on each.
        """
        thresholds = by_clock(merge_thresholds(default_thresholds(self._metrics), marker, self._given), clock)
        if tails := [t.name for t in thresholds if t.percentile is not None and t.relative is not None]:
            msg = (
                f"{', '.join(tails)}: a percentile is not judged in pairs; give it a limit "
                "(ttft.p99:<300ms), or compare with stored sessions"
            )
            raise UsageError(msg)
        relative = [t for t in thresholds if t.relative is not None and t.percentile is None]
        spare = on_cpu(thresholds) if clock == "auto" else ()
        judged = [
            [
                [t for t in those if not METRICS[t.metric].exact and METRICS[t.metric].scope in one.scopes]
                for those in (relative, spare)
            ]
            for one in runs
        ]
        chance = sum(len(chances(t.metric for those in one for t in those)) for one in judged)
        most, began = self._budget.most, time.monotonic()
        # Memory and limits have no test that asks for pairs; and what is not gated is measured too.
        others = any(METRICS[t.metric].exact or t.limit is not None for t in thresholds)
        enough = min(_FEW_PAIRS, most) if others else 1
        cases = [
            _Case(one, _Feeds(*([self._feed(t, chance) for t in those] for those in parts)), enough)
            for one, parts in zip(runs, judged, strict=True)
        ]
        over, pairs, seconds = False, 0, 0.0
        while not over and any(case.wants_more for case in cases):
            for case, pair in zip(cases, source.pairs(), strict=True):
                case.take(pair)
            pairs += 1
            seconds = time.monotonic() - began
            over = pairs >= most or seconds >= (self._budget.seconds or math.inf)
        told: Json = {} if not pairs else {"pairs": pairs, "seconds": round(seconds, 3)}
        if source.order is not None:
            told["order"] = source.order
        return [case.judgments(thresholds, relative, clock, told, over=over) for case in cases]

    def _feed(self, threshold: Threshold, chances: int) -> _Feed:
        most = self._budget.most
        looks, spend = looks_until(most)
        test = PairedTest(
            threshold.relative or 0.0,
            metric=threshold.metric,
            comparisons=max(1, self._cases * chances),
            looks=looks,
            spend=spend,
            budget=most,
        )
        return _Feed(test, threshold.asked, self._disturbed, most)


@dataclass(frozen=True, slots=True)
class PairedRun:
    """One of the runs that pairs are measured of."""

    run: Run
    """Of the side that is judged."""
    base: Run
    scopes: tuple[Scope, ...]
    """Of which scopes its pairs have the metrics."""


@dataclass(frozen=True, slots=True)
class _OneRun:
    """A source of the pairs of a single run."""

    source: PairSource

    @property
    def order(self) -> str | None:
        return self.source.order

    def pairs(self) -> list[MeasuredPair]:
        return [self.source.pair()]


@dataclass(slots=True)
class _Case:
    """What pairs show of one run."""

    of: PairedRun
    feeds: _Feeds
    enough: int
    """Pairs that are taken where no test asks for any."""
    invalid: str | None = None
    """Why its sides cannot be compared: then it takes no more."""
    pairs: int = 0

    @property
    def wants_more(self) -> bool:
        if self.invalid is not None:
            return False
        return self.feeds.want_more or (not self.feeds.wall and self.pairs < self.enough)

    def take(self, pair: MeasuredPair) -> None:
        if self.invalid is not None:
            return
        self.pairs += 1
        self.invalid = pair.invalid
        if self.invalid is None:
            self.feeds.take(pair)

    def judgments(
        self,
        thresholds: Sequence[Threshold],
        relative: Sequence[Threshold],
        clock: ClockChoice,
        told: Json,
        *,
        over: bool,
    ) -> tuple[Judgment, ...]:
        """What is to be said of it; *over*: whether the budget is spent."""
        if self.invalid is None and over:
            self.feeds.finish()
        judgments = self.feeds.judgments
        judgments += no_cpu_time(thresholds, judgments, clock, "signed-rank")
        if (invalid := self.invalid) is not None:
            # What failed, failed by the pairs before.
            judgments = tuple(
                j if j.verdict is Verdict.FAIL else replace(j, verdict=Verdict.INVALID, reason=invalid)
                for j in judgments
            )
        judgments = tuple(replace(j, details={**j.details, **told}) for j in judgments)
        run, base_run = self.of.run, self.of.base
        for t in relative:
            if METRICS[t.metric].exact and run.metric(t.metric).n and base_run.metric(t.metric).n:
                base_values, now = base_run.metric(t.metric).values, run.metric(t.metric).values
                found = judge_exact(t.metric, base_values, now, t.relative or 0.0)
                if invalid is not None:
                    found = replace(found, verdict=Verdict.INVALID, reason=invalid)
                judgments = (*judgments, found)
        return judgments


@dataclass(slots=True)
class _Feed:
    """Gives one metric's test the pairs that count for it."""

    test: PairedTest
    asked: bool
    """Whether a person named the metric: it cannot be passed over where it was not measured."""
    disturbed: OnDisturbed
    most: int
    """Pairs that the case may cost."""
    pairs: list[MeasuredPair] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)
    """Reason codes to how many disturbed pairs were used all the same."""
    bad: int = 0
    """How many of the pairs were disturbed."""
    noisy: int = 0
    """How many disturbed pairs were used all the same."""
    spoiled: SpoiledBy | None = None
    """What of the load of others makes it invalid."""
    gone: bool = False
    """Neither side has the metric, and it was not asked for."""

    @property
    def keeps(self) -> bool:
        """Whether disturbed pairs are used."""
        return self.disturbed == "keep"

    @property
    def done(self) -> bool:
        return self.gone or self.test.done

    @property
    def undecided(self) -> bool:
        """Whether it came to its end without a verdict, for noise and not because it has no values."""
        if self.test.verdict is Verdict.INVALID:
            return self.spoiled is not None
        return self.test.verdict is Verdict.INCONCLUSIVE

    def take(self, pair: MeasuredPair) -> None:
        """The next pair."""
        if self.done:
            return
        if (spoiled := pair.dropped(self.test.metric, disturbed=True)) is not None:
            # The measuring itself spoiled it: no rule for disturbed pairs gives it a value.
            self.test.drop(spoiled)
            return
        self.pairs.append(pair)
        codes = pair.dropped(self.test.metric)
        self.bad += codes is not None
        if self.keeps or codes is None:
            self._use(pair)
        elif self.disturbed == "auto" and mostly_disturbed(self.bad, len(self.pairs)):
            self._keep()
        else:
            self.test.drop(codes, disturbed=True)
            if self.disturbed == "drop" and self.bad > MOSTLY * self.most:
                self._spoil("load", self._said(self.test.dropped))

    def finish(self) -> None:
        """There are no more pairs."""
        if self.done:
            return
        if self.disturbed == "auto" and self.bad > MOSTLY * len(self.pairs):
            self._keep()
        if self.done:
            return
        if self.bad and not self.test.differences:
            by: SpoiledBy = "load" if self.disturbed == "drop" else "unusable"
            self._spoil(by, self._said(self.test.dropped))
        self.test.finish()
        self._check_sides()

    def _keep(self) -> None:
        """Use every pair so far, and all that come."""
        self.disturbed, metric = "keep", self.test.metric
        found, without = [], []
        for pair in self.pairs:
            if (difference := pair.difference(metric, disturbed=True)) is None:
                without.append(pair)
                continue
            base, now = (pair.value(side, metric, disturbed=True) for side in SIDES)
            found.append((difference, base, now))
            self._note(pair)
        self.test.take_all(found)
        for pair in without:
            self._use(pair)
        self._check_sides()

    def _use(self, pair: MeasuredPair) -> None:
        metric, disturbed = self.test.metric, self.keeps
        base, now = (pair.value(side, metric, disturbed=disturbed) for side in SIDES)
        difference = pair.difference(metric, disturbed=disturbed)
        if difference is not None:
            self._note(pair)
            looked = self.test.looked
            self.test.add(difference, base, now)
            if self.test.looked > looked:
                self._check_sides()
        elif (why := pair.unknown(metric)) is not None:
            self.test.drop(why)
        elif base is None and now is None and not self.asked and not self.test.differences:
            self.gone = True
        else:
            self.test.drop(_NO_VALUE if base is None or now is None else _ZERO)

    def _note(self, pair: MeasuredPair) -> None:
        if codes := pair.dropped(self.test.metric):
            self.noisy += 1
            for code in codes.split("+"):
                self.taken[code] = self.taken.get(code, 0) + 1

    def _check_sides(self) -> None:
        """Believe nothing where the load of others does not fall on both sides alike."""
        if self.taken and (why := one_sided(self.pairs)) is not None:
            by: SpoiledBy = "one_sided" if self.pairs[-1].unlike is None else "threads"
            self._spoil(by, f"{self._said(self.taken)}, and {why}")

    def _spoil(self, by: SpoiledBy, reason: str) -> None:
        self.spoiled = by
        self.test.spoil(reason)

    def _said(self, codes: Mapping[str, int]) -> str:
        return _too_disturbed(codes, self.bad, len(self.pairs))

    def judgment(self) -> Judgment:
        judgment = self.test.judgment()
        if self.spoiled is not None:
            judgment = replace(judgment, details={**judgment.details, "spoiled_by": self.spoiled})
        if self.taken:
            told = {**judgment.details, "disturbed": self.noisy}
            return replace(judgment, noise=dict(sorted(self.taken.items())), details=told)
        if self.test.differences or not set(self.test.dropped) <= {_NO_VALUE, _ZERO, *UNTIMED}:
            return judgment
        # No machine was disturbed, so a quieter one would not help.
        known: dict[str, str] = {why: explain_untimed(why) for why in UNTIMED}
        said = "; ".join(known.get(reason, reason) for reason in self.test.dropped)
        return replace(judgment, reason=said or judgment.reason)


@dataclass(slots=True)
class _Feeds:
    """The tests of one case: those asked for, and those of the CPU's clock that may stand for them."""

    wall: list[_Feed]
    cpu: list[_Feed]

    def take(self, pair: MeasuredPair) -> None:
        for feed in (*self.wall, *self.cpu):
            feed.take(pair)
        if pair.incomparable is not None:
            self.cpu = []
        self._forget_gone()

    def _forget_gone(self) -> None:
        self.wall, self.cpu = ([feed for feed in feeds if not feed.gone] for feeds in (self.wall, self.cpu))

    @property
    def _wanted(self) -> list[_Feed]:
        """Those of the CPU's clock that stand for a metric which noise leaves undecided."""
        names = {METRICS[feed.test.metric].on_cpu for feed in self.wall if feed.undecided}
        return [feed for feed in self.cpu if feed.test.metric in names]

    @property
    def want_more(self) -> bool:
        return any(not feed.done for feed in (*self.wall, *self._wanted))

    def finish(self) -> None:
        """There are no more pairs."""
        for feed in (*self.wall, *self.cpu):
            feed.finish()
        self._forget_gone()

    @property
    def judgments(self) -> tuple[Judgment, ...]:
        wall = [feed.judgment() for feed in self.wall]
        undecided = {feed.test.metric for feed in self.wall if feed.undecided}
        return with_cpu_time(wall, [feed.judgment() for feed in self._wanted], undecided)


def _too_disturbed(codes: Mapping[str, int], disturbed: int, pairs: int) -> str:
    """``9 of 12 pairs were disturbed: steal (9)``."""
    why = ", ".join(f"{name} ({n})" for name, n in sorted(codes.items()))
    how = "disturbed or not watched" if any(UNWATCHED in name for name in codes) else "disturbed"
    return f"{disturbed} of {count(pairs, 'pair')} were {how}: {why}"

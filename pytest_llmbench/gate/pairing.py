"""How many pairs does it take to tell the two sides of an A/B session apart?

Pair after pair is measured until every metric that gates is decided, or the budget is spent. Who measures
them is a :class:`.PairSource`; what they show of each metric is a :class:`.PairedTest`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from pytest_llmbench.errors import UsageError
from pytest_llmbench.gate.ab import BaseSide
from pytest_llmbench.gate.budget import Budget
from pytest_llmbench.gate.exact import judge_exact
from pytest_llmbench.gate.paired import PairedTest
from pytest_llmbench.gate.thresholds import (
    Threshold,
    default_thresholds,
    merge_thresholds,
)
from pytest_llmbench.measure.pairs import MeasuredPair, PairSource
from pytest_llmbench.measure.run import Run
from pytest_llmbench.metrics.table import METRICS, chances
from pytest_llmbench.metrics.timeline import UNTIMED, explain_untimed
from pytest_llmbench.results.verdict import Judgment, Verdict

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
    ) -> None:
        self.base = base
        self._coins = random.Random(session)
        self._cases = cases
        self._given = tuple(thresholds)
        self._metrics = metrics
        self._budget = budget or Budget()

    def coin(self) -> random.Random:
        """The coin of the next measurement in pairs, independent of every other's."""
        return random.Random(self._coins.getrandbits(64))

    def measure(
        self, source: PairSource, run: Run, base_run: Run, marker: Sequence[Threshold] = ()
    ) -> tuple[Judgment, ...]:
        """Measure pairs of both sides. Returns the judgment on each metric that gates.

        :param run: where *source* puts what it measures of the side that is judged; likewise *base_run*.
        :param marker: what the case itself allows.
        :raises UsageError: for a threshold that cannot be judged in pairs.
        :raises LLMBenchError: as *source* does; what was measured until then is in the runs.
        """
        thresholds = merge_thresholds(default_thresholds(self._metrics), marker, self._given)
        if tails := [t.name for t in thresholds if t.percentile is not None and t.relative is not None]:
            msg = (
                f"{', '.join(tails)}: a percentile is not judged in pairs; give it a limit "
                "(ttft.p99:<300ms), or compare with stored sessions"
            )
            raise UsageError(msg)
        relative = [t for t in thresholds if t.relative is not None and t.percentile is None]
        noisy = [
            t for t in relative if not METRICS[t.metric].exact and METRICS[t.metric].scope in source.scopes
        ]
        tests = {t.metric: self._test(t, noisy) for t in noisy}
        asked = {t.metric for t in noisy if t.asked}
        end = None if self._budget.seconds is None else time.monotonic() + self._budget.seconds
        invalid, over, pairs = None, False, 0
        # Memory and limits have no test that asks for pairs; and what is not gated is measured too.
        others = any(METRICS[t.metric].exact or t.limit is not None for t in thresholds)
        enough = min(_FEW_PAIRS, self._budget.pairs or _FEW_PAIRS) if others else 1
        while not over and (any(not test.done for test in tests.values()) or (not tests and pairs < enough)):
            pair = source.pair()
            pairs += 1
            invalid = pair.invalid
            if invalid is None:
                _feed(tests, asked, pair)
            over = invalid is not None or (end is not None and time.monotonic() >= end)
        judgments = []
        for test in tests.values():
            if invalid is None and over:
                test.finish()
            judgments.append(_judged(test))
        if invalid is not None:
            # What failed, failed by the pairs before.
            judgments = [
                j if j.verdict is Verdict.FAIL else replace(j, verdict=Verdict.INVALID, reason=invalid)
                for j in judgments
            ]
        if source.order is not None:
            judgments = [replace(j, details={**j.details, "order": source.order}) for j in judgments]
        for t in relative:
            if METRICS[t.metric].exact and run.metric(t.metric).n and base_run.metric(t.metric).n:
                base_values, now = base_run.metric(t.metric).values, run.metric(t.metric).values
                found = judge_exact(t.metric, base_values, now, t.relative or 0.0)
                judgments.append(
                    found if invalid is None else replace(found, verdict=Verdict.INVALID, reason=invalid)
                )
        return tuple(judgments)

    def _test(self, threshold: Threshold, noisy: Sequence[Threshold]) -> PairedTest:
        metrics = chances(t.metric for t in noisy)
        return PairedTest(
            threshold.relative or 0.0,
            metric=threshold.metric,
            comparisons=max(1, self._cases * len(metrics)),
            budget=self._budget.pairs,
        )


def _feed(tests: dict[str, PairedTest], asked: Collection[str], pair: MeasuredPair) -> None:
    """Give a pair to the tests; a metric that was not measured and not *asked* for has none."""
    if (codes := pair.dropped) is not None:
        for test in tests.values():
            test.drop(codes)
        return
    for metric, test in list(tests.items()):
        base, now = pair.value("base", metric), pair.value("now", metric)
        difference = pair.difference(metric)
        if difference is not None:
            test.add(difference, base, now)
        elif (why := pair.unknown(metric)) is not None:
            test.drop(why)
        elif base is None and now is None and metric not in asked and not test.differences:
            del tests[metric]
        else:
            test.drop(_NO_VALUE if base is None or now is None else _ZERO)


def _judged(test: PairedTest) -> Judgment:
    judgment = test.judgment()
    if test.differences or not set(test.dropped) <= {_NO_VALUE, _ZERO, *UNTIMED}:
        return judgment
    # No machine was disturbed, so a quieter one would not help.
    known: dict[str, str] = {why: explain_untimed(why) for why in UNTIMED}
    said = "; ".join(known.get(reason, reason) for reason in test.dropped)
    return replace(judgment, reason=said or judgment.reason)

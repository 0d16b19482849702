"""How often is an A/B session of one case wrong, on equal sides and on a slower one?"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from delayed import Burden
from gate_engine import Natural, plan
from tables import listed, markdown, rate

from pytest_llmbench.gate.paired import PairedTest
from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.loop import EnginePool
from pytest_llmbench.measure.pairs import PairedBench, Side
from pytest_llmbench.measure.run import Run
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.results.verdict import Verdict

SESSIONS = 12
_METRIC = "tpot"
_SUITE = 20  # Cases of the suite whose error is shared among its comparisons.
_WITHIN = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: how much slower the judged side is, and what is allowed."""

    key: str
    name: str
    slower: float
    threshold: float


SCENARIOS = (
    Scenario("equal", "A/A", 0.0, 0.05),
    Scenario("10", "+10%", 0.10, 0.05),
    Scenario("5", "+5%", 0.05, 0.02),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One session until its verdict."""

    scenario: Scenario
    seed: int
    test: PairedTest

    @property
    def verdict(self) -> Verdict:
        return self.test.judgment().verdict

    def __str__(self) -> str:
        return f"{self.scenario.name} {self.seed}: {self.verdict}"

    def to_json(self) -> dict[str, Any]:
        judged = self.test.judgment()
        return {
            "sides": self.scenario.name,
            "slower": self.scenario.slower,
            "threshold": self.scenario.threshold,
            "seed": self.seed,
            "verdict": judged.verdict,
            "change": judged.change,
            "reason": judged.reason,
            "differences": self.test.differences,
            "dropped": self.test.dropped,
        }


def measure(
    sessions: int, rows: Sequence[str], natural: Natural, monitor: HardwareMonitor | None
) -> Iterator[Outcome]:
    """So many sessions of each scenario whose key is in *rows*."""
    for scenario in SCENARIOS:
        if scenario.key in rows:
            burden = natural.worse(scenario.slower)
            for seed in range(sessions):
                yield Outcome(scenario, seed, _session(scenario, burden, seed, monitor))


def _session(scenario: Scenario, burden: Burden, seed: int, monitor: HardwareMonitor | None) -> PairedTest:
    """One A/B session of one case, until its verdict."""
    pairs = PairedBench(
        Side(plan(Burden()), Run("base", {})),
        Side(plan(burden), Run("now", {})),
        EnginePool(),
        monitor,
        Progress(),
        coin=random.Random(f"{scenario.name} {seed}"),
    )
    test = PairedTest(scenario.threshold, metric=_METRIC, comparisons=2 * _SUITE)
    while not test.done:
        pair = pairs.pair()
        difference = pair.difference(_METRIC)
        if pair.dropped(_METRIC) is not None or difference is None:
            test.drop("disturbed", disturbed=True)
        else:
            test.add(difference)
    return test


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each scenario that was measured."""
    heads = ("sides", "threshold", "sessions", "`fail`", "rate", "95% bound", f"within {_WITHIN} pairs")
    lines: list[tuple[str, ...]] = [(*heads, "other verdicts", "change seen", "pairs", "spread")]
    for scenario in SCENARIOS:
        if found := [one for one in outcomes if one.scenario is scenario]:
            lines.append(_row(scenario, found))
    return markdown(lines)


def _row(scenario: Scenario, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    verdicts = [one.verdict for one in outcomes]
    tests = [one.test for one in outcomes]
    failed = [one.test for one in outcomes if one.verdict is Verdict.FAIL]
    spreads = [stdev(t.differences) for t in tests if len(t.differences) > 1]
    changes = [change for t in tests if (change := t.judgment().change) is not None]
    return (
        scenario.name,
        f"{scenario.threshold:.0%}",
        str(len(tests)),
        str(len(failed)),
        *rate(len(failed), len(tests), wanted=scenario.slower > scenario.threshold),
        str(sum(len(t.differences) <= _WITHIN for t in failed)),
        listed({v: verdicts.count(v) for v in Verdict if v is not Verdict.FAIL}),
        f"{fmean(changes):+.1%}" if changes else "–",
        f"{fmean(len(t.differences) for t in tests):.1f}",
        f"{fmean(spreads):.1%}" if spreads else "–",
    )

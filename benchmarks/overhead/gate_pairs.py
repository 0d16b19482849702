"""How often is an A/B session of one case wrong, on equal sides and on a slower one?

Each session is one that :class:`~pytest_llmbench.gate.pairing.Pairing` measures and judges. Several clocks
judge the same pairs: what one has measured, the next is given. The pairs are kept, and can be judged again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

from delayed import Burden
from gate_engine import Natural, Work, plan
from kept_pairs import KeptPair, keep
from machine import HEADS, Meanwhile, Watch, columns
from tables import listed, markdown, rate

from pytest_llmbench.gate.ab import BaseSide
from pytest_llmbench.gate.noise import OnDisturbed
from pytest_llmbench.gate.pairing import Pairing
from pytest_llmbench.gate.thresholds import ClockChoice, Threshold
from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.loop import EnginePool
from pytest_llmbench.measure.pairs import MeasuredPair, PairedBench, Side
from pytest_llmbench.measure.run import Run
from pytest_llmbench.metrics.row import Scope
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.results.verdict import Judgment, Verdict, verdicts_of, worst

SESSIONS = 12
GATES = ("tpot",)
_COMPARISONS = 40  # Of a suite of 20 cases with two metrics, which share its error.
_WITHIN = 20
CASE = "case"
"""Stands for the metric where it is the verdict on the whole case."""


class OutOfPairsError(Exception):
    """Kept pairs were not enough for a verdict."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: how much slower the judged side is, and what is allowed."""

    key: str
    name: str
    slower: float
    threshold: float
    threads: tuple[int, int] | None = None
    """Of the base and of the judged side; None: the same, as is asked for."""

    @property
    def wanted(self) -> bool | None:
        """Whether ``fail`` is right; None where there is no right verdict."""
        return None if self.threads is not None else self.slower > self.threshold


SCENARIOS = (
    Scenario("equal", "A/A", 0.0, 0.05),
    Scenario("10", "+10%", 0.10, 0.05),
    Scenario("5", "+5%", 0.05, 0.02),
    Scenario("1to2", "1 thread, now 2", 0.0, 0.05, (1, 2)),
    Scenario("2to1", "2 threads, now 1", 0.0, 0.05, (2, 1)),
)
ROWS = ("equal", "10", "5")
"""Those that are measured if none is named."""


@dataclass(frozen=True, slots=True)
class Judging:
    """By what the gate goes."""

    clocks: Sequence[ClockChoice] = ("wall",)
    disturbed: OnDisturbed = "auto"
    gates: Sequence[str] = GATES


@dataclass(frozen=True, slots=True)
class Outcome:
    """One session, and what each clock said of it."""

    scenario: Scenario
    seed: int
    judgments: Mapping[ClockChoice, Sequence[Judgment]]
    pairs: Sequence[KeptPair]
    meanwhile: Meanwhile

    def verdict(self, clock: ClockChoice) -> Verdict:
        """Of the whole case."""
        return worst(verdicts_of(self.judgments[clock]))

    def judgment(self, clock: ClockChoice, metric: str) -> Judgment | None:
        return next((one for one in self.judgments[clock] if one.metric == metric), None)

    @property
    def seconds_a_pair(self) -> float:
        return fmean(pair.seconds for pair in self.pairs) if self.pairs else 0.0

    def used(self, judgment: Judgment) -> list[float]:
        """The differences that a verdict stands on: of all pairs where it is noisy, else of quiet ones."""
        disturbed = judgment.noise is not None
        known = [
            pair.difference(judgment.metric, disturbed=disturbed)
            for pair in self.pairs
            if pair.dropped(judgment.metric, disturbed=disturbed) is None
        ]
        return [value for value in known if value is not None][: judgment.n]

    def __str__(self) -> str:
        said = ", ".join(
            f"{clock} {self.verdict(clock)}{' noisy' if noisy(found) else ''} ({pairs_of(found)})"
            for clock, found in self.judgments.items()
        )
        steal = self.meanwhile.steal
        machine = f"load {self.meanwhile.load:.1f}" + ("" if steal is None else f", steal {steal:.1%}")
        told = f"{self.scenario.name} {self.seed}: {said}; {self.seconds_a_pair:.1f} s a pair, {machine}"
        reasons = dict.fromkeys(
            one.reason for found in self.judgments.values() for one in found if one.reason
        )
        return "\n  ".join([told, *(reason for reason in reasons if reason is not None)])

    def to_json(self) -> dict[str, Any]:
        return {
            "row": self.scenario.key,
            "sides": self.scenario.name,
            "slower": self.scenario.slower,
            "threshold": self.scenario.threshold,
            "threads": self.scenario.threads,
            "seed": self.seed,
            "verdicts": {clock: self.verdict(clock) for clock in self.judgments},
            "judgments": {c: [asdict(one) for one in found] for c, found in self.judgments.items()},
            "machine": self.meanwhile.to_json(),
            "pairs": [pair.to_json() for pair in self.pairs],
        }


def judged_in_pairs() -> list[str]:
    """Metrics that an A/B session of this engine can judge by pairs."""
    scopes = PairedBench.scopes
    return [name for name, row in METRICS.items() if row.judged == "noisy" and row.scope in scopes]


def noisy(judgments: Sequence[Judgment]) -> bool:
    """Whether any verdict that counts stands on disturbed pairs."""
    return any(one.noise is not None for one in judgments if one.decided_by is None)


def pairs_of(judgments: Sequence[Judgment]) -> int:
    """How many pairs were measured for them, with those that were dropped."""
    return max((int(str(one.details.get("pairs", one.n))) for one in judgments), default=0)


def measure(
    sessions: int,
    rows: Sequence[str],
    work: Work,
    judging: Judging,
    natural: Natural,
    monitor: HardwareMonitor | None,
) -> Iterator[Outcome]:
    """So many sessions of each scenario whose key is in *rows*."""
    for scenario in SCENARIOS:
        if scenario.key in rows:
            burden = natural.worse(scenario.slower)
            for seed in range(sessions):
                yield _session(scenario, burden, seed, work, judging, monitor)


def _session(
    scenario: Scenario,
    burden: Burden,
    seed: int,
    work: Work,
    judging: Judging,
    monitor: HardwareMonitor | None,
) -> Outcome:
    """One A/B session of one case, until each clock has its verdict."""
    base, now = Run("base", {}), Run("now", {})
    threads = scenario.threads or (work.threads, work.threads)
    watch = Watch()
    bench = PairedBench(
        Side(plan(Burden(), replace(work, threads=threads[0])), base),
        Side(plan(burden, replace(work, threads=threads[1])), now),
        EnginePool(),
        monitor,
        Progress(),
        coin=_pairing(scenario, seed, judging).coin(),
    )
    pairs = _Live(bench, judging.gates)
    judgments = {
        clock: _pairing(scenario, seed, judging).measure(_From(pairs), now, base, clock=clock)
        for clock in judging.clocks
    }
    return Outcome(scenario, seed, judgments, pairs.kept, watch.seen())


def judge_again(kept: Mapping[str, Any], judging: Judging) -> Outcome:
    """Judge the pairs of a session that was kept by :meth:`Outcome.to_json`.

    :raises OutOfPairsError: if there are too few of them for a verdict.
    """
    scenario = next(one for one in SCENARIOS if one.key == kept["row"])
    scenario = replace(scenario, slower=kept["slower"], threshold=kept["threshold"])
    pairs = [KeptPair.of(pair) for pair in kept["pairs"]]
    judgments = {
        clock: _pairing(scenario, kept["seed"], judging).measure(
            _From(_Again(pairs)), Run("now", {}), Run("base", {}), clock=clock
        )
        for clock in judging.clocks
    }
    return Outcome(scenario, kept["seed"], judgments, pairs, Meanwhile(**kept["machine"]))


def _pairing(scenario: Scenario, seed: int, judging: Judging) -> Pairing:
    return Pairing(
        BaseSide(),
        f"{scenario.name} {seed}",
        cases=max(1, _COMPARISONS // len(judging.gates)),
        thresholds=[Threshold(metric, relative=scenario.threshold) for metric in judging.gates],
        metrics=judging.gates,
        disturbed=judging.disturbed,
    )


class _Live:
    """Pairs as they are measured; each of them once, whoever asks for it."""

    def __init__(self, bench: PairedBench, gates: Sequence[str]) -> None:
        self.bench = bench
        self.kept: list[KeptPair] = []
        self._measured: list[MeasuredPair] = []
        cpu = (METRICS[metric].on_cpu for metric in gates)
        self._metrics = tuple(dict.fromkeys((*gates, *(name for name in cpu if name is not None))))

    def __getitem__(self, number: int) -> MeasuredPair:
        while len(self._measured) <= number:
            began = time.monotonic()
            pair = self.bench.pair()
            self._measured.append(pair)
            self.kept.append(keep(pair, self._metrics, time.monotonic() - began))
        return self._measured[number]

    @property
    def order(self) -> str | None:
        return self.bench.order


class _Again:
    """Pairs that were measured before."""

    order = None

    def __init__(self, pairs: Sequence[KeptPair]) -> None:
        self._pairs = pairs

    def __getitem__(self, number: int) -> MeasuredPair:
        if number >= len(self._pairs):
            msg = f"the {len(self._pairs)} pairs that were kept are not enough for a verdict"
            raise OutOfPairsError(msg)
        return self._pairs[number]


class _From:
    """Gives one clock's judge those pairs, from the first on."""

    scopes: tuple[Scope, ...] = PairedBench.scopes

    def __init__(self, pairs: _Live | _Again) -> None:
        self._pairs = pairs
        self._given = 0

    @property
    def order(self) -> str | None:
        return self._pairs.order

    def pair(self) -> MeasuredPair:
        self._given += 1
        return self._pairs[self._given - 1]


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each scenario that was measured, clock and metric; one for the case if it has several."""
    heads = ("sides", "threshold", "clock", "metric", "sessions", "`fail`", "rate", "95% bound")
    lines: list[tuple[str, ...]] = [
        (
            *heads,
            f"within {_WITHIN} pairs",
            "other verdicts",
            "noisy",
            "change seen",
            "pairs",
            "spread",
            "s a pair",
            *HEADS,
        )
    ]
    for scenario in SCENARIOS:
        found = [one for one in outcomes if one.scenario.key == scenario.key]
        for clock in dict.fromkeys(clock for one in found for clock in one.judgments):
            judged = [one for one in found if clock in one.judgments]
            metrics = list(dict.fromkeys(j.metric for one in judged for j in one.judgments[clock]))
            for metric in metrics if len(metrics) < 2 else (CASE, *metrics):
                lines.append(_row(scenario, clock, metric, judged))
    return markdown(lines)


def _row(scenario: Scenario, clock: ClockChoice, metric: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    told = [
        (one, tuple(one.judgments[clock]) if metric == CASE else tuple(filter(None, [found])))
        for one in outcomes
        for found in [one.judgment(clock, metric)]
        if metric == CASE or found is not None
    ]
    verdicts = [one.verdict(clock) if metric == CASE else found[0].verdict for one, found in told]
    fails = [pairs_of(found) for v, (_, found) in zip(verdicts, told, strict=True) if v is Verdict.FAIL]
    single = [] if metric == CASE else [(one, found[0]) for one, found in told]
    changes = [found.change for _, found in single if found.change is not None]
    used = [one.used(found) for one, found in single]
    spreads = [stdev(values) for values in used if len(values) > 1]
    wanted = scenario.wanted
    return (
        scenario.name,
        f"{scenario.threshold:.0%}",
        clock,
        metric if metric == CASE else f"`{metric}`",
        str(len(told)),
        str(len(fails)),
        *(("–", "–") if wanted is None else rate(len(fails), len(told), wanted=wanted)),
        str(sum(pairs <= _WITHIN for pairs in fails)),
        listed({v: n for v, n in Counter(verdicts).items() if v is not Verdict.FAIL}),
        str(sum(noisy(found) if metric == CASE else found[0].noise is not None for _, found in told)),
        f"{fmean(changes):+.1%}" if changes else "–",
        f"{fmean(pairs_of(found) for _, found in told):.1f}",
        f"{fmean(spreads):.1%}" if spreads else "–",
        f"{fmean(one.seconds_a_pair for one, _ in told):.1f}",
        *columns([one.meanwhile for one, _ in told]),
    )

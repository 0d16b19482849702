"""How often does an A/B session err on a machine that others use?

Drawn with fixed seeds: nothing here takes a time. Whole sessions, as :class:`.Pairing` runs them: which
pairs are replaced and which are kept, and which clock decides. Spreads are standard deviations of the pairs'
log ratios, as they were measured: of times 3.3% on a quiet machine, 30% and more beside neighbors; of CPU
times 1.2% and 5.8%.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_llmbench.gate.ab import BaseSide
from pytest_llmbench.gate.noise import OnDisturbed
from pytest_llmbench.gate.pairing import PairedRun, Pairing
from pytest_llmbench.gate.thresholds import ClockChoice, parse_thresholds
from pytest_llmbench.measure.pairs import SideName
from pytest_llmbench.measure.run import Run
from pytest_llmbench.metrics.row import Scope
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.verdict import Verdict, verdicts_of, worst

pytestmark = pytest.mark.simulation

Draws = NDArray[np.float64]
PAIRS = 32
PER_CASE = 0.01
WALL, CPU = "tpot", "cpu_time_per_token"


@dataclass(frozen=True)
class Drawn:
    """One pair."""

    logs: Mapping[str, float]
    codes: str | None
    burden: tuple[float, float]
    incomparable: str | None = None
    invalid: str | None = None
    unlike: str | None = None

    def dropped(self, metric: str, *, disturbed: bool = False) -> str | None:
        return None if disturbed or METRICS[metric].clock == "cpu" else self.codes

    def unknown(self, metric: str) -> None:
        return None

    def value(self, side: SideName, metric: str, *, disturbed: bool = False) -> float | None:
        return math.exp(self.logs[metric]) if side == "now" else 1.0

    def difference(self, metric: str, *, disturbed: bool = False) -> float | None:
        return self.logs[metric]


@dataclass
class Machine:
    """Gives the pairs of one session."""

    pairs: Iterator[Drawn]
    scopes: tuple[Scope, ...] = ("round",)
    order: str | None = None
    measured: int = field(default=0)

    def pair(self) -> Drawn:
        self.measured += 1
        return next(self.pairs)


@dataclass(frozen=True)
class Shared:
    """How a machine is shared."""

    disturbed: Callable[[np.random.Generator], NDArray[np.bool_]]
    """Of each pair."""
    wall: float
    """The spread of times in a disturbed pair."""
    cpu: float
    """And of CPU times, in every pair."""
    shape: float = 0.0
    """How skewed the noise of a slot is that is slower; a fair coin gives it to a side."""
    quiet: float = 0.033

    def session(self, rng: np.random.Generator, effect: float) -> Machine:
        disturbed = self.disturbed(rng)
        size = np.abs(rng.standard_normal(PAIRS))
        if self.shape:
            size = np.exp(self.shape * rng.standard_normal(PAIRS))
        noise = np.where(rng.random(PAIRS) < 0.5, 1.0, -1.0) * size
        wall = np.where(disturbed, self.wall, self.quiet) * noise
        # What disturbs the time of a pair disturbs its CPU time in the same direction.
        cpu = self.cpu * (0.6 * noise + 0.8 * rng.standard_normal(PAIRS))
        # Both sides live at the same time.
        burdens = 0.6 * rng.random((PAIRS, 1)) + 0.1 * rng.random((PAIRS, 2))
        shift = math.log1p(effect)
        return Machine(
            Drawn(
                {WALL: float(wall[k]) + shift, CPU: float(cpu[k]) + shift},
                "foreign_cpu" if disturbed[k] else None,
                (float(burdens[k, 0]), float(burdens[k, 1])),
            )
            for k in range(PAIRS)
        )


def share(p: float) -> Callable[[np.random.Generator], NDArray[np.bool_]]:
    """Each pair is disturbed with this chance."""
    return lambda rng: rng.random(PAIRS) < p


def spells(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Quiet and disturbed spells of five pairs on average."""
    changes = rng.random(PAIRS) < 0.2
    return (np.cumsum(changes) + rng.integers(2)) % 2 == 1


def from_the_ninth(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Others come when the first look is over."""
    del rng
    return np.arange(PAIRS) >= 8


MACHINES = {
    "a pair in five": Shared(share(0.2), 0.3, 0.02),
    "every other pair": Shared(share(0.5), 0.3, 0.03),
    "spells": Shared(spells, 0.3, 0.03),
    "others come later": Shared(from_the_ninth, 0.3, 0.03),
    "two neighbors, always": Shared(share(1.0), 0.3, 0.012),
    "three neighbors, always": Shared(share(1.0), 0.43, 0.058),
    "5 to 20% steal": Shared(share(0.9), 0.15, 0.03, shape=0.8),
    "steal that no one tells": Shared(share(0.0), 0.15, 0.03, shape=0.8, quiet=0.15),
}


@dataclass(frozen=True)
class Seen:
    """What became of many sessions of one case."""

    verdicts: Counter[Verdict]
    within: Counter[Verdict]
    """Of those that had a verdict within 20 pairs."""
    by_cpu: int
    """How many failed by a CPU time."""

    def share(self, verdict: Verdict) -> float:
        return self.verdicts[verdict] / self.verdicts.total()


def run(
    machine: Shared,
    *,
    effect: float = 0.0,
    threshold: str = "5%",
    clock: ClockChoice = "auto",
    disturbed: OnDisturbed = "auto",
    sessions: int = 250,
    cases: int = 1,
    seed: int = 11,
) -> Seen:
    rng = np.random.default_rng(seed)
    pairing = Pairing(
        BaseSide(model="other"),
        "20260101T000000Z-0a0a0a0a",
        cases=cases,
        thresholds=parse_thresholds(f"{WALL}:{threshold}"),
        metrics=(WALL,),
        disturbed=disturbed,
    )
    verdicts: Counter[Verdict] = Counter()
    within: Counter[Verdict] = Counter()
    by_cpu = 0
    for _ in range(sessions):
        source = machine.session(rng, effect)
        found = pairing.measure(source, Run("default", {}), Run("default@base", {}), (), clock)
        verdict = worst(verdicts_of(found))
        verdicts[verdict] += 1
        within[verdict] += source.measured <= 20
        by_cpu += any(one.verdict is Verdict.FAIL and one.metric == CPU for one in found)
    return Seen(verdicts, within, by_cpu)


@pytest.mark.parametrize("clock", ["auto", "wall", "cpu"])
@pytest.mark.parametrize("machine", list(MACHINES))
def test_identical_code_fails_in_at_most_one_percent(machine: str, clock: ClockChoice) -> None:
    # The worst threshold: none. What is drawn for it is unchanged by any other.
    seen = run(MACHINES[machine], threshold="0%", clock=clock, sessions=1200)
    assert seen.share(Verdict.FAIL) <= PER_CASE


@pytest.mark.parametrize("disturbed", ["drop", "keep"])
@pytest.mark.parametrize("machine", ["every other pair", "spells", "three neighbors, always"])
def test_identical_code_fails_as_rarely_whatever_is_done_with_disturbed_pairs(
    machine: str, disturbed: OnDisturbed
) -> None:
    seen = run(MACHINES[machine], threshold="0%", disturbed=disturbed, sessions=1200)
    assert seen.share(Verdict.FAIL) <= PER_CASE


def test_a_suite_of_identical_code_fails_anywhere_in_at_most_five_percent() -> None:
    seen = run(MACHINES["three neighbors, always"], threshold="0%", cases=20, sessions=1500)
    assert 1 - (1 - seen.share(Verdict.FAIL)) ** 20 <= 0.05


@pytest.mark.parametrize("machine", [name for name in MACHINES if name != "steal that no one tells"])
def test_identical_code_is_never_invalid_and_mostly_passes_where_cpu_time_compares(machine: str) -> None:
    seen = run(MACHINES[machine], sessions=300)
    assert seen.share(Verdict.INVALID) <= PER_CASE
    assert seen.share(Verdict.PASS) >= 0.9


def test_five_percent_more_work_is_found_by_cpu_time_beside_two_neighbors() -> None:
    seen = run(MACHINES["two neighbors, always"], effect=0.05, threshold="2%", clock="cpu")
    assert seen.within[Verdict.FAIL] >= 0.9 * seen.verdicts.total()


def test_ten_percent_more_work_is_found_by_cpu_time_beside_three_neighbors() -> None:
    spread = Shared(share(1.0), 0.43, 0.05)
    seen = run(spread, effect=0.10, clock="cpu")
    assert seen.within[Verdict.FAIL] >= 0.8 * seen.verdicts.total()
    # As far apart as they were seen to lie, it takes a few pairs more.
    seen = run(MACHINES["three neighbors, always"], effect=0.10, clock="cpu")
    assert seen.share(Verdict.FAIL) >= 0.85


def test_auto_finds_by_cpu_time_what_time_does_not_show() -> None:
    seen = run(MACHINES["two neighbors, always"], effect=0.10)
    assert seen.share(Verdict.FAIL) >= 0.9
    assert seen.by_cpu >= 0.9 * seen.verdicts[Verdict.FAIL]


def test_the_times_of_a_machine_of_which_half_is_taken_find_ten_percent_in_most_sessions() -> None:
    half = Shared(share(1.0), 0.06, 0.03)
    seen = run(half, effect=0.10, clock="wall")
    assert seen.share(Verdict.FAIL) >= 0.6
    assert seen.share(Verdict.INVALID) <= PER_CASE


@dataclass
class Talk:
    """Gives the pairs of a conversation's turns, which share what their processes have: half of the noise."""

    rng: np.random.Generator
    turns: int
    order: str | None = None

    def pairs(self) -> list[Drawn]:
        shared = self.rng.standard_normal()
        logs = 0.033 * (0.7 * shared + 0.7 * self.rng.standard_normal(self.turns))
        burden = (0.3, 0.3)
        return [Drawn({WALL: float(log), CPU: float(log)}, None, burden) for log in logs]


@pytest.mark.parametrize("turns", [1, 6, 12])
def test_a_suite_of_unchanged_conversations_fails_anywhere_in_at_most_five_percent(turns: int) -> None:
    rng = np.random.default_rng(5)
    cases, conversations = 5, 300
    pairing = Pairing(
        BaseSide(model="other"),
        "20260101T000000Z-0a0a0a0a",
        cases=cases,
        thresholds=parse_thresholds(f"{WALL}:0%"),
        metrics=(WALL,),
    )
    runs = [PairedRun(Run("now", {}), Run("base", {}), ("round",)) for _ in range(turns)]
    failed = 0
    for _ in range(conversations):
        found = pairing.measure_all(Talk(rng, turns), runs)
        failed += any(one.verdict is Verdict.FAIL for judgments in found for one in judgments)
    # A conversation may fail anywhere in 1%, so that one of the five of a suite does in 5%.
    assert failed / conversations <= 0.05 / cases

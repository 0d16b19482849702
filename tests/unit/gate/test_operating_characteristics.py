"""How often does the gate cry wolf, and how often does it miss one?

Simulated with fixed seeds: nothing here takes a time. Spreads are standard deviations of logs, and
those of a quiet machine are measured ones: 5% between processes, 3.3% between the differences of
pairs that alternate their rounds. The loaded machine has 28% between processes, of which
neighbors share most (lag-1 correlation 0.8).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_llmbench.gate.calibration import ShortSession, session_noise
from pytest_llmbench.gate.clock import beside_load
from pytest_llmbench.gate.exact import judge_exact
from pytest_llmbench.gate.paired import PairedTest
from pytest_llmbench.gate.stored import judge_stored, pool_sessions

if TYPE_CHECKING:
    from pytest_llmbench.results.measured import Measured

pytestmark = pytest.mark.simulation

Draws = NDArray[np.float64]

PER_CASE = 0.01
PER_SUITE = 0.05
CASES = 20
QUIET_PAIRS = 0.033


def skewed(normal: Draws, shape: float) -> Draws:
    """Shifted lognormal of mean 0 and deviation 1; shape 0.4 has a skewness of 1.3, 0.8 of 3.7."""
    variance = math.exp(shape**2)
    return (np.exp(shape * normal) - math.sqrt(variance)) / math.sqrt((variance - 1) * variance)


def drift(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> Draws:
    """Autocorrelated noise of deviation 1 along the last axis."""
    noise = rng.standard_normal(shape)
    for k in range(1, shape[-1]):
        noise[..., k] = correlation * noise[..., k - 1] + math.sqrt(1 - correlation**2) * noise[..., k]
    return noise


# --- A/B pairs ----------------------------------------------------------------------------------


def even(rng: np.random.Generator, n: int) -> Draws:
    return QUIET_PAIRS * rng.standard_normal((n, 32))


def loaded(rng: np.random.Generator, n: int) -> Draws:
    return 0.28 * rng.standard_normal((n, 32))


def slots(rng: np.random.Generator, n: int) -> Draws:
    """One slot of the pair is slower, by a skewed and drifting amount; a fair coin gives it to a side."""
    advantage = 0.1 + 0.28 * skewed(drift(rng, (n, 32), 0.8), 0.8)
    return np.where(rng.random((n, 32)) < 0.5, 1.0, -1.0) * advantage


def bursts(rng: np.random.Generator, n: int) -> Draws:
    """Heavy tails, and a spread that changes in the middle."""
    scale = np.where(np.arange(32) < 10, 0.02, 0.2)
    return scale * rng.standard_t(2, (n, 32))


@dataclass(frozen=True)
class Seen:
    """Shares of verdicts, and the pairs that they took."""

    verdicts: Counter[str]
    failed_by_20: float
    pairs: float

    def share(self, verdict: str) -> float:
        return self.verdicts[verdict] / self.verdicts.total()


def run_pairs(draws: Draws, effect: float, threshold: float, comparisons: int = CASES) -> Seen:
    verdicts: Counter[str] = Counter()
    pairs = early = 0
    for row in (draws + math.log1p(effect)).tolist():
        test = PairedTest(threshold, comparisons=comparisons)
        while test.needs_more:
            test.add(row[len(test.differences)])
        verdicts[str(test.verdict)] += 1
        pairs += len(test.differences)
        early += test.verdict == "fail" and len(test.differences) <= 20
    return Seen(verdicts, early / len(draws), pairs / len(draws))


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("noise", [even, loaded, slots, bursts])
def test_pairs_of_identical_code_fail_in_less_than_one_percent(
    noise: Callable[[np.random.Generator, int], Draws], threshold: float
) -> None:
    seen = run_pairs(noise(np.random.default_rng(1), 1500), 0.0, threshold, comparisons=1)
    assert seen.share("fail") <= PER_CASE


@pytest.mark.parametrize("noise", [loaded, slots, bursts])
def test_a_suite_of_pairs_of_identical_code_fails_anywhere_in_less_than_five_percent(
    noise: Callable[[np.random.Generator, int], Draws],
) -> None:
    # The worst threshold: none, which leaves the correction for the number of cases alone.
    seen = run_pairs(noise(np.random.default_rng(2), 3000), 0.0, 0.0)
    assert 1 - (1 - seen.share("fail")) ** CASES <= PER_SUITE


def test_a_change_of_just_the_threshold_fails_in_less_than_one_percent() -> None:
    seen = run_pairs(even(np.random.default_rng(3), 3000), 0.05, 0.05)
    assert seen.share("fail") <= PER_CASE
    assert seen.share("pass") <= 0.08


def test_ten_percent_is_caught_within_twenty_pairs() -> None:
    seen = run_pairs(even(np.random.default_rng(4), 1500), 0.10, 0.05)
    assert seen.failed_by_20 >= 0.90
    assert seen.pairs < 17


def test_five_percent_beyond_a_threshold_of_two_is_caught_within_twenty_pairs() -> None:
    for comparisons in (1, CASES, 3 * CASES):
        seen = run_pairs(even(np.random.default_rng(5), 1500), 0.05, 0.02, comparisons)
        assert seen.failed_by_20 >= 0.80


def test_most_unchanged_cases_on_a_quiet_machine_need_the_first_pairs_only() -> None:
    seen = run_pairs(even(np.random.default_rng(6), 1500), 0.0, 0.05)
    assert seen.share("pass") >= 0.99
    assert seen.pairs < 9


def test_the_detectable_effect_that_is_told_is_found_with_the_power_that_is_told() -> None:
    rng = np.random.default_rng(7)
    told = []
    for row in even(rng, 300).tolist():
        test = PairedTest(0.05, comparisons=CASES)
        while test.needs_more:
            test.add(row[len(test.differences)])
        told.append(test.judgment().detectable or 0.0)
    seen = run_pairs(even(rng, 1500), float(np.median(told)), 0.05)
    assert 0.75 <= seen.share("fail") <= 0.97


# --- Stored sessions ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """How values of identical code lie: sessions, processes in them, rounds in those."""

    session: float
    process: float
    round: float
    lag: float = 0.0
    shape: float = 0.0
    shared: float = 0.0
    """The part of the sessions' variance that all cases have in common."""
    unlike: float = 0.0
    """How much the spreads of cases differ."""
    session_lag: float = 0.0

    def draw(self, rng: np.random.Generator, suites: int, sessions: int, processes: int) -> Draws:
        """Log values of processes; shape (suites, cases, sessions + 1, processes), the last one new."""
        own = drift(rng, (suites, CASES, sessions + 1), self.session_lag)
        common = drift(rng, (suites, 1, sessions + 1), self.session_lag)
        mixed = math.sqrt(1 - self.shared) * own + math.sqrt(self.shared) * common
        inner = drift(rng, (suites, CASES, sessions + 1, processes), self.lag)
        rounds = rng.standard_normal((suites, CASES, sessions + 1, processes, 5))
        if self.shape:
            mixed, inner, rounds = (skewed(x, self.shape) for x in (mixed, inner, rounds))
        logs = self.session * mixed[..., None] + self.process * inner
        logs += self.round * np.median(rounds, axis=-1)
        return logs * np.exp(self.unlike * rng.standard_normal((suites, CASES, 1, 1)))


QUIET = Machine(0.0, 0.05, 0.01)
MACHINES = {
    "nested": Machine(0.05, 0.05, 0.05),
    "loaded": Machine(0.0, 0.28, 0.09, lag=0.8),
    "nested, skewed": Machine(0.05, 0.05, 0.05, shape=0.4),
    "loaded, skewed": Machine(0.0, 0.28, 0.09, lag=0.8, shape=0.4),
    "sessions shift all cases": Machine(0.05, 0.05, 0.05, shared=0.7),
    "cases are unlike": Machine(0.05, 0.05, 0.05, unlike=0.6),
    "sessions drift": Machine(0.05, 0.05, 0.05, session_lag=0.5),
    "quiet": QUIET,
}


@dataclass(frozen=True)
class Stored:
    """Shares of cases by verdict, and of suites in which any failed."""

    verdicts: Counter[str]
    suites: float

    def share(self, verdict: str) -> float:
        return self.verdicts[verdict] / self.verdicts.total()


def run_stored(
    machine: Machine,
    *,
    sessions: int,
    processes: int,
    pooled: bool,
    comparisons: int,
    effect: float = 0.0,
    suites: int = 100,
    seed: int = 21,
) -> Stored:
    logs = machine.draw(np.random.default_rng(seed), suites, sessions, processes)
    logs[:, :, -1] += math.log1p(effect)
    verdicts: Counter[str] = Counter()
    failed = 0
    for cases in np.exp(logs).tolist():
        noise = pool_sessions([case[:-1] for case in cases]) if pooled else None
        found = [
            judge_stored("tpot", case[:-1], case[-1], 0.05, comparisons=comparisons, noise=noise).verdict
            for case in cases
        ]
        verdicts.update(map(str, found))
        failed += "fail" in found
    return Stored(verdicts, failed / suites)


@pytest.mark.parametrize("machine", list(MACHINES))
@pytest.mark.parametrize(("sessions", "processes"), [(1, 3), (1, 5), (2, 3), (3, 3), (5, 3), (5, 5), (10, 3)])
def test_a_session_of_identical_code_fails_a_case_in_less_than_one_percent(
    machine: str, sessions: int, processes: int
) -> None:
    seen = run_stored(
        MACHINES[machine], sessions=sessions, processes=processes, pooled=False, comparisons=1, suites=75
    )
    assert seen.share("fail") <= PER_CASE


@pytest.mark.parametrize("machine", list(MACHINES))
@pytest.mark.parametrize(("sessions", "pooled"), [(5, True), (5, False), (10, True), (1, False)])
def test_a_session_of_identical_code_fails_anywhere_in_less_than_five_percent(
    machine: str, sessions: int, pooled: bool
) -> None:
    seen = run_stored(
        MACHINES[machine], sessions=sessions, processes=3, pooled=pooled, comparisons=CASES, suites=150
    )
    assert seen.suites <= PER_SUITE


def test_twenty_percent_is_caught_against_five_sessions_of_five_processes() -> None:
    seen = run_stored(QUIET, sessions=5, processes=5, pooled=False, comparisons=1, effect=0.2, suites=100)
    assert seen.share("fail") >= 0.90


def test_twenty_percent_is_caught_against_five_sessions_of_three_processes_in_a_suite() -> None:
    seen = run_stored(QUIET, sessions=5, processes=3, pooled=True, comparisons=CASES, effect=0.2, suites=100)
    assert seen.share("fail") >= 0.90


def test_twice_as_slow_is_caught_against_a_single_session() -> None:
    for processes, least in ((3, 0.6), (5, 0.95)):
        seen = run_stored(
            QUIET, sessions=1, processes=processes, pooled=False, comparisons=1, effect=1.0, suites=50
        )
        assert seen.share("fail") >= least


# --- Stored sessions by CPU time, beside neighbors ------------------------------------------------

# Of one thread on two cores: of ten fresh processes, 1.3% with two neighbors that spin, and 6% with three.
TWO_NEIGHBORS = Machine(0.02, 0.013, 0.005, lag=0.5)
NEIGHBORS = {
    "two": TWO_NEIGHBORS,
    "three": Machine(0.02, 0.06, 0.02),
    "three that stay": Machine(0.02, 0.06, 0.02, lag=0.8),
    "three, and sessions apart": Machine(0.03, 0.06, 0.02, lag=0.5),
    "three, skewed": Machine(0.03, 0.06, 0.02, lag=0.5, shape=0.4),
    "three, and sessions drift": Machine(0.03, 0.06, 0.02, lag=0.5, session_lag=0.5),
}


@pytest.mark.parametrize("machine", list(NEIGHBORS))
@pytest.mark.parametrize("processes", [3, 5])
def test_cpu_time_of_identical_code_beside_neighbors_fails_a_case_in_less_than_one_percent(
    machine: str, processes: int
) -> None:
    seen = run_stored(
        NEIGHBORS[machine], sessions=5, processes=processes, pooled=False, comparisons=1, suites=150
    )
    assert seen.share("fail") <= PER_CASE


@pytest.mark.parametrize("machine", list(NEIGHBORS))
def test_cpu_time_of_a_suite_beside_neighbors_fails_anywhere_in_less_than_five_percent(machine: str) -> None:
    seen = run_stored(NEIGHBORS[machine], sessions=5, processes=5, pooled=True, comparisons=CASES, suites=150)
    assert seen.suites <= PER_SUITE


def test_twenty_percent_more_work_is_caught_by_the_cpu_time_of_five_sessions_beside_neighbors() -> None:
    seen = run_stored(
        TWO_NEIGHBORS, sessions=5, processes=5, pooled=False, comparisons=1, effect=0.2, suites=100
    )
    assert seen.share("fail") >= 0.90
    # What processes differ by is in each session too: by 6%, it takes the other cases' spread to find it.
    seen = run_stored(
        NEIGHBORS["three"], sessions=5, processes=5, pooled=True, comparisons=CASES, effect=0.2, suites=50
    )
    assert seen.share("fail") >= 0.80


class Ran(NamedTuple):
    """What is asked of a session where load differs."""

    rounds: int
    crowd: Mapping[str, int]


def run_beside_load(*, base: float, now: float, effect: float = 0.0) -> dict[str, Counter[str]]:
    """Verdicts with a threshold of 2% as they are given, and as they would be without looking at the load.

    :param base: by how much the load beside the baseline's sessions makes CPU times longer; likewise *now*.
    """
    logs = Machine(0.005, 0.013, 0.005).draw(np.random.default_rng(51), 50, 5, 5)
    logs[:, :, :-1] += math.log1p(base)
    logs[:, :, -1] += math.log1p(now) + math.log1p(effect)
    bases, new = (cast("Measured", Ran(5, {"foreign_cpu": 5} if load else {})) for load in (base, now))
    found: dict[str, Counter[str]] = {"given": Counter(), "blind": Counter()}
    for case in np.exp(logs).reshape(-1, 6, 5).tolist():
        judged = judge_stored("cpu_time_per_token", case[:-1], case[-1], 0.02)
        found["blind"][str(judged.verdict)] += 1
        found["given"][str(beside_load(judged, [bases] * 5, new).verdict)] += 1
    return found


def test_load_that_only_this_session_ran_beside_never_fails_it() -> None:
    found = run_beside_load(base=0.0, now=0.065)
    assert found["blind"]["fail"] >= 500
    assert found["given"]["fail"] == 0


def test_load_that_only_the_baseline_ran_beside_never_hides_that_it_got_slower() -> None:
    found = run_beside_load(base=0.065, now=0.0, effect=0.06)
    assert found["blind"]["pass"] >= 500
    assert found["given"]["pass"] == 0
    # What is worse than even that load made of it is worse.
    assert run_beside_load(base=0.065, now=0.0, effect=0.2)["given"]["fail"] >= 900


def test_load_beside_all_sessions_leaves_cpu_time_its_verdict() -> None:
    assert run_beside_load(base=0.065, now=0.065)["given"]["fail"] <= PER_CASE * 1000
    assert run_beside_load(base=0.065, now=0.065, effect=0.1)["given"]["fail"] >= 900


# --- A single stored session, and a calibration ---------------------------------------------------


def run_calibrated(
    machine: Machine,
    *,
    calibrated: int,
    processes: int,
    suites: int = 75,
    comparisons: int = 1,
    seed: int = 41,
) -> Stored:
    """Each case by a calibration of another one of its suite, measured before the baseline."""
    logs = machine.draw(np.random.default_rng(seed), suites, calibrated + 1, processes)
    verdicts: Counter[str] = Counter()
    failed = 0
    for cases in np.exp(logs).tolist():
        noises = [session_noise("tpot", [short_session(s) for s in case[:calibrated]]) for case in cases]
        found = [
            judge_stored(
                "tpot",
                case[-2:-1],
                case[-1],
                0.05,
                comparisons=comparisons,
                noise=replace(other, alike=False),
            ).verdict
            for case, other in zip(cases, noises[1:] + noises[:1], strict=True)
            if other is not None
        ]
        verdicts.update(map(str, found))
        failed += "fail" in found
    return Stored(verdicts, failed / suites)


def short_session(values: list[float]) -> ShortSession:
    return ShortSession("2026-11-24", "llamacpp", "1", "tiny", None, 5, 32, {"tpot": values})


@pytest.mark.parametrize("machine", list(MACHINES))
@pytest.mark.parametrize(("calibrated", "processes"), [(3, 3), (4, 3), (6, 3), (6, 5), (12, 3)])
def test_identical_code_fails_against_a_single_session_and_a_calibration_in_less_than_one_percent(
    machine: str, calibrated: int, processes: int
) -> None:
    seen = run_calibrated(MACHINES[machine], calibrated=calibrated, processes=processes)
    assert seen.share("fail") <= PER_CASE


@pytest.mark.parametrize("machine", list(MACHINES))
def test_a_suite_fails_anywhere_against_a_calibration_in_less_than_five_percent(machine: str) -> None:
    seen = run_calibrated(MACHINES[machine], calibrated=6, processes=3, suites=150, comparisons=CASES)
    assert seen.suites <= PER_SUITE


@pytest.mark.parametrize("shape", [0.0, 0.4])
@pytest.mark.parametrize("calibrated", [3, 6, 12])
def test_a_calibration_of_neighboring_sessions_does_not_cry_wolf_over_distant_ones(
    calibrated: int, shape: float
) -> None:
    near = Machine(0.05, 0.01, 0.01, session_lag=0.5, shape=shape)
    far = Machine(0.05, 0.01, 0.01, shape=shape)
    rng = np.random.default_rng(43)
    before = np.exp(near.draw(rng, 75, calibrated - 1, 3)).reshape(-1, calibrated, 3)
    later = np.exp(far.draw(rng, 75, 1, 3)).reshape(-1, 2, 3)
    found: Counter[str] = Counter()
    for sessions, (base, now) in zip(before.tolist(), later.tolist(), strict=True):
        noise = session_noise("tpot", [short_session(values) for values in sessions])
        found[str(judge_stored("tpot", [base], now, 0.05, noise=noise).verdict)] += 1
    assert found["fail"] / found.total() <= PER_CASE


def test_a_calibration_finds_in_a_single_session_what_its_processes_alone_cannot() -> None:
    logs = QUIET.draw(np.random.default_rng(45), 20, 11, 5)
    logs[:, :, -1] += math.log1p(0.3)
    found = {"with": 0, "without": 0}
    for case in np.exp(logs).reshape(-1, 12, 5).tolist():
        noise = session_noise("tpot", [short_session(values) for values in case[:10]])
        for name, known in (("with", noise), ("without", None)):
            judged = judge_stored("tpot", case[-2:-1], case[-1], 0.05, noise=known)
            found[name] += judged.verdict == "fail"
    assert found["with"] >= 0.75 * 400
    assert found["without"] <= 0.15 * 400


# --- Numbers that hardly vary -------------------------------------------------------------------


@pytest.mark.parametrize("spread", [0.001, 0.01, 0.1])
@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_memory_that_varies_by_chance_fails_in_less_than_one_percent(spread: float, tolerance: float) -> None:
    draws = np.exp(spread * np.random.default_rng(31).standard_normal((3000, 5)))
    found = Counter(str(judge_exact("peak_rss", r[:3], r[3:], tolerance).verdict) for r in draws.tolist())
    assert found["fail"] / 3000 <= PER_CASE

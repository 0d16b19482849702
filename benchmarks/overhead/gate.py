"""How often is the gate wrong on a real engine: false alarms on equal sides, misses on a slower one?

``python benchmarks/overhead/gate.py --sessions 12``: each session is a fresh A/B measurement of
llama.cpp on ``tiny``. On equal sides a ``fail`` is a false alarm; against a side that is slower by a
known share, everything but a ``fail`` within 20 pairs is a miss.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev

from delayed import backend

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.gate.paired import PairedTest
from pytest_llmbench.gate.verdict import Verdict
from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.engine import EngineSpec, Prompt
from pytest_llmbench.measure.loop import Bench, EnginePool, Plan
from pytest_llmbench.measure.pairs import PairedBench, Side
from pytest_llmbench.measure.run import Run
from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.report.progress import Progress

_METRIC = "tpot"
_SUITE = 20  # Cases of the suite whose error is shared among its comparisons.
_WITHIN = 20


@dataclass(frozen=True)
class Scenario:
    """One row: how much slower the judged side is, and what is allowed."""

    name: str
    slower: float
    threshold: float


SCENARIOS = (
    Scenario("A/A", 0.0, 0.05),
    Scenario("+10 %", 0.10, 0.05),
    Scenario("+5 %", 0.05, 0.02),
)


def plan(delay: float) -> Plan:
    """The measurement of one side."""
    model = resolve(ModelSpec("tiny", "f16"), "gguf", quiet=True)
    options = option_values(backend, {"delay": delay})
    engine = EngineSpec("delayed", "delayed:backend", model, options)
    return Plan(
        engine,
        GenerationParams(max_new_tokens=32),
        rounds=10,
        timeout=120,
        prompt=Prompt.of("Explain what a benchmark is in three sentences."),
    )


def time_per_token(monitor: HardwareMonitor) -> float:
    """Seconds; what a share of slowness is a share of."""
    bench = Bench(plan(0.0), EnginePool(), monitor, Progress())
    try:
        return median(bench.round()[0].metrics[_METRIC] or 0.0 for _ in range(20))
    finally:
        bench.close()


def session(scenario: Scenario, delay: float, seed: int, monitor: HardwareMonitor) -> PairedTest:
    """One A/B session of one case, until its verdict."""
    base, now = plan(0.0), plan(delay)
    base = replace(base, params=replace(base.params, seed=seed))
    now = replace(now, params=replace(now.params, seed=seed))
    pairs = PairedBench(
        Side(base, Run("base", {})), Side(now, Run("now", {})), EnginePool(), monitor, Progress()
    )
    test = PairedTest(scenario.threshold, metric=_METRIC, comparisons=2 * _SUITE)
    while not test.done:
        pair = pairs.pair()
        difference = pair.difference(_METRIC)
        if pair.disturbed or difference is None:
            test.drop("disturbed")
        else:
            test.add(difference)
    return test


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=12, help="sessions of each row")
    sessions = parser.parse_args().sessions
    heads = (
        "sides",
        "threshold",
        "sessions",
        "fail",
        f"fail within {_WITHIN} pairs",
        "other verdicts",
        "pairs",
    )
    print("| " + " | ".join((*heads, "spread")) + " |")
    print("|---" * (len(heads) + 1) + "|")
    with HardwareMonitor() as monitor:
        natural = time_per_token(monitor)
        for scenario in SCENARIOS:
            tests = []
            for seed in range(sessions):
                tests.append(session(scenario, scenario.slower * natural, seed, monitor))
                print(f"{scenario.name} {seed}: {tests[-1].verdict}", file=sys.stderr)
            print(_row(scenario, tests), flush=True)


def _row(scenario: Scenario, tests: list[PairedTest]) -> str:
    verdicts = [test.verdict for test in tests]
    fails = verdicts.count(Verdict.FAIL)
    soon = sum(t.verdict is Verdict.FAIL and len(t.differences) <= _WITHIN for t in tests)
    others = ", ".join(
        f"{verdicts.count(v)} {v.value}" for v in Verdict if v is not Verdict.FAIL and v in verdicts
    )
    spread = fmean(stdev(t.differences) for t in tests if len(t.differences) > 1)
    pairs = fmean(len(t.differences) for t in tests)
    return (
        f"| {scenario.name} | {scenario.threshold:.0%} | {len(tests)} | {fails} | {soon} | {others or '-'} "
        f"| {pairs:.1f} | {spread:.1%} |"
    )


if __name__ == "__main__":
    main()

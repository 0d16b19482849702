"""What change can be seen on this machine: ``llmbench calibrate``?"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.options import STORE, StoreOption
from pytest_llmbench.errors import UsageError
from pytest_llmbench.times import now

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_llmbench.gate.calibration import ShortSession
    from pytest_llmbench.measure.loop import Plan
    from pytest_llmbench.measure.pairs import Pair
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.results.store import Store

_METRICS = ("ttft", "tpot")
_PROMPT = "Explain what a benchmark is in three sentences."


def calibrate(
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="Backend to run on.")
    ] = "llamacpp",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Model.")] = "tiny",
    quant: Annotated[str | None, typer.Option("--quant", metavar="NAME", help="Quantization.")] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=3, max=1000, help="A/A pairs to measure.")] = 12,
    sessions: Annotated[
        int,
        typer.Option("--sessions", min=0, max=1000, help="Short sessions to measure, instead of pairs."),
    ] = 0,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Fresh processes of each session.")
    ] = 3,
    interval: Annotated[
        float, typer.Option("--interval", min=0.0, help="Seconds from one session to the next.")
    ] = 60.0,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each process.")] = 10,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=2, help="Tokens a round.")] = 32,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, help="Allowed change, 0.05 is 5%.")
    ] = 0.05,
    store: StoreOption = STORE,
) -> None:
    """Measure A/A pairs and say what change an A/B session can see here, with how many pairs.

    Or measure short sessions, which show the gate how far sessions lie apart, for a baseline of one.
    """
    from pytest_llmbench.gate.calibration import PAIRS, noise_floor, save_calibration
    from pytest_llmbench.metrics import units
    from pytest_llmbench.results.environment import machine
    from pytest_llmbench.results.store import Store

    plan = _plan(backend, model, quant, rounds, max_new_tokens)
    if sessions:
        _calibrate_sessions(replace(plan, processes=processes), sessions, interval, threshold, Store(store))
        return
    started = time.monotonic()
    measured = _measure(plan, pairs)
    seconds = (time.monotonic() - started) / pairs
    kept = [pair for pair in measured if pair.dropped("tpot") is None]
    if len(kept) < 2:
        msg = (
            f"{len(measured) - len(kept)} of {len(measured)} pairs were disturbed by other load; repeat "
            "it when the machine is quieter: what is left is not enough"
        )
        raise UsageError(msg)
    floors = []
    for metric in _METRICS:
        differences = [d for pair in kept if (d := pair.difference(metric)) is not None]
        floors.append(noise_floor(metric, differences, threshold))
    typer.echo(f"{plan.engine.label}: {len(kept)} A/A pairs of {rounds} rounds, {seconds:.1f} s a pair")
    if len(kept) < len(measured):
        typer.echo(f"{len(measured) - len(kept)} more were disturbed by other load and left out")
    typer.echo(f"\nsmallest change over {threshold:.0%} that is found in 4 of 5 cases:")
    typer.echo("metric   spread  " + "".join(f"{n:>4} pairs" for n in PAIRS))
    for floor in floors:
        cells = "".join(f"{floor.detectable[str(n)]:>10.1%}" for n in PAIRS)
        typer.echo(f"{floor.metric:<8}{floor.spread:>7.1%}  {cells}")
    typer.echo("takes           " + "".join(f"{units.seconds(n * seconds):>10}" for n in PAIRS))
    facts = {
        "backend": backend,
        "model": model,
        "quantization": quant,
        "rounds": rounds,
        "max_new_tokens": max_new_tokens,
        "threshold": threshold,
        "seconds_per_pair": seconds,
        "disturbed": len(measured) - len(kept),
    }
    path = save_calibration(Store(store), machine().id, floors, facts)
    typer.echo(f"\nkept in {path}")


def _calibrate_sessions(plan: Plan, count: int, interval: float, threshold: float, store: Store) -> None:
    from pytest_llmbench.gate.calibration import MIN_SESSIONS, add_sessions, read_calibration, session_noise
    from pytest_llmbench.gate.stored import judge_stored
    from pytest_llmbench.metrics import units
    from pytest_llmbench.metrics.table import timeline_rows
    from pytest_llmbench.results.environment import machine

    here = machine().id
    known = read_calibration(store, here).sessions
    measured: list[ShortSession] = []
    for run in _measure_sessions(plan, count, interval):
        session = _short_session(plan, run)
        if session is not None:
            # One at a time: what is measured is kept, whatever comes after.
            path = add_sessions(store, here, [session])
            measured.append(session)
    typer.echo(f"{plan.engine.label}: {len(measured)} sessions of {plan.processes} processes")
    if len(measured) < count:
        typer.echo(f"{count - len(measured)} more were disturbed by other load and left out")
    if not measured:
        msg = "no session was left undisturbed; repeat it when the machine is quieter"
        raise UsageError(msg)
    alike = [session for session in (*known, *measured) if session.kind == measured[-1].kind]
    if len(alike) > len(measured):
        typer.echo(f"with {len(alike) - len(measured)} of earlier calibrations, the first of {alike[0].date}")
    if len(alike) < MIN_SESSIONS:
        typer.echo(f"\n{MIN_SESSIONS} sessions are needed before the gate uses them: run it again")
    else:
        typer.echo(f"\nsmallest change over {threshold:.0%} that one stored session finds in 4 of 5 cases:")
        typer.echo("metric               sessions apart      finds")
        for metric in timeline_rows():
            if (noise := session_noise(metric.name, alike)) is None:
                continue
            same = [1.0] * plan.processes
            found = judge_stored(metric.name, [same], same, threshold, noise=noise).detectable
            spread, shown = noise.variance**0.5, units.UNKNOWN if found is None else f"{found:.1%}"
            typer.echo(f"{metric.name:<20}{spread:>15.1%}{shown:>11}")
    typer.echo(f"\nkept in {path}")


def _short_session(plan: Plan, run: Run) -> ShortSession | None:
    """What is kept of a session; None if too much of it was disturbed."""
    from statistics import median

    from pytest_llmbench.gate.calibration import ShortSession
    from pytest_llmbench.measure.engine import EngineSpec
    from pytest_llmbench.measure.run import MAX_DISTURBED
    from pytest_llmbench.metrics.table import timeline_rows

    clean = [[r for r in process.rounds if not process.marks(r)] for process in run.processes]
    if len(run.rounds) - sum(map(len, clean)) > MAX_DISTURBED * len(run.rounds):
        return None
    assert isinstance(plan.engine, EngineSpec)
    model = plan.engine.model
    versions = [f"{name} {version}" for name, version in run.processes[0].versions.items()]
    values = {
        metric.name: [
            median(known)
            for rounds in clean
            if (known := [value for r in rounds if (value := r.value(metric.name))])
        ]
        for metric in timeline_rows()
    }
    return ShortSession(
        date=now(),
        backend=plan.engine.backend,
        engine=versions[0] if versions else None,
        model=model.spec.name,
        quantization=model.spec.quantization or model.quantization,
        rounds=plan.rounds,
        max_new_tokens=plan.params.max_new_tokens,
        values={name: medians for name, medians in values.items() if medians},
    )


def _measure_sessions(plan: Plan, count: int, interval: float) -> Iterator[Run]:
    from pytest_llmbench.hardware.monitor import HardwareMonitor
    from pytest_llmbench.measure.loop import EnginePool, measure
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.report.progress import Progress

    with HardwareMonitor() as monitor, typer.progressbar(range(count), label="Sessions") as numbers:
        for number in numbers:
            began = time.monotonic()
            run = Run("calibration", plan.protocol())
            measure(plan, run, EnginePool(), monitor, Progress())
            yield run
            if number + 1 < count:
                time.sleep(max(0.0, began + interval - time.monotonic()))


def _plan(backend: str, model: str, quant: str | None, rounds: int, max_new_tokens: int) -> Plan:
    from pytest_llmbench.backends.base import GenerationParams
    from pytest_llmbench.backends.options import option_values
    from pytest_llmbench.backends.registry import Registry, reference_of
    from pytest_llmbench.cases.target import EngineTarget
    from pytest_llmbench.measure.engine import EngineSpec, Prompt
    from pytest_llmbench.measure.loop import Plan
    from pytest_llmbench.models.resolve import parse_spec, resolve

    registry = Registry()
    described = registry.get(backend)
    if (reason := described.availability().reason) is not None:
        raise UsageError(reason)
    spec = replace(parse_spec(model), quantization=quant)
    if (reason := EngineTarget(described).misfit(spec, registry)) is not None:
        raise UsageError(reason)
    engine = EngineSpec(
        backend=backend,
        reference=reference_of(described),
        model=resolve(spec, described.form),
        options=option_values(described, {}),
    )
    return Plan(
        engine=engine,
        params=GenerationParams(max_new_tokens=max_new_tokens),
        rounds=rounds,
        prompt=Prompt(text=_PROMPT),
    )


def _measure(plan: Plan, pairs: int) -> list[Pair]:
    import random

    from pytest_llmbench.hardware.monitor import HardwareMonitor
    from pytest_llmbench.measure.loop import EnginePool
    from pytest_llmbench.measure.pairs import PairedBench, Side
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.report.progress import Progress

    with HardwareMonitor() as monitor:
        sides = [Side(replace(plan), Run(name, plan.protocol())) for name in ("base", "now")]
        bench = PairedBench(sides[0], sides[1], EnginePool(), monitor, Progress(), coin=random.Random())
        found = []
        with typer.progressbar(range(pairs), label="A/A pairs") as numbers:
            for _ in numbers:
                found.append(bench.pair())
        return found

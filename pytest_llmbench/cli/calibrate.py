"""What change can be seen on this machine: ``llmbench calibrate``?"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.options import STORE, StoreOption
from pytest_llmbench.errors import UsageError, saying_where
from pytest_llmbench.times import now

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_llmbench.gate.calibration import Floor, ShortSession
    from pytest_llmbench.gate.thresholds import ClockChoice
    from pytest_llmbench.measure.loop import Plan
    from pytest_llmbench.measure.pairs import Pair
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.results.store import Store

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
    clock: Annotated[
        str,
        typer.Option(
            "--clock",
            metavar="auto|wall|cpu",
            help="wall, times; cpu, CPU times, of an engine with one thread; auto, times, and CPU times "
            "where they compare.",
        ),
    ] = "auto",
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, help="Allowed change, 0.05 is 5%.")
    ] = 0.05,
    store: StoreOption = STORE,
) -> None:
    """Measure A/A pairs and say what change an A/B session can see here, with how many pairs.

    Or measure short sessions, which show the gate how far sessions lie apart, for a baseline of one.
    """
    from pytest_llmbench.gate.calibration import calibrated_metrics, pair_floors, save_calibration
    from pytest_llmbench.gate.clock import read_clock
    from pytest_llmbench.measure.pairs import incomparable_of
    from pytest_llmbench.metrics.table import chances, gated_metrics
    from pytest_llmbench.results.environment import machine
    from pytest_llmbench.results.store import Store

    with saying_where("--clock"):
        by = read_clock(clock)
    plan = _plan(backend, model, quant, rounds, max_new_tokens, by)
    if sessions:
        plan = replace(plan, processes=processes)
        _calibrate_sessions(plan, sessions, interval, threshold, Store(store), by)
        return
    started = time.monotonic()
    measured = _measure(plan, pairs)
    seconds = (time.monotonic() - started) / pairs
    floors = pair_floors(measured, calibrated_metrics(chances(gated_metrics()), by), threshold)
    disturbed = sum(pair.dropped("") is not None for pair in measured)
    if not floors:
        told = incomparable_of([pair.now for pair in measured]) if by == "cpu" else None
        raise UsageError(_nothing_left(f"{disturbed} of {len(measured)} pairs were disturbed", told, by))
    typer.echo(f"{plan.engine.label}: {len(measured)} A/A pairs of {rounds} rounds, {seconds:.1f} s a pair")
    if disturbed:
        used = " of all but CPU times" if max(f.pairs for f in floors) > len(measured) - disturbed else ""
        typer.echo(f"{disturbed} were disturbed by other load and left out{used}")
    _show_floors(floors, threshold, seconds)
    facts = {
        "backend": backend,
        "model": model,
        "quantization": quant,
        "rounds": rounds,
        "max_new_tokens": max_new_tokens,
        "threshold": threshold,
        "seconds_per_pair": seconds,
        "clock": by,
        "disturbed": disturbed,
    }
    path = save_calibration(Store(store), machine().id, floors, facts)
    typer.echo(f"\nkept in {path}")


def _nothing_left(said: str, incomparable: str | None, clock: ClockChoice) -> str:
    """Why there is nothing to calibrate with, and what to do.

    :param incomparable: what the engine says of its CPU time, if that is why.
    """
    if incomparable is not None:
        return f"the CPU time of this engine is {incomparable}; use --clock wall"
    other = "" if clock == "cpu" else ", or with --clock cpu"
    return f"{said} by other load; repeat it when the machine is quieter{other}"


def _show_floors(floors: Sequence[Floor], threshold: float, seconds: float) -> None:
    from pytest_llmbench.gate.calibration import PAIRS
    from pytest_llmbench.metrics import units

    typer.echo(f"\nsmallest change over {threshold:.0%} that is found in 4 of 5 cases:")
    wide = max(len(floor.metric) for floor in floors)
    typer.echo(f"{'metric':<{wide}}  pairs  spread  " + "".join(f"{n:>4} pairs" for n in PAIRS))
    for floor in floors:
        cells = "".join(f"{floor.detectable[str(n)]:>10.1%}" for n in PAIRS)
        typer.echo(f"{floor.metric:<{wide}}{floor.pairs:>7}{floor.spread:>8.1%}  {cells}")
    typer.echo(f"{'takes':<{wide}}{'':>17}" + "".join(f"{units.seconds(n * seconds):>10}" for n in PAIRS))


def _calibrate_sessions(
    plan: Plan, count: int, interval: float, threshold: float, store: Store, clock: ClockChoice
) -> None:
    from pytest_llmbench.gate.calibration import (
        MIN_SESSIONS,
        add_sessions,
        calibrated_metrics,
        read_calibration,
        short_values,
    )
    from pytest_llmbench.measure.pairs import incomparable_of
    from pytest_llmbench.metrics.table import timeline_rows
    from pytest_llmbench.results.environment import machine

    here = machine().id
    known = read_calibration(store, here).sessions
    metrics = calibrated_metrics((row.name for row in timeline_rows()), clock)
    measured: list[ShortSession] = []
    told: str | None = None
    for run in _measure_sessions(plan, count, interval):
        if values := short_values(run, metrics):
            session = _short_session(plan, run, values)
            # One at a time: what is measured is kept, whatever comes after.
            path = add_sessions(store, here, [session])
            measured.append(session)
        elif clock == "cpu":
            told = incomparable_of(run.processes)
    typer.echo(f"{plan.engine.label}: {len(measured)} sessions of {plan.processes} processes")
    if clock != "cpu" and (alone := sum(one.only_cpu_time for one in measured)):
        typer.echo(f"disturbed by other load, and kept for CPU times alone: {alone} of them")
    if len(measured) < count:
        typer.echo(f"{count - len(measured)} more were disturbed by other load and left out")
    if not measured:
        raise UsageError(_nothing_left("no session was left undisturbed", told, clock))
    alike = [session for session in (*known, *measured) if session.kind == measured[-1].kind]
    if len(alike) > len(measured):
        typer.echo(f"with {len(alike) - len(measured)} of earlier calibrations, the first of {alike[0].date}")
    if len(alike) < MIN_SESSIONS:
        typer.echo(f"\n{MIN_SESSIONS} sessions are needed before the gate uses them: run it again")
    else:
        _show_sessions(alike, metrics, threshold, plan.processes)
    typer.echo(f"\nkept in {path}")


def _show_sessions(
    alike: Sequence[ShortSession], metrics: Sequence[str], threshold: float, processes: int
) -> None:
    """A row for each metric that any session has; those with too few of them say so."""
    from pytest_llmbench.gate.calibration import session_noise
    from pytest_llmbench.gate.stored import judge_stored
    from pytest_llmbench.metrics import units

    typer.echo(f"\nsmallest change over {threshold:.0%} that one stored session finds in 4 of 5 cases:")
    typer.echo("metric              sessions          apart      finds")
    for metric in metrics:
        have = sum(metric in session.values for session in alike)
        if not have:
            continue
        spread = finds = units.UNKNOWN
        if (noise := session_noise(metric, alike)) is not None:
            same = [1.0] * processes
            found = judge_stored(metric, [same], same, threshold, noise=noise).detectable
            spread, finds = f"{noise.variance**0.5:.1%}", units.UNKNOWN if found is None else f"{found:.1%}"
        typer.echo(f"{metric:<20}{have:>8}{spread:>15}{finds:>11}")


def _short_session(plan: Plan, run: Run, values: dict[str, list[float]]) -> ShortSession:
    """What is kept of a session."""
    from pytest_llmbench.gate.calibration import ShortSession
    from pytest_llmbench.measure.engine import EngineSpec

    assert isinstance(plan.engine, EngineSpec)
    model = plan.engine.model
    versions = [f"{name} {version}" for name, version in run.processes[0].versions.items()]
    return ShortSession(
        date=now(),
        backend=plan.engine.backend,
        engine=versions[0] if versions else None,
        model=model.spec.name,
        quantization=model.spec.quantization or model.quantization,
        rounds=plan.rounds,
        max_new_tokens=plan.params.max_new_tokens,
        values=values,
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


def _plan(
    backend: str, model: str, quant: str | None, rounds: int, max_new_tokens: int, clock: ClockChoice
) -> Plan:
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
    target = EngineTarget(described)
    if (reason := target.misfit(spec, registry)) is not None:
        raise UsageError(reason)
    options = target.one_thread.of(backend) if clock == "cpu" else {}
    engine = EngineSpec(
        backend=backend,
        reference=reference_of(described),
        model=resolve(spec, described.form),
        options=option_values(described, options),
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

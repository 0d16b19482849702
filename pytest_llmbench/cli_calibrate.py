"""What change can be seen on this machine: ``llmbench calibrate``?"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli_options import STORE, StoreOption
from pytest_llmbench.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.measure.loop import Plan
    from pytest_llmbench.measure.pairs import Pair

_METRICS = ("ttft", "tpot")
_PROMPT = "Explain what a benchmark is in three sentences."


def calibrate(
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="Backend to run on.")
    ] = "llamacpp",
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="Model.")] = "tiny",
    quant: Annotated[str | None, typer.Option("--quant", metavar="NAME", help="Quantisation.")] = None,
    pairs: Annotated[int, typer.Option("--pairs", min=3, max=1000, help="A/A pairs to measure.")] = 12,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of each process.")] = 10,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=2, help="Tokens a round.")] = 32,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, help="Allowed change, 0.05 is 5 %.")
    ] = 0.05,
    store: StoreOption = STORE,
) -> None:
    """Measure A/A pairs and say what change an A/B session can see here, with how many pairs."""
    from pytest_llmbench.gate.calibration import PAIRS, noise_floor, save_calibration
    from pytest_llmbench.report import units
    from pytest_llmbench.results.environment import machine
    from pytest_llmbench.results.store import Store

    plan = _plan(backend, model, quant, rounds, max_new_tokens)
    started = time.monotonic()
    measured = _measure(plan, pairs)
    seconds = (time.monotonic() - started) / pairs
    kept = [pair for pair in measured if not pair.disturbed]
    if len(kept) < 2:
        msg = (
            f"{len(measured) - len(kept)} of {len(measured)} pairs were disturbed by other load; repeat "
            "it when the machine is quieter: what is left shows nothing"
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


def _plan(backend: str, model: str, quant: str | None, rounds: int, max_new_tokens: int) -> Plan:
    from pytest_llmbench.backends.base import GenerationParams
    from pytest_llmbench.backends.options import option_values
    from pytest_llmbench.backends.registry import Registry, reference_of
    from pytest_llmbench.measure.engine import EngineSpec, Prompt
    from pytest_llmbench.measure.loop import Plan
    from pytest_llmbench.models.resolve import parse_spec, resolve
    from pytest_llmbench.selection import misfit

    described = Registry().get(backend)
    if (reason := described.availability().reason) is not None:
        raise UsageError(reason)
    spec = replace(parse_spec(model), quantization=quant)
    if (reason := misfit(described, spec)) is not None:
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
    from pytest_llmbench.hardware.monitor import HardwareMonitor
    from pytest_llmbench.measure.loop import EnginePool
    from pytest_llmbench.measure.pairs import PairedBench, Side
    from pytest_llmbench.measure.run import Run
    from pytest_llmbench.report.progress import Progress

    with HardwareMonitor() as monitor:
        sides = [Side(replace(plan), Run(name, plan.protocol())) for name in ("base", "now")]
        bench = PairedBench(sides[0], sides[1], EnginePool(), monitor, Progress())
        found = []
        with typer.progressbar(range(pairs), label="A/A pairs") as numbers:
            for _ in numbers:
                found.append(bench.pair())
        return found

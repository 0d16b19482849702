"""How is a matrix measured: ``llmbench matrix run``?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.matrix_plan import HardwareFileOption, LookUpOption
from pytest_llmbench.cli.options import STORE, StoreOption, say
from pytest_llmbench.errors import LLMBenchError, UsageError, one_line
from pytest_llmbench.matrix.exits import Exit

if TYPE_CHECKING:
    from pytest_llmbench.matrix.cells import Cell, Plan
    from pytest_llmbench.matrix.executor import Executor
    from pytest_llmbench.results.store import Store

_LOCAL, _RAY = "local", "ray"

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A matrix.")]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="AXIS=VALUE",
        help="Only cells that have it: hardware, model, engine, quantization, case or load. Can be repeated.",
    ),
]


def run_matrix(
    file: FileArgument,
    on: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="WHERE",
            help="local; ray, on this machine; ray://HOST:PORT of a cluster; HOST:PORT on one of its nodes.",
        ),
    ] = _LOCAL,
    hardware: Annotated[
        list[str] | None,
        typer.Option(
            "--hardware",
            metavar="LABEL[=COUNT]",
            help="What this machine is; cpu and what its GPUs are called are known. Can be repeated.",
        ),
    ] = None,
    only: OnlyOption = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", help="Only this batch, from 0; of --hardware, if that is said."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost", metavar="USD", help="Start nothing more when the matrix has cost so much."
        ),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline", metavar="TIME", help="Start nothing more then: 90m, 12h, 2026-01-02T06:00Z."
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="That a cell may take before it is ended.")
    ] = "1h",
    grace: Annotated[
        str,
        typer.Option("--grace", metavar="TIME", help="That what runs has to end after SIGTERM or Ctrl-C."),
    ] = "100s",
    store: StoreOption = STORE,
    hardware_file: HardwareFileOption = None,
    look_up: LookUpOption = True,
) -> None:
    """Measure what is left of a matrix. It may be killed at any moment: run it again.

    Exit status: 0, every cell has a result; 1, some failed for good; 4, the matrix or the command is not
    valid; 75, it was stopped, or could not go on: start it again.
    """
    from pytest_llmbench.matrix.lock import DrivenError

    try:
        status = _run(
            file,
            on=on,
            hardware=hardware or [],
            only=only or [],
            batch=batch,
            max_cost=max_cost,
            deadline=deadline,
            timeout=_seconds("--timeout", timeout),
            grace=_seconds("--grace", grace),
            store=store,
            hardware_file=hardware_file,
            look_up=look_up,
        )
    except LLMBenchError as error:
        typer.echo(f"llmbench: error: {error}", err=True)
        usage = isinstance(error, UsageError) and not isinstance(error, DrivenError)
        status = Exit.USAGE if usage else Exit.AGAIN
    raise typer.Exit(status)


def _run(
    file: Path,
    *,
    on: str,
    hardware: Sequence[str],
    only: Sequence[str],
    batch: int | None,
    max_cost: float | None,
    deadline: str | None,
    timeout: float,
    grace: float,
    store: Path,
    hardware_file: Path | None,
    look_up: bool,
) -> Exit:
    from pytest_llmbench.catalog.hardware import read_devices
    from pytest_llmbench.matrix.choice import batch_of, chosen, kinds_of, read_only
    from pytest_llmbench.matrix.local import read_hardware
    from pytest_llmbench.matrix.plan import plan_of
    from pytest_llmbench.matrix.prices import hourly
    from pytest_llmbench.matrix.run import Bounds, Run
    from pytest_llmbench.results.store import Store

    bounds = Bounds(max_cost, None if deadline is None else _until(deadline), grace)
    devices = read_devices(hardware_file)
    plan = plan_of(file, devices, look_up=look_up)
    cells = chosen(plan, read_only(only))
    labels = read_hardware(hardware, kinds_of(plan.cells))
    part = None
    if batch is not None:
        cells = _of_hardware(cells, hardware)
        cells = batch_of(cells, plan.batch, batch)
        part = "-".join([*hardware, str(batch)])
    target = Store(store.absolute())
    executor = _executor(on, labels, target, plan, grace)
    run = Run(
        target,
        plan,
        executor,
        cells=cells,
        part=part,
        bounds=bounds,
        hourly=hourly(devices),
        timeout=timeout,
        say=say,
    )
    try:
        return run.go()
    finally:
        executor.close()


def _of_hardware(cells: Sequence[Cell], hardware: Sequence[str]) -> list[Cell]:
    """The cells of the hardware that is said: one kind, or all of one label.

    :raises UsageError: if there is none.
    """
    if not hardware:
        return list(cells)
    said = {text.partition("=")[0] for text in hardware}

    found = [cell for cell in cells if cell.hardware.label in said]
    # L4 is one device where the plan has that, and else whatever number of it the plan has.
    found = found or [cell for cell in cells if cell.hardware.name in said]
    if not found:
        msg = f"no cell has the hardware {', '.join(sorted(said))}, so that there is no batch"
        raise UsageError(msg)
    return found


def _executor(on: str, labels: dict[str, int | None], store: Store, plan: Plan, grace: float) -> Executor:
    """:raises UsageError: for a place that there is not."""
    from pytest_llmbench.matrix.local import LocalExecutor, local_hardware
    from pytest_llmbench.matrix.run import attempts_folder

    if on == _LOCAL:
        return LocalExecutor(attempts_folder(store, plan.name), local_hardware(labels))
    if on != _RAY and ":" not in on:
        msg = f"--on {one_line(on, 60)!r}: use local, ray, ray://HOST:PORT or HOST:PORT"
        raise UsageError(msg)
    from pytest_llmbench.matrix.on_ray import connect

    if on == _RAY:
        return connect(None, hardware=local_hardware(labels), grace=grace)
    if labels:
        msg = (
            "--hardware says what this machine is; nodes of a cluster say it themselves, as resources of Ray"
        )
        raise UsageError(msg)
    return connect(on, grace=grace)


def _seconds(option: str, text: str) -> float:
    from pytest_llmbench.times import read_span

    try:
        return read_span(text)
    except ValueError as error:
        msg = f"{option}: {error}"
        raise UsageError(msg) from None


def _until(text: str) -> float:
    """Seconds until *text*: a span, or a point in time."""
    from pytest_llmbench.times import read_iso, read_span

    try:
        return read_span(text)
    except ValueError:
        pass
    try:
        left = read_iso(text) - time.time()
    except ValueError:
        write = "write a span such as 90m or 12h, or a time such as 2026-01-02T06:00Z"
        msg = f"--deadline {one_line(text, 60)!r}: {write}"
        raise UsageError(msg) from None
    if left <= 0:
        msg = f"--deadline {text}: that is over"
        raise UsageError(msg)
    return left

"""Which cells does a matrix have, and what will they take: ``llmbench matrix plan``?"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.documents import warn
from pytest_llmbench.cli.options import STORE, StoreOption, print_columns, say
from pytest_llmbench.metrics.units import count, span

if TYPE_CHECKING:
    from pytest_llmbench.matrix.cells import Plan
    from pytest_llmbench.matrix.estimate import Estimate
    from pytest_llmbench.matrix.state import CellState

HardwareFileOption = Annotated[
    Path | None,
    typer.Option(
        "--hardware-file",
        metavar="FILE",
        help="What your hardware has and costs, in place of the labels that come with the package.",
    ),
]
LookUpOption = Annotated[
    bool, typer.Option("--look-up/--no-look-up", help="Whether hubs are asked if each model is there.")
]
_REASONS = 10


def show_plan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A matrix.")],
    store: StoreOption = STORE,
    hardware_file: HardwareFileOption = None,
    look_up: LookUpOption = True,
    cells: Annotated[bool, typer.Option("--cells", help="List every cell, in order.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write a line of JSON for each cell.")] = False,
) -> None:
    """Count the cells of a matrix, and say what is left out and why, and what they will take.

    Time and money are estimated from what cells like these took before, and from list prices.
    """
    from pytest_llmbench.catalog.hardware import read_devices
    from pytest_llmbench.matrix.estimate import estimates
    from pytest_llmbench.matrix.plan import plan_of
    from pytest_llmbench.matrix.prices import hourly
    from pytest_llmbench.matrix.summary import CellSummary

    devices = read_devices(hardware_file)
    plan = plan_of(file, devices, look_up=look_up)
    if as_json:
        for cell in plan.cells:
            say(json.dumps({**asdict(CellSummary.of(cell)), "refused": plan.refused.get(cell.id)}))
        return
    before = _before(store, plan)
    done = {cell.id for cell in before if cell.state == "done"}
    left = [cell for cell in plan.cells if cell.id not in done and cell.id not in plan.refused]
    say(f"{plan.name}: {count(len(plan.cells), 'cell')}, {count(len(done), 'cell')} of them done")
    for axis, values in plan.counts.items():
        if len(values) > 1:
            say(f"  {axis}: " + ", ".join(f"{value} {number:,}" for value, number in values.items()))
    if cells:
        for cell in plan.cells:
            say(f"  {cell.id} {cell.label}" + (" (done)" if cell.id in done else ""))
    _tell_reasons(plan)
    if left:
        _tell_estimates(estimates(left, before, hourly(devices)))


def _before(store: Path, plan: Plan) -> list[CellState]:
    """The cells of the matrix as they are in the store; none where it was never run."""
    from pytest_llmbench.matrix.state import read_state
    from pytest_llmbench.matrix.summary import matrices
    from pytest_llmbench.results.store import Store

    kept = Store(store)
    return list(read_state(kept, plan.name).cells) if plan.name in matrices(kept) else []


def _tell_reasons(plan: Plan) -> None:
    if plan.excluded:
        say(f"left out by exclude: {count(plan.excluded, 'combination')}")
    reasons = Counter(one.reason for one in plan.dropped)
    for reason, number in reasons.most_common(_REASONS):
        say(f"left out: {count(number, 'combination')}: {reason}")
    if len(reasons) > _REASONS:
        say(f"left out for {len(reasons) - _REASONS} more reasons")
    for reason, number in Counter(plan.refused.values()).most_common(_REASONS):
        warn([f"{count(number, 'cell')} will fail: {reason}"])


def _tell_estimates(found: list[Estimate]) -> None:
    rows = []
    for one in found:
        known = one.cells - one.unknown
        rows.append(
            [
                one.hardware.label,
                f"{one.cells:,}",
                span(one.seconds) if known else "-",
                "-" if one.usd is None else f"${one.usd:,.2f}",
                f"{one.unknown:,}" if one.unknown else "",
            ]
        )
    print_columns([["hardware", "cells left", "time", "cost", "not known"], *rows])

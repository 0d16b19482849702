"""How far is a matrix, and what is measured again: ``llmbench matrix status``, ``retry`` and ``export``?"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.export import DEFAULT_FORM, OutputOption, need_a_name, write_form
from pytest_llmbench.cli.matrix_plan import HardwareFileOption
from pytest_llmbench.cli.options import STORE, StoreOption, print_columns, say
from pytest_llmbench.errors import UsageError, few

if TYPE_CHECKING:
    from pytest_llmbench.catalog.hardware import Devices
    from pytest_llmbench.matrix.state import State
    from pytest_llmbench.results.store import Store

_MOST = 20
"""Failed cells that are listed."""
_AGAIN = 2.0
"""Seconds between two looks of a live view."""
_HEADS = ("HARDWARE", "DONE", "RUNNING", "FAILED", "LEFT")

NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="[MATRIX]", help="Its name, or its file; the only one of the store by default."),
]


def show_status(
    matrix: NameArgument = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="On a terminal: show it anew until nothing runs any more.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write it as JSON, with every cell.")] = False,
    store: StoreOption = STORE,
    hardware_file: HardwareFileOption = None,
) -> None:
    """Show what of a matrix is done, running, failed and left, and how long that will take."""
    import json

    from pytest_llmbench.catalog.hardware import read_devices
    from pytest_llmbench.matrix.state import read_state

    found, name = _named(store, matrix)
    devices = read_devices(hardware_file)
    state = read_state(found, name, devices=devices)
    if as_json:
        typer.echo(json.dumps(asdict(state), default=dict))
        return
    if watch and sys.stdout.isatty():
        _watch(found, state, devices)
        return
    for line in _lines(state):
        say(line)
    print_columns(_table(state))
    failed = [cell for cell in state.cells if cell.state == "failed"]
    for cell in failed[:_MOST]:
        say(f"failed, {cell.end}: {cell.label}: {cell.reason}")
    if len(failed) > _MOST:
        say(f"and {len(failed) - _MOST} more: --json lists all")


def retry_cells(
    matrix: NameArgument = None,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed.")] = False,
    invalid: Annotated[
        bool, typer.Option("--invalid", help="Those with a result that says itself that it cannot be right.")
    ] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="TIME", help="Those measured longer ago: 30d, 8w.")
    ] = None,
    store: StoreOption = STORE,
) -> None:
    """Have cells measured again by the next run. Their results stay; no result is ever removed."""
    from pytest_llmbench.matrix.collect import older, spoiled
    from pytest_llmbench.matrix.journal import MatrixJournal
    from pytest_llmbench.matrix.lock import driving
    from pytest_llmbench.matrix.state import read_state
    from pytest_llmbench.matrix.summary import matrix_folder
    from pytest_llmbench.metrics.units import count
    from pytest_llmbench.times import read_span

    if not (failed or invalid or older_than):
        msg = "say which cells: --failed, --invalid or --older-than 30d"
        raise UsageError(msg)
    try:
        age = None if older_than is None else read_span(older_than)
    except ValueError as error:
        msg = f"--older-than: {error}"
        raise UsageError(msg) from None
    found, name = _named(store, matrix)
    folder = matrix_folder(found, name)
    again = 0
    with driving(folder):
        journal = MatrixJournal(folder)
        try:
            for cell in read_state(found, name).cells:
                results = [] if age is None else older(cell, age)
                results += spoiled(found, cell) if invalid else []
                if results or (failed and cell.state == "failed"):
                    journal.again(cell.id, sorted(set(results)))
                    again += 1
        finally:
            journal.close()
    say(f"{count(again, 'cell')} of matrix {name} will be measured by the next run")


def export_matrix(
    matrix: NameArgument = None,
    form: Annotated[
        str, typer.Option("--format", "-f", metavar="NAME", help="What to write, as llmbench export has it.")
    ] = DEFAULT_FORM,
    output: OutputOption = None,
    store: StoreOption = STORE,
) -> None:
    """Write the newest result of every cell, together in one form."""
    from pytest_llmbench.cli.documents import warn
    from pytest_llmbench.matrix.collect import one_document
    from pytest_llmbench.matrix.state import read_state
    from pytest_llmbench.report.exports import Wanted, export

    need_a_name(form, output)
    found, name = _named(store, matrix)
    document, problems = one_document(found, read_state(found, name))
    warn(problems)
    write_form(export(document, form, Wanted()), output)


def _named(folder: Path, matrix: str | None) -> tuple[Store, str]:
    """The store, and the matrix's name.

    :raises UsageError: if it is not said and there is not just one.
    """
    from pytest_llmbench.matrix.plan import name_of
    from pytest_llmbench.matrix.summary import matrices
    from pytest_llmbench.results.store import Store

    store = Store(folder)
    if matrix is not None:
        path = Path(matrix)
        return store, name_of(path) if path.suffix.lower() in (".yaml", ".yml") and path.is_file() else matrix
    names = matrices(store)
    if len(names) == 1:
        return store, names[0]
    if names:
        msg = f"say which matrix of {store.path}: {few(names)}"
    else:
        msg = f"there is no matrix in {store.path}: run one first, with 'llmbench matrix run'"
    raise UsageError(msg)


def _lines(state: State) -> list[str]:
    from pytest_llmbench.metrics.units import count, span

    counts = state.counts
    kinds = ", ".join(f"{end} {number}" for end, number in sorted(state.failed_by.items()))
    failed = f"{counts['failed']} failed" + (f" ({kinds})" if kinds else "")
    lines = [
        f"Matrix {state.name}: {count(len(state.cells), 'cell')}, {counts['done']} done, {counts['running']} "
        f"running, {failed}, {counts['left']} left" + ("" if state.driven else "; nothing drives it")
    ]
    told = [f"{span(state.seconds)} were spent"] if state.seconds else []
    if state.cost is not None:
        told.append(f"for ${state.cost:.2f}")
    if state.eta:
        told.append(f"about {span(state.eta)} to go")
    return lines + ([", ".join(told)] if told else [])


def _table(state: State) -> list[tuple[str, ...]]:
    """A row for each kind of hardware."""
    counted: dict[str, Counter[str]] = {}
    for cell in state.cells:
        counted.setdefault(cell.devices.label, Counter())[cell.state] += 1
    rows = [(label, *(str(of[head.lower()]) for head in _HEADS[1:])) for label, of in counted.items()]
    return [_HEADS, *rows]


def _watch(store: Store, state: State, devices: Devices) -> None:
    """Show it until nothing drives it, or a person has seen enough."""
    import time
    from contextlib import suppress

    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from pytest_llmbench.errors import shown
    from pytest_llmbench.matrix.state import read_state

    def view(state: State) -> Group:
        heads, *rows = _table(state)
        table = Table(*heads, box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        running = [cell.label for cell in state.cells if cell.state == "running"][:_MOST]
        lines = [Text(shown(line)) for line in (*_lines(state), *(f"running: {one}" for one in running))]
        return Group(*lines, table)

    shown_live = Live(view(state), auto_refresh=False)
    with suppress(KeyboardInterrupt), shown_live as live:
        while state.driven:
            time.sleep(_AGAIN)
            state = read_state(store, state.name, devices=devices)
            live.update(view(state), refresh=True)

"""How did a case change over time: ``llmbench history``?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_llmbench.cli.documents import warn
from pytest_llmbench.cli.options import STORE, StoreOption, say
from pytest_llmbench.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.gate.history import Series


def show_history(
    case: Annotated[str, typer.Argument(metavar="CASE", help="A part of the case's id.")],
    metric: Annotated[str, typer.Option(metavar="NAME", help="Which metric.")] = "tpot",
    store: StoreOption = STORE,
) -> None:
    """Show a metric over the sessions of the store: what changed since the one before and the first."""
    from pytest_llmbench.gate.history import MIN_SESSIONS, check_metric, history
    from pytest_llmbench.gate.past import pasts_of
    from pytest_llmbench.results.brief import read_brief
    from pytest_llmbench.results.store import Store

    found = Store(store)
    entries, problems = found.documents()
    check_metric(metric)
    warn(problems)
    series = history(pasts_of((read_brief(entry.path) for entry in entries), case, metric), metric)
    if not series:
        msg = f"no session of {found.path} has a case with {case!r} in its id that measured {metric}"
        raise UsageError(msg)
    for _, group in groupby(series, key=lambda one: one.key):
        _show_history(list(group))
    if all(len(one.points) < MIN_SESSIONS for one in series):
        typer.echo(f"Change points are looked for in {MIN_SESSIONS} sessions or more.", err=True)


def _show_history(group: Sequence[Series]) -> None:
    """All that is known of one case: a block for each machine and way in which it was measured."""
    from pytest_llmbench.results.records import DEFAULT_MEASUREMENT

    nodeid, measurement = group[0].key
    label = "" if measurement == DEFAULT_MEASUREMENT else f" ({measurement})"
    say(f"{nodeid}{label}: {group[0].metric}")
    for series in group:
        if series.points:
            _show_series(series)
    for told in group[0].left_out:
        say(f"  left out: {told}")
    typer.echo()


def _show_series(series: Series) -> None:
    from pytest_llmbench.metrics.table import METRICS
    from pytest_llmbench.metrics.units import quantity
    from pytest_llmbench.report.judgment import signed

    definition = METRICS[series.metric]
    engine = series.points[0].past.engine
    say(f"  machine {series.machine or 'unknown'}, {engine or 'engine unknown'}")
    say(f"  {'DATE (UTC)':<16}  {'COMMIT':<10}  {'VALUE':>12}  {'ON LAST':>8}  {'ON FIRST':>8}  PROC.")
    first: float | None = None
    last: float | None = None
    for point in series.points:
        past = point.past
        notes = []
        if point.change is not None:
            worse = (point.change > 0) == (definition.better == "lower")
            notes.append(f"<- {signed(point.change)}, {'worse' if worse else 'better'}")
        if past.failed:
            notes.append("failed")
        if past.engine != engine:
            notes.append(f"{engine} -> {past.engine}")
            engine = past.engine
        value = quantity(point.value, definition.unit)
        date = past.started[:16].replace("T", " ")
        on = [signed(point.value / base - 1) if base else "" for base in (last, first)]
        commit = past.commit or "-"
        line = f"  {date:<16}  {commit:<10}  {value:>12}  {on[0]:>8}  {on[1]:>8}  {past.processes:>5}"
        say(f"{line}  {'; '.join(notes)}".rstrip())
        first, last = first or point.value, point.value

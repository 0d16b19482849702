"""Which cases are in the store, and how did they go over time: ``llmbench query`` and ``llmbench trend``?"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_llmbench.cli.documents import warn
from pytest_llmbench.cli.index import open_index
from pytest_llmbench.cli.options import STORE, StoreOption, print_columns, say
from pytest_llmbench.errors import UsageError

if TYPE_CHECKING:
    from pytest_llmbench.gate.trend import Trend
    from pytest_llmbench.results.index.build import Index

SHOWN = ("started", "session", "nodeid", "measurement", "outcome", "verdict", "ttft", "tpot")
"""The columns where none are asked for."""
_BARS = "▁▂▃▄▅▆▇█"


class TableFormat(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


FormatOption = Annotated[
    TableFormat, typer.Option("--format", "-f", help="table is for people; csv and json are in SI units.")
]
UpdateOption = Annotated[
    bool, typer.Option("--update/--no-update", help="Whether the index is first brought up to date.")
]


def query(
    conditions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONDITION]...",
            help="COLUMN=VALUE (several with commas), or with !=, <, <=, >, >= or ~ (contains), such as "
            "backend=llamacpp, model~llama, ttft.p95<500ms, started>2026-11-01, verdict=fail.",
        ),
    ] = None,
    columns: Annotated[
        str, typer.Option("--columns", "-c", metavar="NAMES", help="What rows have: METRIC.STATISTIC too.")
    ] = "",
    sort: Annotated[
        str, typer.Option("--sort", "-s", metavar="NAMES", help="The first first; -NAME turns it around.")
    ] = "",
    group: Annotated[
        str, typer.Option("--group", "-g", metavar="NAMES", help="A row for each group of equal columns.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="Rows at most; 1 to 1000.")] = 50,
    latest: Annotated[
        bool, typer.Option("--latest", help="Of cases that compare, the newest alone.")
    ] = False,
    form: FormatOption = TableFormat.TABLE,
    update: UpdateOption = True,
    store: StoreOption = STORE,
) -> None:
    """Find cases of the store."""
    index = _index(store, update)
    from pytest_llmbench.results.index.query import Query, groups, run

    asked = Query(conditions or (), _names(columns) or SHOWN, _names(sort), limit, None, latest)
    try:
        if group:
            heads, rows = groups(index.database, asked, _names(group), _names(columns) or ("ttft", "tpot"))
            _write(heads, rows, form)
            return
        page = run(index.database, asked)
    finally:
        index.close()
    _write(page.columns, page.rows, form)
    if page.next is not None:
        typer.echo(f"There are more; --limit shows more than {limit}.", err=True)


def show_trend(
    case: Annotated[str, typer.Argument(metavar="[CASE]", help="A part of the case's id.")] = "",
    metric: Annotated[str, typer.Option(metavar="NAME", help="Which metric.")] = "ttft",
    since: Annotated[
        datetime | None, typer.Option(metavar="TIME", help="UTC, such as 2026-11-01.", formats=["%Y-%m-%d"])
    ] = None,
    regressed: Annotated[bool, typer.Option("--regressed", help="List only where it got worse.")] = False,
    improved: Annotated[bool, typer.Option("--improved", help="List only where it got better.")] = False,
    form: FormatOption = TableFormat.TABLE,
    update: UpdateOption = True,
    store: StoreOption = STORE,
) -> None:
    """Show a metric over time, case by case and machine by machine, with its change points.

    A change of engine, weights or settings breaks a line. In 'table', each character is a session.
    """
    from pytest_llmbench.gate.history import check_metric

    check_metric(metric)
    index = _index(store, update)
    from pytest_llmbench.gate.trend import pasts_of_index, regressions, trends

    try:
        begin = None if since is None else since.replace(tzinfo=UTC)
        found = trends(pasts_of_index(index.database, case, metric, begin), metric)
    finally:
        index.close()
    if not found:
        which = f" with {case!r} in its id" if case else ""
        msg = f"no session of {store} has a case{which} that measured {metric}"
        raise UsageError(msg)
    if regressed or improved:
        told = regressions(found) if regressed else []
        told += regressions(found, improved=True) if improved else []
        heads = ("started", "commit", "case", "measurement", "change", "machine")
        rows = [(p.past.started, p.past.commit, *line.key, p.change, line.machine) for line, p in told]
        _write(heads, rows, form)
        return
    if form is TableFormat.TABLE:
        for line in found:
            _show_line(line)
        return
    columns = ("started", "session", "commit", "case", "measurement", "machine", metric, "broken", "change")
    points = [
        (p.past.started, p.past.session, p.past.commit, *line.key, line.machine, p.value, p.broken, p.change)
        for line in found
        for p in line.points
    ]
    _write(columns, points, form)


def _show_line(line: Trend) -> None:
    from pytest_llmbench.metrics.table import METRICS
    from pytest_llmbench.metrics.units import count, quantity
    from pytest_llmbench.report.judgment import signed
    from pytest_llmbench.results.records import label_of

    say(f"{label_of(*line.key)}: {line.metric}, machine {line.machine or 'unknown'}")
    if line.points:
        values = [point.value for point in line.points]
        unit = METRICS[line.metric].unit
        low, high = min(values), max(values)
        ends = f"{quantity(low, unit)} to {quantity(high, unit)}"
        say(f"  {_sparkline(line)}  {ends}, now {quantity(values[-1], unit)}")
    for point in line.points:
        if point.broken is not None:
            say(f"  {point.past.started[:16]}  {point.past.commit or '-':<10}  break: {point.broken}")
        if point.change is not None:
            how = "worse" if point.worse(line.metric) else "better"
            say(f"  {point.past.started[:16]}  {point.past.commit or '-':<10}  {signed(point.change)}, {how}")
    if line.left_out:
        say(f"  left out: {count(len(line.left_out), 'session')}, such as {line.left_out[-1]}")


def _sparkline(line: Trend) -> str:
    values = [point.value for point in line.points]
    low, high = min(values), max(values)
    drawn = []
    for point in line.points[-120:]:
        if point.broken is not None:
            drawn.append("|")
        level = (point.value - low) / (high - low) if high > low else 0.5
        drawn.append(_BARS[min(int(level * len(_BARS)), len(_BARS) - 1)])
    return "".join(drawn)


def _index(store: Path, update: bool) -> Index:
    index = open_index(store)
    if update:
        warn(index.update().problems)
    return index


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _write(heads: Sequence[str], rows: Iterable[Sequence[Any]], form: TableFormat) -> None:
    if form is TableFormat.TABLE:
        print_columns([tuple(head.upper() for head in heads), *(_cells(heads, row) for row in rows)])
        return
    plain = [[one.isoformat() if isinstance(one, datetime) else one for one in row] for row in rows]
    if form is TableFormat.JSON:
        sys.stdout.write(json.dumps([dict(zip(heads, row, strict=True)) for row in plain], indent=1) + "\n")
        return
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(plain)
    sys.stdout.write(out.getvalue())


def _cells(heads: Sequence[str], row: Sequence[Any]) -> tuple[str, ...]:
    from pytest_llmbench.metrics.table import METRICS
    from pytest_llmbench.metrics.units import quantity
    from pytest_llmbench.report.judgment import signed

    cells = []
    for head, value in zip(heads, row, strict=True):
        metric, _, statistic = head.split(" ")[0].partition(".")
        if value is None:
            cells.append("-")
        elif isinstance(value, datetime):
            cells.append(value.strftime("%Y-%m-%d %H:%M"))
        elif head == "change":
            cells.append(signed(value))
        elif metric in METRICS and statistic not in ("n", "processes") and isinstance(value, int | float):
            cells.append(quantity(value, METRICS[metric].unit))
        else:
            cells.append(str(value))
    return tuple(cells)

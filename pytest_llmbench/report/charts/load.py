"""How does a server answer as the load rises, and what does it cost to have more of it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.row import Statistic
from pytest_llmbench.metrics.summary import PERCENTILES
from pytest_llmbench.metrics.table import METRICS, slo_metrics
from pytest_llmbench.report.charts.cases import (
    LOAD,
    LOADS,
    axis_of,
    bounded,
    entries,
    head_of,
    kind_of,
    median_of,
    names_of,
    parts,
    said_load,
    slug,
    together,
)
from pytest_llmbench.report.charts.front import front
from pytest_llmbench.report.charts.model import MOST_SERIES, Axis, Chart, Column, Series, Style
from pytest_llmbench.report.load import LoadKind, knee_of, load_of, sweeps, told_of

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord, ResultsDocument

_FEW: tuple[tuple[Statistic, Style], ...] = (("p50", "solid"), ("p99", "dashed"))
_MANY: tuple[tuple[Statistic, Style], ...] = (
    ("p50", "solid"),
    ("p90", "dashed"),
    ("p95", "dashed"),
    ("p99", "dotted"),
)
_NO_LEVELS = "no load level was measured; tests measure them with llm_load, as by --llm-concurrency=1,8,64"
LATENCY = "e2e_latency"
THROUGHPUT = "system_throughput"


@dataclass(frozen=True, slots=True)
class Sweep:
    """The levels of one test on one server and model, by rising load."""

    name: str
    kind: LoadKind
    levels: tuple[tuple[float, CaseRecord], ...]

    def points(self, metric: str, statistic: Statistic) -> tuple[tuple[float | None, ...], ...]:
        """(load, statistic of *metric*) of each level; None where it has none."""
        return tuple(
            (load, None if (found := case.metrics.get(metric)) is None else getattr(found, statistic))
            for load, case in self.levels
        )

    def medians(self, metric: str) -> list[tuple[float, float]]:
        """The loads that have a value of *metric*, each with its median."""
        found = ((at, median_of(case, metric)) for at, case in self.levels)
        return [(at, value) for at, value in found if value is not None]

    def labels(self, metric: str, statistic: Statistic) -> tuple[str, ...]:
        """What there is to know of each level's value."""
        return tuple(together(_few(case, metric, statistic), told_of(case)) or "" for _, case in self.levels)


def sweeps_of(documents: Sequence[ResultsDocument]) -> list[Sweep]:
    """The sweeps of all *documents*, each with a name of its own.

    Each cell of a matrix is one level, in a document of its own: those of one kind of hardware make sweeps
    together, and of a cell that was measured several times the newest result is a part of them.
    """
    by_case = {id(entry.case): entry for entry in entries(documents) if not entry.base_side}
    pools: dict[object, list[CaseRecord]] = {}
    for document in _newest(documents):
        cell = document.session.cell
        where = document.session.id if cell is None else (cell.matrix, cell.hardware, cell.count)
        pools.setdefault(where, []).extend(case for case in document.cases if id(case) in by_case)
    groups = [levels for cases in pools.values() for levels in sweeps(cases)]
    names = names_of([parts(by_case[id(levels[0])], *LOAD) for levels in groups])
    found = []
    for name, levels in zip(names, groups, strict=True):
        loads = [load_of(case) for case in levels]
        both = tuple((load[1], case) for load, case in zip(loads, levels, strict=True) if load is not None)
        if loads[0] is not None:
            found.append(Sweep(name, loads[0][0], both))
    return found


def _newest(documents: Sequence[ResultsDocument]) -> list[ResultsDocument]:
    """*documents* without those of which a later one measured the same cell."""
    cells: dict[str, str] = {}
    for document in documents:
        if (cell := document.session.cell) is not None:
            cells[cell.id] = max(document.session.id, cells.get(cell.id, ""))
    return [
        document
        for document in documents
        if (cell := document.session.cell) is None or cells[cell.id] == document.session.id
    ]


def latencies(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """TTFT, TPOT and E2E latency against the load: a chart for each, and for each kind of load."""
    found = sweeps_of(documents)
    kinds = list(dict.fromkeys(sweep.kind for sweep in found))
    charts = [
        _latency([sweep for sweep in found if sweep.kind == kind], kind, metric)
        for kind in kinds
        for metric in slo_metrics()
    ]
    return charts or [
        Chart(
            id="load-latency",
            title="Latency against load",
            question="How long does a user wait as more requests come?",
            x=LOADS["concurrency"],
            y=axis_of("ttft"),
            missing=_NO_LEVELS,
        )
    ]


def _latency(found: Sequence[Sweep], kind: LoadKind, metric: str) -> Chart:
    with_values = [sweep for sweep in found if any(metric in case.metrics for _, case in sweep.levels)]
    statistics = _MANY if len(with_values) == 1 else _FEW
    shown, note = bounded(with_values, (one.name for one in with_values), MOST_SERIES // len(statistics))
    loads = [load for sweep in shown for load, _ in sweep.levels]
    x = LOADS[kind]
    unit = METRICS[metric].unit
    return Chart(
        id=slug("load", metric, kind),
        title=f"{head_of(metric)} against {x.label}",
        question=f"How does {head_of(metric)} rise as more requests come?",
        x=Axis(label=x.label, unit=x.unit, kind=kind_of(loads)),
        y=axis_of(metric),
        series=tuple(
            Series(
                name=f"{sweep.name} {statistic}" if len(shown) > 1 else statistic,
                points=sweep.points(metric, statistic),
                labels=sweep.labels(metric, statistic),
                color=place,
                style=style,
            )
            for place, sweep in enumerate(shown)
            for statistic, style in statistics
        ),
        columns=(
            Column(head="sweep"),
            Column(head=x.label, unit=x.unit),
            *(Column(head=f"p{q}", unit=unit) for q in PERCENTILES),
            Column(head="values"),
            Column(head="remarks"),
        ),
        rows=tuple(
            (
                sweep.name,
                load,
                *((getattr(held, f"p{q}") for q in PERCENTILES) if held else [None] * len(PERCENTILES)),
                held.n if held else 0,
                together(_few(case, metric, "p99"), told_of(case)),
            )
            for sweep in shown
            for load, case in sweep.levels
            for held in [case.metrics.get(metric)]
        ),
        note=note,
        missing=None if shown else f"no level has {metric}",
    )


def throughputs(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """System throughput against E2E latency: a line for each sweep, its knee, and the Pareto line of all."""
    found = [sweep for sweep in sweeps_of(documents) if any(_both(sweep))]
    shown, note = bounded(found, (sweep.name for sweep in found), MOST_SERIES - 2)
    series = [
        Series(
            name=sweep.name,
            points=tuple((latency, throughput) for _, _, latency, throughput in _both(sweep)),
            labels=tuple(
                together(f"{said_load(sweep.kind, load)};", told_of(case)) or ""
                for load, case, *_ in _both(sweep)
            ),
            color=place,
        )
        for place, sweep in enumerate(shown)
    ]
    knees = [
        (latency, throughput, f"{sweep.name}: {said_load(sweep.kind, load)}")
        for sweep in shown
        for load, case, latency, throughput in _both(sweep)
        if case is knee_of([level for _, level in sweep.levels])
    ]
    if knees:
        series.append(
            Series(
                name="knee",
                points=tuple((latency, throughput) for latency, throughput, _ in knees),
                labels=tuple(label for *_, label in knees),
                shape="scatter",
                role="knee",
            )
        )
    best = pareto(
        [
            (latency, throughput)
            for sweep in shown
            for _, case, latency, throughput in _both(sweep)
            if not _not_valid(case)
        ]
    )
    if len(best) > 1:
        series.append(
            Series(name="Pareto line", points=tuple(best), shape="line", style="dashed", role="pareto")
        )
    latency_unit, throughput_unit = METRICS[LATENCY].unit, METRICS[THROUGHPUT].unit
    latencies_drawn = [latency for sweep in shown for _, _, latency, _ in _both(sweep)]
    x = axis_of(LATENCY, "p50")
    return [
        Chart(
            id="load-throughput",
            title="Throughput against latency",
            question="How much more does a server do for users who wait longer, and where does that end?",
            x=Axis(label=x.label, unit=x.unit, kind=kind_of(latencies_drawn)),
            y=axis_of(THROUGHPUT),
            series=tuple(series),
            columns=(
                Column(head="sweep"),
                Column(head="load"),
                Column(head="E2E p50", unit=latency_unit),
                Column(head=head_of(THROUGHPUT), unit=throughput_unit),
                Column(head="on the Pareto line"),
                Column(head="remarks"),
            ),
            rows=tuple(
                (
                    sweep.name,
                    said_load(sweep.kind, load),
                    latency,
                    throughput,
                    "yes" if (latency, throughput) in best else "no",
                    told_of(case),
                )
                for sweep in shown
                for load, case, latency, throughput in _both(sweep)
            ),
            note=together(
                note,
                "Up and to the left is better. Knee: from there on more load raises latency more than "
                "throughput. Levels that are not valid are not on the Pareto line.",
            )
            if shown
            else None,
            missing=None
            if shown
            else _NO_LEVELS
            if not sweeps_of(documents)
            else f"no level has both {THROUGHPUT} and {LATENCY}",
        )
    ]


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (latency, throughput) to which no other is better in one and as good in the other.

    By rising latency, and so by rising throughput.
    """
    return list(dict.fromkeys(points[index] for index in front(points, ("lower", "higher"))))


def _both(sweep: Sweep) -> Iterator[tuple[float, CaseRecord, float, float]]:
    """(load, level, latency, throughput) of the levels that have both."""
    for load, case in sweep.levels:
        latency, throughput = median_of(case, LATENCY), median_of(case, THROUGHPUT)
        if latency is not None and throughput is not None:
            yield load, case, latency, throughput


def _not_valid(case: CaseRecord) -> bool:
    return any(process.load is not None and process.load.invalid for process in case.processes)


def _few(case: CaseRecord, metric: str, statistic: Statistic) -> str | None:
    """That too few values were taken for a percentile, if they were."""
    held = case.metrics.get(metric)
    if held is None or statistic not in held.unsupported:
        return None
    return f"{held.n} values are too few for {statistic}: none lies beyond it"

"""Which cells does each case have, whatever draws the table?

The terminal and Markdown read the same columns, so that they can never disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.metrics import units
from pytest_llmbench.metrics.row import Metric, ResultsTable, Shown, Statistic
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import UNTIMED, by_reason
from pytest_llmbench.servers.table import start_label

if TYPE_CHECKING:
    from pytest_llmbench.results.records import CaseRecord

Spread = Literal["none", "told", "marked"]
WIDE_SPREAD = 0.1
"""Standard deviation over median above which a median is marked."""

SPREAD_MARK = "~"
UNSUPPORTED_MARK = "*"
DISTURBED_MARK = "!"
UNWATCHED_MARK = "?"
UNKNOWN_MARK = "#"
FILE_SIZE = "size"
"""The column of the model's file size, where it is asked for."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head, and the text of its cell for a case."""

    head: str
    cell: Callable[[CaseRecord], str]
    both: bool = False
    """Whether a conversation's turn has a cell for each way in which it was asked."""


@dataclass(frozen=True, slots=True)
class Group:
    """The cases of one test function, in the order they ran."""

    file: str
    function: str
    """``test_x`` or ``TestY::test_x``."""
    cases: tuple[CaseRecord, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """What tells the cases of the group apart, one text a case; may be empty."""
        measurements = {case.measurement for case in self.cases}
        return tuple(_label(case, measured=len(measurements) > 1) for case in self.cases)

    @property
    def names(self) -> set[str]:
        """What stands in the labels as one word, whatever dashes it has: models, servers, parameters."""
        found = set()
        for case in self.cases:
            engine = case.processes[0].engine if case.processes else {}
            server = start_label(str(engine.get("server")))
            found |= {_shown_name(case), server, *map(str, case.params.values())}
        return {name for name in found if "-" in name}

    def by_backend(self) -> list[Group]:
        """The group's cases split by backend, in the order in which each backend first ran."""
        names = dict.fromkeys(case.model.backend for case in self.cases)
        return [
            replace(self, cases=tuple(c for c in self.cases if c.model.backend == name)) for name in names
        ]


def is_load(case: CaseRecord) -> bool:
    """Whether a case is a load level, whose rounds are requests that overlap."""
    return any(process.load is not None for process in case.processes)


def is_turn(case: CaseRecord) -> bool:
    """Whether a case is a turn of a conversation."""
    return case.protocol.turn is not None and not is_load(case)


class Kinds(NamedTuple):
    """Cases by the table in which they stand."""

    models: list[CaseRecord]
    turns: list[CaseRecord]
    loads: list[CaseRecord]

    @classmethod
    def of(cls, cases: Iterable[CaseRecord]) -> Kinds:
        """*cases* by their kinds, each in the order they ran."""
        found = cls([], [], [])
        for case in cases:
            (found.loads if is_load(case) else found.turns if is_turn(case) else found.models).append(case)
        return found


def grouped(cases: Iterable[CaseRecord]) -> list[Group]:
    """*cases* sorted by file, in it by test function; both else in the order they ran."""
    found: dict[tuple[str, str], list[CaseRecord]] = {}
    for case in cases:
        found.setdefault((case.file, _function(case)), []).append(case)
    order = sorted(found, key=lambda key: key[0])
    return [Group(file, function, tuple(found[file, function])) for file, function in order]


def columns(cases: Sequence[CaseRecord], *, wide: bool) -> list[Column]:
    """The columns that *cases* need.

    Those of metrics are as their rows say: *wide* adds the spread of the latencies and their 95th
    percentiles. GPU memory, energy and disturbance have a column only where at least one case has something
    to show there.
    """
    chosen = metric_columns("cases", cases, wide=wide)
    if any(case.protocol.depth for case in cases):
        chosen.insert(0, Column("tokens", _lengths))
    chosen.append(Column("rounds", rounds))
    chosen += hidden_tokens(cases)
    if any(disturbance(case) for case in cases):
        chosen.append(Column("dist.", disturbance))
    return chosen


def metric_columns(
    table: ResultsTable,
    cases: Sequence[CaseRecord],
    *,
    wide: bool,
    marks: Mapping[str, Callable[[CaseRecord], str]] | None = None,
) -> list[Column]:
    """The columns of the metrics that stand in *table*, as their rows say.

    :param marks: by metric, what follows its median.
    """
    found: list[tuple[int, list[Column]]] = []
    for row in METRICS.values():
        for shown in row.shown:
            if shown.table == table and _has_column(row.name, shown, cases):
                mark = (marks or {}).get(row.name)
                statistics = shown.wide if wide and shown.wide is not None else shown.statistics
                made = [_metric_column(row, shown, name, wide=wide, mark=mark) for name in statistics]
                found.append((shown.place, made))
    return [column for _, made in sorted(found, key=lambda one: one[0]) for column in made]


def _has_column(metric: str, shown: Shown, cases: Sequence[CaseRecord]) -> bool:
    if shown.when == "measured":
        return any(metric in case.metrics or metric in case.unknown for case in cases)
    if shown.when == "above 0":
        return any(case.metrics[metric].median > 0 for case in cases if metric in case.metrics)
    return True


def _metric_column(
    row: Metric, shown: Shown, statistic: Statistic, *, wide: bool, mark: Callable[[CaseRecord], str] | None
) -> Column:
    head = shown.head or row.head or row.name
    if statistic != "median":
        told = partial(percentile, metric=row.name, name=statistic, wide=wide)
        return Column(f"{head} {statistic}", told, shown.both)
    # Requests of a load level differ; how far, their percentiles say.
    spread: Spread = "none" if shown.table == "levels" else "told" if wide and shown.spread else "marked"

    def cell(case: CaseRecord) -> str:
        other = shown.instead
        name = other if other in case.metrics and row.name not in case.metrics else row.name
        return median(case, name, spread=spread) + ("" if mark is None else mark(case))

    return Column(head, cell, shown.both)


def requested(names: Iterable[str]) -> list[Column]:
    """The columns that were asked for beside those of a table: ``size``, or any metric's median.

    :raises UsageError: for a name that is neither.
    """
    return [_requested(name) for name in names]


def _requested(name: str) -> Column:
    if name == FILE_SIZE:
        return Column("file size", lambda case: units.size(case.model.size))
    if name not in METRICS:
        known = [FILE_SIZE, *METRICS]
        msg = f"there is no column {name!r}{suggest(name, known)}; there are {', '.join(known)}"
        raise UsageError(msg)

    def cell(case: CaseRecord) -> str:
        summary = case.metrics.get(name)
        return units.UNKNOWN if summary is None else units.quantity(summary.median, summary.unit)

    return Column(name, cell)


def legend(cases: Sequence[CaseRecord], *, wide: bool) -> list[str]:
    """One line for each mark that the cells of *cases* have; none where no mark is used."""
    cells = [column.cell(case) for column in columns(cases, wide=wide) for case in cases]
    return legend_of_medians(cells) + legend_of_unknown(cases) + legend_of_disturbance(cases)


def legend_of_medians(cells: Sequence[str]) -> list[str]:
    """What the marks of medians and percentiles in *cells* say: a line each, or none."""
    lines = []
    if any(cell.endswith(SPREAD_MARK) for cell in cells):
        lines.append(
            f"{SPREAD_MARK} median of values whose standard deviation is over {WIDE_SPREAD:.0%} of it"
        )
    if any("±" in cell for cell in cells):
        lines.append("± standard deviation over the median")
    if any(cell.endswith(UNSUPPORTED_MARK) for cell in cells):
        lines.append(f"{UNSUPPORTED_MARK} too few values for this percentile: none lies beyond it")
    return lines


def legend_of_unknown(cases: Sequence[CaseRecord]) -> list[str]:
    """Why metrics of *cases* are not known: a line a reason, or none."""
    found = [why for case in cases for why in by_reason(case.unknown)]
    return [f"{UNKNOWN_MARK} not known: {UNTIMED[why]}" for why in dict.fromkeys(found)]


def legend_of_disturbance(cases: Sequence[CaseRecord]) -> list[str]:
    """What disturbed rounds of *cases*, and why others were not watched: a line each, or none."""
    lines = []
    if codes := sorted({code for case in cases for code in case.disturbance or ()}):
        lines.append(f"{DISTURBED_MARK} rounds that other load on the machine disturbed: {', '.join(codes)}")
    for why in dict.fromkeys(p.unwatched for case in cases for p in case.processes if p.watch_lost):
        lines.append(f"{UNWATCHED_MARK} rounds that were not watched, and may have been disturbed: {why}")
    return lines


def median(case: CaseRecord, metric: str, *, spread: Spread = "none") -> str:
    """The median of *metric*; its *spread* told as ``± n%``, or marked if its values lie far apart."""
    summary = case.metrics.get(metric)
    if summary is None:
        return unknown(case, metric)
    text = units.cell(summary.median, summary.unit)
    ratio = summary.stddev / abs(summary.median) if summary.stddev is not None and summary.median else None
    if ratio is None or spread == "none":
        return text
    if spread == "told":
        return f"{text} ±{units.percent(ratio)}"
    return text + SPREAD_MARK if ratio > WIDE_SPREAD else text


def percentile(case: CaseRecord, metric: str, name: str, *, wide: bool = False) -> str:
    """The percentile *name* of *metric*, marked where too few values were taken for it.

    *wide* has the confidence interval of a median beside it.
    """
    summary = case.metrics.get(metric)
    value = None if summary is None else getattr(summary, name)
    if summary is None or value is None:
        return unknown(case, metric)
    text = units.cell(value, summary.unit)
    bounds = (summary.intervals or {}).get(name)
    if wide and name == "p50" and bounds is not None and value:
        return f"{text} ±{units.percent((bounds[1] - bounds[0]) / 2 / value)}"
    return text + UNSUPPORTED_MARK if name in summary.unsupported else text


def unknown(case: CaseRecord, metric: str) -> str:
    """The cell of a metric without a value, marked where it is known why there is none."""
    return units.UNKNOWN + (UNKNOWN_MARK if metric in case.unknown else "")


def hidden_tokens(cases: Sequence[CaseRecord]) -> list[Column]:
    """A column of the tokens a round that were counted and never sent, where there are any."""
    if not any(one.hidden_tokens for case in cases for one in case.rounds):
        return []

    def cell(case: CaseRecord) -> str:
        counts = [one.hidden_tokens for one in case.rounds]
        return f"{sum(counts) / len(counts):.4g}" if counts else units.UNKNOWN

    return [Column("hidden tok", cell)]


def rounds(*cases: CaseRecord) -> str:
    """Processes x rounds: ``3×5``, or ``3×4-5`` where they differ."""
    counts = [len(process.rounds) for case in cases for process in case.processes]
    if not counts:
        return units.UNKNOWN
    return f"{max(len(case.processes) for case in cases)}×{span(counts)}"


def span(values: Sequence[float]) -> str:
    """Of counts: ``688``, or ``512-688`` where they differ."""
    low, high = (f"{value:.10g}" for value in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"


def _lengths(case: CaseRecord) -> str:
    """``pp512 tg16 @ d4096``, as llama-bench names it: tokens of the prompt, the output, and before."""
    depth = case.protocol.depth or 0
    prompts = [one.prompt_tokens - depth for one in case.rounds if one.prompt_tokens is not None]
    outputs = [one.output_tokens for one in case.rounds]
    if not prompts:
        return units.UNKNOWN
    return f"pp{span(prompts)} tg{span(outputs)}" + (f" @ d{depth}" if depth else "")


def disturbed_rounds(case: CaseRecord) -> int:
    """How many rounds of *case* were disturbed."""
    return sum(bool(one.disturbance) for one in case.rounds)


def unwatched_rounds(case: CaseRecord) -> int:
    """How many rounds of *case* the monitor should have watched and did not."""
    return sum(one.disturbance is None for p in case.processes if p.watch_lost for one in p.rounds)


def disturbance(*cases: CaseRecord) -> str:
    """``!2`` for two disturbed rounds, ``?3`` for three that were not watched, or nothing."""
    counts = (
        (DISTURBED_MARK, sum(map(disturbed_rounds, cases))),
        (UNWATCHED_MARK, sum(map(unwatched_rounds, cases))),
    )
    return " ".join(f"{mark}{count}" for mark, count in counts if count)


def _shown_name(case: CaseRecord) -> str:
    from pytest_llmbench.models.spec import ModelSpec

    return ModelSpec(case.model.name, alias=case.model.alias).label


def _function(case: CaseRecord) -> str:
    return case.nodeid.partition("::")[2].partition("[")[0]


def _label(case: CaseRecord, *, measured: bool) -> str:
    parts = [case.nodeid.partition("::")[2].partition("[")[2].removesuffix("]")]
    if measured:
        parts.append(case.measurement)
    if case.outcome != "passed":
        parts.append(f"({case.outcome})")
    return " ".join(part for part in parts if part)

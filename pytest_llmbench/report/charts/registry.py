"""Which charts are there?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_llmbench.report.charts.changes import changes, charts_of_changes, judged_by
from pytest_llmbench.report.charts.depth import depths, prompt_lengths
from pytest_llmbench.report.charts.distribution import distributions
from pytest_llmbench.report.charts.grid import heat_map, quantizations
from pytest_llmbench.report.charts.load import latencies, throughputs
from pytest_llmbench.report.charts.machine import machine
from pytest_llmbench.report.charts.model import Chart
from pytest_llmbench.report.charts.pairs import pairs
from pytest_llmbench.report.charts.plane import maps
from pytest_llmbench.report.charts.turns import turns

if TYPE_CHECKING:
    from pytest_llmbench.gate.compare import Comparison
    from pytest_llmbench.results.records import ResultsDocument


@dataclass(frozen=True, slots=True)
class ChartKind:
    """One row: a kind of chart, and what makes its charts of what was measured."""

    name: str
    title: str
    build: Callable[[Sequence[ResultsDocument]], list[Chart]]
    """Never an empty list: where there is no data, one chart that says why."""


CHARTS: tuple[ChartKind, ...] = (
    ChartKind("changes", "Changes from the baseline", changes),
    ChartKind("pairs", "Pairs of an A/B session", pairs),
    ChartKind("load-latency", "Latency against load", latencies),
    ChartKind("load-throughput", "Throughput against latency", throughputs),
    ChartKind("load-map", "Configurations at each load", heat_map),
    ChartKind("maps", "Maps of configurations", maps),
    ChartKind("quantizations", "Quantizations side by side", quantizations),
    ChartKind("turns", "Conversations by turn", turns),
    ChartKind("depth", "Speed against depth", depths),
    ChartKind("prompt", "Speed against the length of the prompt", prompt_lengths),
    ChartKind("ttft", "Distribution of TTFT", partial(distributions, metric="ttft")),
    ChartKind("gaps", "Distribution of gaps between tokens", partial(distributions, metric="itl")),
    ChartKind("machine", "The machine over time", machine),
)


def charts_of(documents: Sequence[ResultsDocument], comparison: Comparison | None = None) -> list[Chart]:
    """All charts of *documents*, in the order of the table.

    :param comparison: of a document with its baseline, whose changes are shown instead of those that the
        documents' own sessions judged.
    """
    compared = None if comparison is None else charts_of_changes(judged_by(comparison))
    return [
        chart
        for kind in CHARTS
        for chart in (compared if compared and kind.build is changes else kind.build(documents))
    ]

"""Which charts are there?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_llmbench.report.charts.distribution import distributions
from pytest_llmbench.report.charts.model import Chart

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument


@dataclass(frozen=True, slots=True)
class ChartKind:
    """One row: a kind of chart, and what makes its charts of what was measured."""

    name: str
    title: str
    build: Callable[[Sequence[ResultsDocument]], list[Chart]]
    """Never an empty list: where there is no data, one chart that says why."""


CHARTS: tuple[ChartKind, ...] = (
    ChartKind("ttft", "Distribution of TTFT", partial(distributions, metric="ttft")),
)


def charts_of(documents: Sequence[ResultsDocument]) -> list[Chart]:
    """All charts of *documents*, in the order of the table."""
    return [chart for kind in CHARTS for chart in kind.build(documents)]

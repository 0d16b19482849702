"""How are the values of a metric spread, and not only what is their median?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.summary import PERCENTILES
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import bounded, entries, together
from pytest_llmbench.report.charts.model import Axis, Chart, Column, Series

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument

KEPT = 64
"""Equal steps of the share of values at which a point of an ECDF is kept, if it has more points."""
TAIL = 6
"""Halvings of the last step."""
FEWEST = 2
"""Values without which there is no spread."""


def ecdf(values: Sequence[float]) -> list[tuple[float, float]]:
    """The empirical distribution of *values*: (value, share of values up to it), by rising value.

    Shape (points, 2), the first at (smallest, 0). Of more values than about 100 not every step is kept. Those
    that are, are true ones: the smallest and the largest, one at each 64th of the share, in the last 64th at
    each half of what remains, and both neighbors of each percentile of :data:`PERCENTILES`. So p50, p90, p95
    and p99 read off are those of all values, and in between the share is wrong by a 64th at most.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n == 0:
        return []
    points = [(ordered[0], 0.0)]
    points += [(ordered[rank], (rank + 1) / n) for rank in _ranks(n)]
    return points


def _ranks(n: int) -> list[int]:
    """Which order statistics are kept."""
    if n <= KEPT + TAIL + 2 * len(PERCENTILES):
        return list(range(n))
    kept = {0, n - 1}
    for q in PERCENTILES:
        below = int((n - 1) * q / 100)
        kept |= {below, min(below + 1, n - 1)}
    shares = [step / KEPT for step in range(1, KEPT)]
    shares += [1 - 1 / (KEPT * 2**halving) for halving in range(1, TAIL + 1)]
    kept |= {max(math.ceil(share * n) - 1, 0) for share in shares}
    return sorted(kept)


def distributions(documents: Sequence[ResultsDocument], metric: str) -> list[Chart]:
    """The ECDF of *metric* of each case, in one chart."""
    row = METRICS[metric]
    found = [(entry, values) for entry in entries(documents) if (values := entry.case.values(metric))]
    enough = [(entry, values) for entry, values in found if len(values) >= FEWEST]
    shown, note = bounded(enough, (entry.label for entry, _ in enough))
    few = [entry.label for entry, values in found if len(values) < FEWEST]
    head = row.head or row.name
    return [
        Chart(
            id=f"ecdf-{metric.replace('_', '-')}",
            title=f"Distribution of {head}",
            question=f"Which share of the values of {row.name} was at most this large?",
            x=Axis(label=head, unit=row.unit),
            y=Axis(label="share of values", unit="share"),
            series=tuple(
                Series(name=entry.label, points=tuple(ecdf(values)), shape="step") for entry, values in shown
            ),
            columns=(
                Column(head="case"),
                Column(head="values"),
                *(Column(head=f"p{q}", unit=row.unit) for q in PERCENTILES),
                Column(head="max", unit=row.unit),
            ),
            rows=tuple(
                (
                    entry.label,
                    len(values),
                    *(entry.case.summary(metric).percentile(q) for q in PERCENTILES),
                    max(values),
                )
                for entry, values in shown
            ),
            note=together(note, f"Cases of one value have no spread: {len(few)}." if few else None),
            missing=None if shown else f"no case has {FEWEST} values of {metric}",
        )
    ]

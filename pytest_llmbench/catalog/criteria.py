"""Which numbers of a configuration are weighed against each other, and how sure is each?

One table of criteria. A value that was not measured is nan. Beside each value stands half of its 95%
interval, so that configurations which noise alone tells apart are told to be equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_llmbench.errors import UsageError, suggest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.catalog.rows import Catalog

    Floats = NDArray[np.float64]
    Places = NDArray[np.int64]

_NORMAL = 1.959964
"""Standard deviations of a 95% interval."""
SPREADS: Mapping[str, float] = {"mean": 1.0, "median": 1.2533, "p90": 1.709, "p95": 2.113, "p99": 3.733}
"""Standard error of a quantile of n normal values, by sigma / sqrt(n): sqrt(q (1 - q)) / density(q); Cramér,
Mathematical Methods of Statistics (1946), 28.5. Of values with a longer tail it is larger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that counts."""

    name: str
    sources: tuple[str, ...] = ()
    """``METRIC.STATISTIC``, the first that a row has; none where it is computed of prices."""
    lower: bool
    logarithmic: bool
    unit: str
    head: str
    """For a person."""


CRITERIA: Mapping[str, Criterion] = {
    row.name: row
    for row in (
        Criterion(name="cost", lower=True, logarithmic=True, unit="USD/Mtok", head="cost"),
        Criterion(
            name="latency",
            sources=("e2e_latency.p95",),
            lower=True,
            logarithmic=True,
            unit="s",
            head="latency p95",
        ),
        Criterion(
            name="ttft", sources=("ttft.p95",), lower=True, logarithmic=True, unit="s", head="TTFT p95"
        ),
        Criterion(
            name="tpot", sources=("tpot.p95",), lower=True, logarithmic=True, unit="s", head="TPOT p95"
        ),
        Criterion(
            name="throughput",
            # Under load, that of all requests together.
            sources=("system_throughput.median", "output_throughput.median"),
            lower=False,
            logarithmic=True,
            unit="tokens/s",
            head="throughput",
        ),
        Criterion(
            name="quality",
            sources=("needle_recall.mean",),
            lower=False,
            logarithmic=False,
            unit="share",
            head="quality",
        ),
        Criterion(
            name="energy",
            sources=("energy_per_token.median",),
            lower=True,
            logarithmic=True,
            unit="J/token",
            head="energy",
        ),
        Criterion(
            name="memory",
            sources=("peak_vram.median", "peak_rss.median"),
            lower=True,
            logarithmic=True,
            unit="bytes",
            head="memory",
        ),
    )
}

USUAL: Mapping[str, float] = {"cost": 1.0, "latency": 1.0, "throughput": 1.0, "quality": 1.0}
"""The weights where none are said."""


def check_weights(weights: Mapping[str, float]) -> Mapping[str, float]:
    """The weights above 0.

    :raises UsageError: for a criterion that there is not, weights that are negative or not numbers, or all 0.
    """
    for name, weight in weights.items():
        if name not in CRITERIA:
            hint = suggest(name, list(CRITERIA)) or "."
            msg = f"weights: there is no criterion {name[:80]!r}{hint} There are {', '.join(CRITERIA)}"
            raise UsageError(msg)
        if not 0 <= weight < np.inf:
            msg = f"weights: {name}={weight:g} is not valid; a weight is a number from 0 on"
            raise UsageError(msg)
    found = {name: weight for name, weight in weights.items() if weight > 0}
    if not found:
        msg = "weights: all are 0, which gives no order; give one of them more, such as cost=1"
        raise UsageError(msg)
    return found


def measured(catalog: Catalog, sources: tuple[str, ...], places: Places) -> tuple[Floats, Floats]:
    """The value of each row, of the first source that it has, and half of its 95% interval; nan is unknown.

    A share of 0 bytes of GPU memory is none.
    """
    values, half = np.full((2, len(places)), np.nan)
    for source in sources:
        found = catalog.column(source, places)
        if source.startswith("peak_vram"):
            found = np.where(found > 0, found, np.nan)
        missing = np.isnan(values)
        if not missing.any():
            break
        values = np.where(missing, found, values)
        half = np.where(missing, half_width(catalog, source, places), half)
    return values, half


def half_width(catalog: Catalog, source: str, places: Places) -> Floats:
    """Half of the 95% interval of ``METRIC.STATISTIC``; nan for a single value."""
    metric, _, statistic = source.partition(".")
    sigma = catalog.column(f"{metric}.stddev", places)
    count = catalog.column(f"{metric}.n", places)
    with np.errstate(all="ignore"):
        return _NORMAL * SPREADS.get(statistic, 1.0) * sigma / np.sqrt(count)

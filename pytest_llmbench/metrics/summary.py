"""What do many values of one metric amount to?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_llmbench.metrics.row import Better
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.units import percent, quantity
from pytest_llmbench.processes.wire import Json

# A percentile q of n values stands on values beyond it: with none there, it is the maximum.
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True, repr=False)
class Summary:
    """The values of one metric and their statistics; all in the metric's unit.

    Percentiles interpolate linearly between order statistics (Hyndman and Fan 1996, type 7), as
    numpy, pandas and vLLM do. A percentile q needs at least ``100 / (100 - q)`` values (20 for
    p95, 100 for p99) for one of them to lie beyond it; with fewer, :meth:`supports` is False,
    ``unsupported`` names it, and tables mark it.
    """

    metric: str
    values: tuple[float, ...]
    unknown: str | None = None
    """Why there are no values, where that is known."""

    def __repr__(self) -> str:
        # A failing assert shows it: no values, of which there may be thousands.
        return f"<{self}>"

    def __str__(self) -> str:
        """``ttft: median 6.40 ms ±2%, 6.31 ms to 6.70 ms, n 15``."""
        if not self.values:
            return f"{self.metric}: no value" + (f" ({self.unknown})" if self.unknown else "")
        text = f"{self.metric}: median {quantity(self.median, self.unit)}"
        if self.n == 1:
            return f"{text}, n 1"
        spread = f" ±{percent(ratio)}" if (ratio := self.spread) is not None else ""
        low, high = (quantity(value, self.unit) for value in (self.min, self.max))
        return f"{text}{spread}, {low} to {high}, n {self.n}"

    @property
    def unit(self) -> str:
        return METRICS[self.metric].unit

    @property
    def better(self) -> Better:
        return METRICS[self.metric].better

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        self._need_values()
        return sum(self.values) / self.n

    @property
    def median(self) -> float:
        return self.percentile(50)

    @property
    def stddev(self) -> float | None:
        """Sample standard deviation (n - 1); None for fewer than two values."""
        import statistics

        return statistics.stdev(self.values) if self.n > 1 else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over the median; None for fewer than two values or a median of 0."""
        return None if self.stddev is None or not self.median else self.stddev / abs(self.median)

    @property
    def min(self) -> float:
        self._need_values()
        return min(self.values)

    @property
    def max(self) -> float:
        self._need_values()
        return max(self.values)

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p90(self) -> float:
        return self.percentile(90)

    @property
    def p95(self) -> float:
        return self.percentile(95)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    def percentile(self, q: float) -> float:
        """The *q*-th percentile, 0 to 100."""
        self._need_values()
        ordered = sorted(self.values)
        position = (len(ordered) - 1) * q / 100
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)

    def supports(self, q: float) -> bool:
        """Whether enough values were taken for one to lie beyond the *q*-th percentile."""
        return self.n * (100 - q) >= 100

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The percentiles among :data:`PERCENTILES` that this many values cannot support."""
        return tuple(f"p{q}" for q in PERCENTILES if not self.supports(q))

    def to_json(self) -> Json:
        """The summary as the results document keeps it, without the values."""
        return {
            "unit": self.unit,
            "better": self.better,
            "n": self.n,
            "median": self.median,
            "mean": self.mean,
            "stddev": self.stddev,
            "min": self.min,
            "max": self.max,
            "p50": self.p50,
            "p90": self.p90,
            "p95": self.p95,
            "p99": self.p99,
            "unsupported": list(self.unsupported),
        }

    def _need_values(self) -> None:
        if not self.values:
            msg = f"{self.metric} has no value: {self.unknown or 'no round of this case measured it'}"
            raise ValueError(msg)


def summarize(metric: str, values: Iterable[float | None]) -> Summary:
    """A summary of the values that are known."""
    return Summary(metric, tuple(float(v) for v in values if v is not None))

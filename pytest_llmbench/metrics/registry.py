"""How does another plugin add a metric?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_llmbench.metrics.row import Metric


class MetricRegistry:
    """Adds rows to the table of metrics, for as long as the session lasts."""

    def __init__(self) -> None:
        """Add nothing yet."""
        self._added: list[str] = []

    def register(self, metric: Metric) -> None:
        """Add a metric; for use in ``pytest_llmbench_register_metrics(registry)``.

        :raises UsageError: if it cannot be a row of the table, or its name is taken.
        """
        # Only a session that adds one imports the table for it.
        from pytest_llmbench.metrics.table import METRICS

        METRICS.add(metric)
        self._added.append(metric.name)

    def close(self) -> None:
        """Take out what was added."""
        from pytest_llmbench.metrics.table import METRICS

        while self._added:
            METRICS.pop(self._added.pop(), None)

"""What is known of all configurations that were measured?

A configuration is a model in a quantization on an engine and on so many devices, under one load: of each the
latest case, one that other load did not spoil where there is one. It is read from the index alone, into
columns of numbers; a value that was not measured is nan, and never 0. The catalog's version is a hash of its
cases: scores keep to the bounds of one version.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_llmbench.catalog.row import Row
from pytest_llmbench.metrics.table import METRICS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_llmbench.results.index.connection import Database

__all__ = ["Catalog", "Row"]


@dataclass(frozen=True, eq=False)
class Catalog:
    """All configurations; nothing changes in it once it is made."""

    version: str
    """Of its content, 16 hexadecimal digits."""
    rows: tuple[Row, ...]
    columns: Mapping[str, NDArray[np.float64]]
    """By ``METRIC.STATISTIC``: a value for each row, in the metric's unit; nan where it is not known."""
    failed: int = 0
    """Configurations of which every case failed."""
    _places: dict[str, NDArray[np.int64]] = field(default_factory=dict, repr=False)
    kept: OrderedDict[Any, Any] = field(default_factory=OrderedDict, repr=False)
    """What others make of it and keep as long as it: see :func:`pytest_llmbench.catalog.view.view_of`."""

    @classmethod
    def load(cls, database: Database) -> Catalog:
        """The catalog of an index.

        :raises ResultsError: if the database does not answer, or holds more than :data:`.row.MOST`.
        """
        # They need the extra of the index.
        from pytest_llmbench.catalog.reading import read_rows, read_values
        from pytest_llmbench.results.index.query import metric_names

        with database.reading() as connection:
            metric_names(connection)  # METRICS learns of those that only documents know.
            rows, failed = read_rows(connection)
            columns = read_values(connection, [row.case for row in rows], list(METRICS))
        return cls.of(rows, columns, failed)

    @classmethod
    def of(cls, rows: Sequence[Row], columns: Mapping[str, NDArray[np.float64]], failed: int = 0) -> Catalog:
        """The catalog of *rows* with *columns* of as many values each."""
        digest = hashlib.sha256()
        for row in rows:
            digest.update(f"{row.case} {row.session}\n".encode())
        return cls(digest.hexdigest()[:16], tuple(rows), dict(columns), failed)

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str, places: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """The values of ``METRIC`` (its median) or ``METRIC.STATISTIC``; all nan where no row has one."""
        metric, _, statistic = name.partition(".")
        found = self.columns.get(f"{metric}.{statistic or 'median'}")
        if found is None:
            found = np.full(len(self.rows), np.nan)
        return found if places is None else found[places]

    def workloads(self) -> dict[str, NDArray[np.int64]]:
        """The rows of each workload, the one with the most rows first."""
        if not self._places:
            grouped: dict[str, list[int]] = {}
            for place, row in enumerate(self.rows):
                grouped.setdefault(row.workload, []).append(place)
            most = sorted(grouped.items(), key=lambda one: (-len(one[1]), self.rows[one[1][0]].test, one[0]))
            self._places.update({name: np.array(places) for name, places in most})
        return self._places

    @property
    def nbytes(self) -> int:
        """Bytes of its columns."""
        return sum(column.nbytes for column in self.columns.values())

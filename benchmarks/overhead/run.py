"""What does the harness itself cost?

``python benchmarks/overhead/run.py`` measures every row of the table and prints it as Markdown.
See README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asking
import chats
import decoding
import depth
import documents
import indexing
import matrix_cells
import monitoring
import planning
import psutil
import recommending
import reports
import starting
import two_pass
from pairs import Measured, NotMeasuredError, Row
from tables import markdown

from pytest_llmbench.errors import LLMBenchError

ROWS: tuple[Row, ...] = (
    *decoding.ROWS,
    *chats.ROWS,
    *depth.ROWS,
    *monitoring.ROWS,
    *starting.ROWS,
    *documents.ROWS,
    *indexing.ROWS,
    *planning.ROWS,
    *recommending.ROWS,
    *asking.ROWS,
    *reports.ROWS,
    *matrix_cells.ROWS,
    *two_pass.ROWS,
)
_BUSY = 10.0


@dataclass(frozen=True, slots=True)
class Result:
    """A row and what it yielded; *measured* is None if it could not be measured, and *problem* says why."""

    row: Row
    measured: Measured | None
    problem: str | None = None

    @property
    def held(self) -> bool:
        return self.measured is not None and self.row.bound.holds(self.measured.median)

    @property
    def verdict(self) -> str:
        return "not measured" if self.measured is None else "held" if self.held else "missed"

    @property
    def value(self) -> str:
        """The median and the quartiles around it."""
        if self.measured is None:
            return "–"
        first, third = self.measured.quartiles
        unit = _unit(self.row)
        return f"{_number(self.row, self.measured.median)}{unit} ({_number(self.row, first)} to " + (
            f"{_number(self.row, third)})"
        )

    def to_json(self) -> dict[str, Any]:
        row, measured = self.row, self.measured
        return {
            "name": row.name,
            "what": row.what,
            "unit": row.unit or "ratio",
            "bound": dataclasses.asdict(row.bound),
            "verdict": self.verdict,
            "problem": self.problem,
            "median": None if measured is None else measured.median,
            "quartiles": None if measured is None else measured.quartiles,
            "values": None if measured is None else measured.values,
            "sides": None if measured is None else measured.sides,
        }


def measure(row: Row, pairs: int | None) -> Result:
    """One row; what cannot be measured here is a result as well."""
    try:
        return Result(row, row.measure(pairs or row.pairs))
    except (LLMBenchError, NotMeasuredError) as error:
        return Result(row, None, str(error))


def table(results: Sequence[Result]) -> str:
    """All rows as a Markdown table."""
    lines = [("what", "median (quartiles)", "bound", "verdict")]
    return markdown([*lines, *((r.row.what, r.value, _bound(r.row), r.verdict) for r in results)])


def _bound(row: Row) -> str:
    low, high = row.bound.at_least, row.bound.at_most
    if low is not None and high is not None:
        return f"{low:g} to {high:g}{_unit(row)}"
    return f"at least {low:g}{_unit(row)}" if low is not None else f"at most {high:g}{_unit(row)}"


def _unit(row: Row) -> str:
    return f" {row.unit}" if row.unit else ""


def _number(row: Row, value: float) -> str:
    return f"{value:.1f}" if row.unit == "ms" else f"{value:.2f}" if row.unit else f"{value:.3f}"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(description="Measure what the harness itself costs.")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help=f"measure this row (repeatable): {', '.join(names)}"
    )
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs of each row, instead of its own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value here")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless every bound is held")
    given = parser.parse_args(arguments)
    for name in given.only or ():
        if name not in names:
            parser.error(f"there is no row {name!r}; there are: {', '.join(names)}")
    if given.pairs is not None and given.pairs < 1:
        parser.error(f"--pairs={given.pairs}: at least 1 is needed")
    if given.json is not None and not given.json.resolve().parent.is_dir():
        parser.error(f"--json={given.json}: there is no folder {given.json.resolve().parent}")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    given = _arguments(arguments)
    busy = psutil.cpu_percent(interval=1.0)
    if busy > _BUSY:
        print(f"The machine is busy: {busy:.0f}% of its CPU is used by others.", file=sys.stderr)
    results = []
    for row in ROWS:
        if given.only and row.name not in given.only:
            continue
        print(f"{row.name} ...", file=sys.stderr, flush=True)
        result = measure(row, given.pairs)
        results.append(result)
        print(f"{row.name}: {result.problem or result.value}", file=sys.stderr, flush=True)
    print(table(results))
    if given.json is not None:
        given.json.write_text(
            json.dumps(
                {
                    "version": version("pytest-llmbench"),
                    "python": platform.python_version(),
                    "busy_before": busy,
                    "rows": [result.to_json() for result in results],
                },
                indent=1,
            )
        )
    return int(given.check and not all(result.held for result in results))


if __name__ == "__main__":
    sys.exit(main())

"""Which case did best, of those that did the same work on the same machine?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.cases import Entry, entries, names_of, parts, work
from pytest_llmbench.results.measured import Measured

if TYPE_CHECKING:
    from pytest_llmbench.results.records import ResultsDocument

_OF_THE_WORK = ("file", "test", "measurement")
"""Parts of a case that say what was asked, and not of what it was asked."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best case of one metric among those that did equal work."""

    metric: str
    work: str
    """What they all did: the test, and its parameters."""
    case: str
    value: float
    """The median, in the metric's unit."""
    next_case: str
    next_value: float
    ahead: float
    """How much worse the next one is, as a share of the best: 0.25 is a quarter slower, or fewer."""
    spread: float | None
    """The larger of both cases' standard deviations over their medians: a lead below it may be chance."""
    among: int
    """Cases that were compared."""
    left_out: int
    """Cases of the same work that were too much disturbed, or failed."""


def best(documents: Sequence[ResultsDocument]) -> list[Best]:
    """Of each set of cases that did equal work, the best in each metric that stands in a table.

    Equal work is the same test with the same parameters and settings, but for model, backend, quantization
    and the engine's options, on one machine. Cases that failed or were too much disturbed are left out; where
    fewer than two are left there is no best.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in entries(documents):
        if not entry.base_side and entry.case.metrics:
            machine = entry.document.machine
            key = (None if machine is None else machine.id, _told(entry), work(entry))
            groups.setdefault(key, []).append(entry)
    several = [those for those in groups.values() if len(those) > 1]
    names = names_of([dict(_told(those[0])) for those in several])
    return [one for name, those in zip(names, several, strict=True) for one in _of_group(name, those)]


def _told(entry: Entry) -> tuple[tuple[str, str], ...]:
    """What was asked, as parts."""
    return tuple((k, v) for k, v in parts(entry).items() if k in _OF_THE_WORK or k.endswith("="))


def _of_group(name: str, those: Sequence[Entry]) -> list[Best]:
    measured = [Measured(entry.case, entry.document) for entry in those]
    found = []
    for row in METRICS.values():
        if not row.shown or (row.judged == "never" and row.unit == "tokens"):
            continue
        usable = [
            (entry, held)
            for entry, one in zip(those, measured, strict=True)
            if (held := entry.case.metrics.get(row.name)) is not None
            and entry.case.outcome == "passed"
            and one.usable
            and one.spoiled_for(row.name) is None
        ]
        there = sum(row.name in entry.case.metrics for entry in those)
        order = sorted(usable, key=lambda one: row.sign * one[1].median)
        if len(order) < 2 or order[0][1].median == order[1][1].median == 0:
            continue
        (first, held), (second, following) = order[:2]
        spreads = [
            one.stddev / abs(one.median) for one in (held, following) if one.stddev is not None and one.median
        ]
        found.append(
            Best(
                metric=row.name,
                work=name,
                case=first.label,
                value=held.median,
                next_case=second.label,
                next_value=following.median,
                ahead=abs(following.median / held.median - 1) if held.median else 0.0,
                spread=max(spreads, default=None),
                among=len(order),
                left_out=there - len(order),
            )
        )
    return found

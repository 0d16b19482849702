"""Which values of a metric does a record have?

Live records, of what is being measured, and stored ones, of a document, are asked in the same way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from pytest_llmbench.errors import warn
from pytest_llmbench.metrics.parts import CasePart, ProcessPart, RoundPart
from pytest_llmbench.metrics.row import Metric, Scope
from pytest_llmbench.metrics.table import METRICS

T = TypeVar("T")


def case_values(metric: str, case: CasePart) -> list[float]:
    """All values of *metric* that count, in its unit, in the order in which they were measured.

    One value a gap, a round, a process or a level, or a single one of the case, as the metric's scope says.
    A metric without a row, as a document of another version may have one, has the scope of what has values.
    """
    row = METRICS.get(metric)
    scope = _scope_of(metric, case) if row is None else row.scope
    if scope == "case":
        return [] if (value := case.value(metric)) is None else [float(value)]
    return [value for process in case.processes for value in process_values(metric, process, scope=scope)]


def process_values(
    metric: str,
    process: ProcessPart,
    rounds: Iterable[RoundPart] | None = None,
    *,
    scope: Scope | None = None,
) -> list[float]:
    """Likewise what one process has of *metric*; nothing of one that only a case has.

    Of a metric of rounds a process may have a value of its own, which then stands for all its rounds: the CPU
    time of a load level is known as a whole, and cannot be split among requests that overlap.

    :param rounds: of which rounds, where it is one of rounds or gaps; by default of all that are counted.
    :param scope: the metric's, where it has no row.
    """
    scope = METRICS[metric].scope if scope is None else scope
    if scope in ("process", "level"):
        return [] if (value := process.value(metric)) is None else [float(value)]
    if scope == "round" and (value := process.value(metric)) is not None:
        return [float(value)]
    if rounds is None:
        rounds = (one for one in process.rounds if one.counted)
    if scope == "gap":
        return [gap for one in rounds for gap in one.gaps]
    return [value for one in rounds if (value := one.value(metric)) is not None] if scope == "round" else []


def _scope_of(metric: str, case: CasePart) -> Scope:
    if case.value(metric) is not None:
        return "case"
    return "process" if any(one.value(metric) is not None for one in case.processes) else "round"


def computed(row: Metric, function: Callable[[T], float | None], part: T) -> float | None:
    """What a row's *function* gives for a round, a process or a case; None, with a warning, where it fails.

    What was measured has to be kept, whatever is wrong with a function of another plugin.
    """
    try:
        value = function(part)
        return None if value is None else float(value)
    except Exception as error:  # noqa: BLE001 - it may be anybody's function
        warn(f"the metric {row.name} of a {row.scope} cannot be computed: {type(error).__name__}: {error}")
        return None


class ByName:
    """What has each metric as an attribute, such as ``round.ttft``; None where it has no value."""

    __slots__ = ()

    @abstractmethod
    def value(self, metric: str) -> float | None:
        """Its value of *metric*, in the metric's unit; None where it has none."""

    if not TYPE_CHECKING:
        # Only for what is not an attribute; a type checker would take every misspelled name for one.
        def __getattr__(self, name: str) -> float | None:
            if name in METRICS:
                return self.value(name)
            if (other := getattr(super(), "__getattr__", None)) is not None:
                return other(name)
            msg = f"{type(self).__name__!r} object has no attribute and no metric {name!r}"
            raise AttributeError(msg)

"""What did the cells of a matrix measure, as a map over two of its axes?

What says which work it was - the case, its load, a value of its sweep - is an axis, or one value of it is
chosen: other work is not better or worse. Of the rest, the best stands where several could.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.report.charts.model import Chart
from pytest_llmbench.report.charts.plane import Spot, axes_of, natural, plane, said, titled
from pytest_llmbench.results.cell import hardware_label
from pytest_llmbench.results.records import DEFAULT_MEASUREMENT
from pytest_llmbench.service.pages.asked import Choice
from pytest_llmbench.service.pages.leaderboard import metric_choices

if TYPE_CHECKING:
    from pytest_llmbench.matrix.state import CellState, State
    from pytest_llmbench.service.pages.asked import Asked
    from pytest_llmbench.service.state import Service

CONFIGURATION = ("hardware", "model", "engine", "quantization")
"""Kinds that say what did the work."""
DEFAULT = "ttft"
_AT_ONCE = 1000
"""Sessions that one query names."""
MOST_VALUES = 200
"""Of one list to choose from."""


@dataclass(frozen=True, slots=True)
class CellsMap:
    """A map, and what can be chosen of it."""

    choices: list[Choice]
    chart: Chart | None = None
    problem: str | None = None
    """What is wrong with what was asked."""
    nothing: str | None = None
    """Why there is no map of this matrix."""


def cells_map(asked: Asked, state: State) -> CellsMap:
    """The map that the query asks for: ``across``, ``down``, ``metric``, and ``only.KIND`` of the work."""
    metric = asked.one("metric") or DEFAULT
    if metric not in METRICS:
        return CellsMap([], problem=f"there is no metric {metric!r}; choose one of the list")
    spots = spots_of(asked.service, state, metric)
    # Axes stay the same, whatever was measured so far.
    planned = [Spot(parts_of(cell), {}, cell.label) for cell in state.cells]
    kinds = _kinds([*planned, *spots])
    several = [kind for kind, values in kinds.items() if len(values) > 1]
    first = axes_of(planned, CONFIGURATION) or axes_of([*planned, *spots], several)
    if first is None:
        return CellsMap([], nothing="its cells differ in one thing at most: there is nothing to map")
    across, down = (asked.one(name) or value for name, value in zip(("across", "down"), first, strict=True))
    problem: str | None = None
    if unknown := [one for one in (across, down) if one not in several]:
        problem = f"{unknown[0]!r} is not an axis of this matrix; choose one of the list"
    elif across == down:
        problem = "choose two different axes"
    axes = [(kind, said(kind)) for kind in several]
    choices = [Choice("across", "Across", axes, across), Choice("down", "Down", axes, down)]
    choices.append(Choice("metric", "Metric", metric_choices(), metric))
    for kind in several:
        if kind in (across, down) or kind in CONFIGURATION:
            continue
        values = sorted(kinds[kind], key=natural)[:MOST_VALUES]
        chosen = asked.one(f"only.{kind}") or values[0]
        if chosen not in kinds[kind]:
            problem = problem or f"no cell has {said(kind)} {chosen!r}; choose one of the list"
        choices.append(
            Choice(f"only.{kind}", said(kind).capitalize(), [(one, one or "none") for one in values], chosen)
        )
        spots = [spot for spot in spots if spot.parts.get(kind, "") == chosen]
    if problem is not None:
        return CellsMap(choices, problem=problem)
    chart = plane(spots, across, down, metric, chart_id="cells", title=titled(metric, across, down))
    return CellsMap(choices, chart)


def spots_of(service: Service, state: State, metric: str) -> list[Spot]:
    """The cases of the newest result of each cell that is done, with their medians of *metric*."""
    from sqlalchemy import or_, select

    from pytest_llmbench.results.index.tables import cases, metrics

    newest = {cell.sessions[-1]: cell for cell in state.cells if cell.sessions}
    found = []
    with service.database.reading() as connection:
        for start in range(0, len(newest), _AT_ONCE):
            some = list(newest)[start : start + _AT_ONCE]
            wanted = (
                select(cases.c.session_id, cases.c.measurement, cases.c.turn, cases.c.way, metrics.c.median)
                .join(metrics, metrics.c.case_id == cases.c.id)
                .where(
                    cases.c.session_id.in_(some),
                    metrics.c.name == metric,
                    metrics.c.median.is_not(None),
                    # A case that the gate failed was measured as well as any; others that failed were not.
                    or_(cases.c.outcome == "passed", cases.c.verdict == "fail"),
                )
                .order_by(cases.c.session_id, cases.c.position)
            )
            for row in connection.execute(wanted):
                cell = newest[row.session_id]
                found.append(Spot({**parts_of(cell), **_of_case(row)}, {metric: row.median}, cell.label))
    return found


def parts_of(cell: CellState) -> dict[str, str]:
    """What a cell is, by kind."""
    return {
        "hardware": hardware_label(cell.hardware, cell.count),
        "model": cell.model,
        "engine": cell.engine,
        "quantization": cell.quantization or "",
        "case": cell.name,
        "load": cell.load or "",
        **{path: str(value) for path, value in cell.point.items()},
    }


def _of_case(row: Any) -> dict[str, str]:
    told = {} if row.measurement == DEFAULT_MEASUREMENT else {"measurement": row.measurement}
    return told if row.turn is None else {**told, "turn": f"{row.turn} {row.way or ''}".strip()}


def _kinds(spots: list[Spot]) -> dict[str, set[str]]:
    """Every kind, with the values that it has."""
    found: dict[str, set[str]] = {}
    for spot in spots:
        for kind, value in spot.parts.items():
            found.setdefault(kind, set()).add(value)
    return found

"""Which cases got slower, since when, and what does a badge say of one?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import func, select

from pytest_llmbench.errors import shown
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.results.ids import PATTERN
from pytest_llmbench.results.index.tables import cases
from pytest_llmbench.service.api.shared import Asked, Text, document_path
from pytest_llmbench.service.problems import ProblemError, failed, gives

if TYPE_CHECKING:
    from pytest_llmbench.gate.trend import Trend

router = APIRouter(tags=["Comparisons"])

MOST_LINES, MOST_POINTS = 200, 1000
"""Of one answer to ``/trends``; of a line the newest points."""
MOST_REGRESSIONS = 500

Id = Annotated[str, Query(pattern=PATTERN)]
MetricName = Annotated[str, Query(pattern=r"^[a-z][a-z0-9_]{0,79}$", description="such as ttft")]


@router.get("/compare", responses=failed(404, 422, 503))
def compare_sessions(
    service: Asked,
    base: Annotated[list[Id], Query(min_length=1, max_length=10, description="the baseline's sessions")],
    new: Annotated[str, Query(pattern=PATTERN, description="the session that is judged")],
) -> dict[str, Any]:
    """Which cases are slower: what ``llmbench compare BASE... NEW --format json`` prints."""
    from pytest_llmbench.gate.calibration import calibrated_noise
    from pytest_llmbench.gate.compare import compare
    from pytest_llmbench.report.comparison import to_json
    from pytest_llmbench.results.brief import read_brief

    bases = [read_brief(document_path(service, one)) for one in base]
    comparison = compare(
        bases, read_brief(document_path(service, new)), noise=calibrated_noise(service.store, [])
    )
    return to_json(comparison)


class Point(BaseModel):
    """One session of a line."""

    session_id: str
    started: str
    commit: str | None
    engine_version: str | None
    weights: str | None
    value: float = Field(description="the median of the processes' medians, in the metric's unit")
    failed: bool
    broken: str | None = Field(description="why the line begins anew here; null: it goes on")
    change: float | None = Field(description="at a change point: how much the level rose; 0.05 is 5%")


class Line(BaseModel):
    """One case on one machine."""

    nodeid: str
    measurement: str
    machine: str | None
    points: list[Point] = Field(description="in the order of commits where all are known, else of sessions")
    left_out: list[str] = Field(description="sessions that measured it without a point, with the reason")


class TrendBody(BaseModel):
    """A metric over sessions."""

    metric: str
    unit: str
    lines: list[Line]


@router.get("/trends", responses=failed(404, 422))
def trend(service: Asked, case: Text, metric: MetricName = "ttft") -> TrendBody:
    """A metric over the sessions of the index, of the cases that have a text in their id.

    A line is of one case on one machine, and broken where engine, weights or work changed: no line is drawn
    from one side to the other.
    """
    from pytest_llmbench.gate.trend import pasts_of_index, trends

    row = METRICS.get(metric)
    if row is None:
        raise ProblemError(404, f"there is no metric {metric!r}; there are {', '.join(METRICS)}")
    found = trends(pasts_of_index(service.database, case, metric), metric)
    if not found:
        raise ProblemError(404, f"no session has a case with {case!r} in its id that measured {metric}")
    return TrendBody(metric=metric, unit=row.unit, lines=[_line(one) for one in found[:MOST_LINES]])


def _line(found: Trend) -> Line:
    points = [
        Point(
            session_id=one.past.session,
            started=one.past.started,
            commit=one.past.commit,
            engine_version=one.past.engine,
            weights=one.past.weights,
            value=one.value,
            failed=one.past.failed,
            broken=one.broken,
            change=one.change,
        )
        for one in found.points[-MOST_POINTS:]
    ]
    nodeid, measurement = found.key
    return Line(
        nodeid=nodeid,
        measurement=measurement,
        machine=found.machine,
        points=points,
        left_out=[shown(one) for one in found.left_out[-MOST_POINTS:]],
    )


class Regression(BaseModel):
    """A case that failed against its baseline when it was measured last."""

    session_id: str
    started: datetime
    position: int
    nodeid: str
    measurement: str
    model: str
    backend: str
    quantization: str | None
    reason: str | None


class Regressions(BaseModel):
    """Regressions, the newest first."""

    items: list[Regression]


@router.get("/regressions")
def regressions(service: Asked) -> Regressions:
    """The cases whose last run was slower than its baseline, beyond doubt and beyond the threshold."""
    place = func.row_number().over(
        partition_by=(
            cases.c.nodeid,
            cases.c.measurement,
            cases.c.backend,
            cases.c.model,
            cases.c.quantization,
        ),
        order_by=(cases.c.started.desc(), cases.c.id),
    )
    names = ("session_id", "started", "position", "nodeid", "measurement", "model", "backend", "quantization")
    columns = (*(cases.c[name] for name in names), cases.c.verdict, cases.c.verdict_reason.label("reason"))
    ranked = select(*columns, place.label("place")).subquery()
    wanted = (
        select(ranked)
        .where(ranked.c.place == 1, ranked.c.verdict == "fail")
        .order_by(ranked.c.started.desc(), ranked.c.position)
        .limit(MOST_REGRESSIONS)
    )
    with service.database.reading() as connection:
        rows = connection.execute(wanted).all()
    items = [
        Regression(**{name: row._mapping[name] for name in names}, reason=row.reason and shown(row.reason))
        for row in rows
    ]
    return Regressions(items=items)


@router.get(
    "/badge/{case}.{form}",
    response_class=Response,
    responses=gives("The badge", "image/svg+xml", "application/json") | failed(422),
)
def draw_badge(
    service: Asked,
    case: Annotated[
        str,
        Path(
            min_length=1,
            max_length=300,
            pattern=r"^[^\x00-\x1f\x7f/]+$",
            description="a text in the case's id",
        ),
    ],
    form: Literal["svg", "json"],
    metric: MetricName = "ttft",
) -> Response:
    """The newest value of a case, with its verdict, as a picture or for shields.io."""
    import json

    from pytest_llmbench.report.badge import badge
    from pytest_llmbench.results.one_case import read_one_case
    from pytest_llmbench.results.records import Header, Session

    wanted = (
        select(cases.c.session_id, cases.c.position)
        .where(cases.c.nodeid.contains(case, autoescape=True))
        .order_by(cases.c.started.desc(), cases.c.position)
        .limit(1)
    )
    with service.database.reading() as connection:
        row = connection.execute(wanted).one_or_none()
    if row is None:
        made = badge(Header(session=Session(id="", started="")), None, metric)
    else:
        document = read_one_case(document_path(service, row.session_id), row.position)
        made = badge(document, document.cases[0], metric)
    if form == "svg":
        return Response(made.svg(), media_type="image/svg+xml")
    return Response(json.dumps(made.json()), media_type="application/json")

"""What was measured: sessions, their cases and documents?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy import exists, select

from pytest_llmbench.errors import shown
from pytest_llmbench.results.ids import PATTERN
from pytest_llmbench.results.index.tables import cases, metrics, sessions
from pytest_llmbench.results.verdict import Verdict
from pytest_llmbench.service.api.shared import Asked, Limit, Text, document_path
from pytest_llmbench.service.problems import ProblemError, failed, gives

if TYPE_CHECKING:
    from pytest_llmbench.service.state import Service

router = APIRouter(tags=["Results"])

MOST_CASES = 2000
"""Of a session, in one answer; the document has all."""

SessionId = Annotated[str, Path(pattern=PATTERN, description="a session's id")]


class SessionBody(BaseModel):
    """One session, as the index has it."""

    id: str
    started: datetime
    ended: datetime | None
    state: str
    host: str | None
    machine: str | None = Field(description="fingerprint of the hardware")
    cpu: str | None
    gpus: str | None
    commit_id: str | None
    branch: str | None
    dirty: bool | None
    case_count: int
    links: dict[str, str]


class Value(BaseModel):
    """One metric of one case, in the metric's unit."""

    median: float | None
    p95: float | None
    p99: float | None
    n: int


class CaseBody(BaseModel):
    """One case, as the index has it."""

    position: int
    nodeid: str
    measurement: str
    outcome: str
    error: str | None
    verdict: str | None
    verdict_reason: str | None
    model: str
    alias: str | None
    backend: str
    quantization: str | None
    engine_version: str | None
    concurrency: int | None
    request_rate: float | None
    turn: int | None
    way: str | None
    depth: int | None
    metrics: dict[str, Value]


class SessionPage(BaseModel):
    """Sessions, the newest first."""

    items: list[SessionBody]
    next: str | None = Field(description="the cursor of the next page; null: there is none")


class SessionDetails(SessionBody):
    """One session with its cases."""

    cases: list[CaseBody]


_SESSION = tuple(sessions.c[name] for name in SessionBody.model_fields if name in sessions.c)
_CASE = tuple(cases.c[name] for name in CaseBody.model_fields if name in cases.c)


def _session(row: Any) -> dict[str, Any]:
    place = f"/results/{row.id}"
    links = {"self": place, "document": f"{place}/document", "report": f"{place}/report.html"}
    return {**row._mapping, "links": links}


def cases_of(service: Service, session_id: str) -> list[CaseBody]:
    """The cases of a session, in their order; none of one that is not in the index."""
    wanted = select(cases.c.id, *_CASE).where(cases.c.session_id == session_id)
    columns = (metrics.c.case_id, metrics.c.name, metrics.c.n, metrics.c.median, metrics.c.p95, metrics.c.p99)
    values = (
        select(*columns).join(cases, cases.c.id == metrics.c.case_id).where(cases.c.session_id == session_id)
    )
    with service.database.reading() as connection:
        rows = connection.execute(wanted.order_by(cases.c.position).limit(MOST_CASES)).all()
        measured: dict[int, dict[str, Value]] = {}
        for one in connection.execute(values.order_by(metrics.c.name)):
            value = Value(median=one.median, p95=one.p95, p99=one.p99, n=one.n)
            measured.setdefault(one.case_id, {})[one.name] = value
    return [CaseBody(**_case(row), metrics=measured.get(row.id, {})) for row in rows]


def _case(row: Any) -> dict[str, Any]:
    texts = {name: value for name, value in row._mapping.items() if name != "id"}
    return {name: shown(value) if isinstance(value, str) else value for name, value in texts.items()}


@router.get("/results", responses=failed(422))
def listed(
    service: Asked,
    model: Text | None = None,
    backend: Text | None = None,
    quantization: Text | None = None,
    verdict: Verdict | None = None,
    after: Annotated[str, Query(pattern=PATTERN, description="'next' of the page before")] | None = None,
    limit: Limit = 50,
) -> SessionPage:
    """The sessions that have a case as the filters say, the newest first."""
    wanted = select(*_SESSION).order_by(sessions.c.id.desc()).limit(limit + 1)
    asked = {"model": model, "backend": backend, "quantization": quantization, "verdict": verdict}
    conditions = [cases.c[name] == value for name, value in asked.items() if value is not None]
    if conditions:
        wanted = wanted.where(exists().where(cases.c.session_id == sessions.c.id, *conditions))
    if after is not None:
        wanted = wanted.where(sessions.c.id < after)
    with service.database.reading() as connection:
        rows = connection.execute(wanted).all()
    more = len(rows) > limit
    items = [SessionBody(**_session(row)) for row in rows[:limit]]
    return SessionPage(items=items, next=items[-1].id if more else None)


@router.get("/results/{session_id}", responses=failed(404, 422))
def one(service: Asked, session_id: SessionId) -> SessionDetails:
    """One session with its cases."""
    with service.database.reading() as connection:
        row = connection.execute(select(*_SESSION).where(sessions.c.id == session_id)).one_or_none()
    if row is None:
        raise ProblemError(404, f"there is no session {session_id} in the index")
    return SessionDetails(**_session(row), cases=cases_of(service, session_id))


@router.get(
    "/results/{session_id}/document",
    response_class=FileResponse,
    responses=gives("The document", "application/json") | failed(404, 422),
)
def document(service: Asked, session_id: SessionId) -> FileResponse:
    """The results document as it is kept: with every raw sample."""
    path = document_path(service, session_id)
    return FileResponse(path, media_type="application/json", filename=path.name)


@router.get(
    "/results/{session_id}/report.html",
    response_class=Response,
    responses=gives("The report", "text/html") | failed(404, 422),
)
def report(service: Asked, session_id: SessionId) -> Response:
    """The report of one session: a page of its own, to be kept, which needs no network."""
    from pytest_llmbench.report.page.html import html_report
    from pytest_llmbench.results.document import read_document

    path = document_path(service, session_id)
    # It is to be kept, and not shown here: a page of this address may run no script of its own.
    headers = {"Content-Disposition": f'attachment; filename="{session_id}.html"'}
    return Response(html_report([read_document(path)]), media_type="text/html", headers=headers)

"""Is the service well, what does Prometheus learn of it, and what can be asked of it?"""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from pytest_llmbench._version import __version__
from pytest_llmbench.service.api.shared import Asked
from pytest_llmbench.service.metrics import CONTENT_TYPE
from pytest_llmbench.service.problems import failed, gives

router = APIRouter(tags=["Service"])


class Health(BaseModel):
    """Whether the service can do its work."""

    status: Literal["ok"]
    version: str = Field(description="of pytest-llmbench")


@router.get("/health", responses=failed(503))
def health(service: Asked) -> Health:
    """Whether the service and its database answer; it needs no token."""
    with service.database.reading() as connection:
        connection.exec_driver_sql("SELECT 1")
    return Health(status="ok", version=__version__)


@router.get(
    "/metrics",
    response_class=Response,
    responses=gives("In Prometheus' text format", "text/plain") | failed(503),
)
def scrape(service: Asked) -> Response:
    """What was measured and what waits, for Prometheus."""
    return Response(service.scrapes.answer(service.database, service.matrices), media_type=CONTENT_TYPE)


@router.get("/docs", include_in_schema=False)
def documentation(request: Request) -> HTMLResponse:
    """The API for a person."""
    from pytest_llmbench.service.api.documentation import page

    return HTMLResponse(page(request.app.openapi(), str(request.base_url).rstrip("/")))

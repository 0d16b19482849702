"""Which configuration should I take, of all that were measured?"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from pytest_llmbench.catalog.answer import Answer
from pytest_llmbench.catalog.ask import Ask
from pytest_llmbench.service.api.shared import Asked
from pytest_llmbench.service.problems import failed

router = APIRouter(tags=["Recommendations"])

MOST_WORKLOADS = 200


class WorkloadBody(BaseModel):
    """One thing that was asked of models: only its configurations can be compared."""

    workload: str = Field(description="its hash, which a question may name")
    test: str
    configurations: int


class CatalogBody(BaseModel):
    """What is known of all configurations."""

    version: str = Field(description="of its content: equal ones give equal answers")
    configurations: int
    oldest: datetime | None = Field(description="when the first of them was measured; null: there is none")
    newest: datetime | None
    workloads: list[WorkloadBody] = Field(description="the one with the most configurations first")
    prices: dict[str, int] = Field(description="days since each kind of hardware's cheapest price was listed")


@router.get("/catalog", responses=failed(503))
def catalog(service: Asked) -> CatalogBody:
    """What is known: how many configurations, of which workloads, and how old it is."""
    found, devices = service.catalog, service.devices
    measured = [row.measured for row in found.rows]
    today = datetime.now(UTC).date()
    prices = {label: devices.price(label) for label in sorted({row.hardware or "" for row in found.rows})}
    return CatalogBody(
        version=found.version,
        configurations=len(found),
        oldest=min(measured, default=None),
        newest=max(measured, default=None),
        workloads=[
            WorkloadBody(workload=name, test=found.rows[places[0]].test, configurations=len(places))
            for name, places in list(found.workloads().items())[:MOST_WORKLOADS]
        ],
        prices={label: price.days_old(today) for label, price in prices.items() if price is not None},
    )


@router.post(
    "/recommendations",
    response_class=Response,
    responses={200: {"description": "The answer", "model": Answer}, **failed(400, 413, 415, 422, 503)},
)
@router.post("/recommendations/", response_class=Response, include_in_schema=False)
def ask_catalog(service: Asked, ask: Ask) -> Response:
    """The configurations that meet the limits, the best first, with why; and what each limit leaves out."""
    answer = service.recommend(ask)
    return Response(json.dumps(answer.as_json(), allow_nan=False), media_type="application/json")

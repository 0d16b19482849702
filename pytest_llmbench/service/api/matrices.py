"""How far is a matrix, and what became of its cells?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from pytest_llmbench.errors import LLMBenchError, shown
from pytest_llmbench.matrix.state import CellProgress
from pytest_llmbench.results.records import LABEL, Market
from pytest_llmbench.service.api.shared import Asked, Limit
from pytest_llmbench.service.matrices import cells_after
from pytest_llmbench.service.problems import ProblemError, failed

if TYPE_CHECKING:
    from pytest_llmbench.matrix.state import CellState, State

router = APIRouter(tags=["Matrices"])

Name = Annotated[str, Path(pattern=LABEL, description="of a matrix, as /matrices has it")]


class MatrixBody(BaseModel):
    """How far one matrix is."""

    name: str
    digest: str = Field(description="of its plan")
    driven: bool = Field(description="whether a process drives it now")
    counts: dict[str, int] = Field(description="cells by state: done, running, failed, left")
    failed_by: dict[str, int] = Field(description="cells that failed, by how they failed")
    seconds: float = Field(description="that all attempts took together")
    eta: float | None = Field(description="seconds until the rest is measured; null: nothing tells")
    cost: float | None = Field(description="US dollars so far; null: no price is known")
    links: dict[str, str]


class MatrixPage(BaseModel):
    """Matrices, by name."""

    items: list[MatrixBody]
    problems: list[str] = Field(description="of those that cannot be read, a line each")
    next: str | None = Field(description="the cursor of the next page; null: there is none")


class CellBody(BaseModel):
    """One cell, and what became of it."""

    id: str
    label: str
    name: str = Field(description="of the case")
    model: str
    engine: str
    served: bool = Field(description="whether the engine is started as a server")
    quantization: str | None
    load: str | None
    point: dict[str, Any] = Field(description="values of the case's sweep")
    hardware: str
    count: int = Field(description="devices")
    market: Market | None
    state: CellProgress
    sessions: list[str] = Field(description="of its results, the oldest first")
    attempts: int
    ends: dict[str, int] = Field(description="how many attempts ended how")
    end: str | None = Field(description="how the last attempt ended")
    reason: str | None
    seconds: float
    cost: float | None


class MatrixDetails(MatrixBody):
    """One matrix, with some of its cells."""

    cells: list[CellBody] = Field(description="in the order in which they are measured")
    next: str | None = Field(description="the cursor of the next page of cells; null: there is none")


@router.get("/matrices", responses=failed(422, 503))
@router.get("/matrices/", include_in_schema=False)
def listed(
    service: Asked,
    after: Annotated[str, Query(pattern=LABEL, description="'next' of the page before")] | None = None,
    limit: Annotated[int, Query(ge=1, le=50, description="how many the page has at most")] = 20,
) -> MatrixPage:
    """The matrices whose cells the store has, by name."""
    names = [name for name in service.matrices.names() if after is None or name > after]
    items, problems = [], []
    for name in names[:limit]:
        try:
            items.append(MatrixBody(**_body(service.matrices.state(name))))
        except LLMBenchError as error:
            problems.append(shown(str(error)))
    return MatrixPage(items=items, problems=problems, next=names[limit - 1] if len(names) > limit else None)


@router.get("/matrices/{name}", responses=failed(404, 422, 503))
def one(
    service: Asked,
    name: Name,
    state: Annotated[
        list[CellProgress] | None, Query(max_length=4, description="only cells in these states")
    ] = None,
    after: Annotated[str, Query(pattern="^[0-9a-f]{16}$", description="'next' of the page before")]
    | None = None,
    limit: Limit = 50,
) -> MatrixDetails:
    """One matrix: how many of its cells are done, which failed and why, and how long the rest takes."""
    if name not in service.matrices.names():
        raise ProblemError(404, f"there is no matrix {name!r}; GET /matrices lists them")
    found = service.matrices.state(name)
    cells, following = cells_after(found, limit, state or (), after)
    return MatrixDetails(**_body(found), cells=[CellBody(**_cell(cell)) for cell in cells], next=following)


def _body(found: State) -> dict[str, Any]:
    values = {name: getattr(found, name) for name in MatrixBody.model_fields if name != "links"}
    return {**values, "links": {"self": f"/matrices/{found.name}"}}


def _cell(cell: CellState) -> dict[str, Any]:
    values = {name: getattr(cell, name) for name in CellBody.model_fields}
    texts = ("label", "name", "model", "engine", "quantization", "load", "reason")
    return values | {name: None if values[name] is None else shown(values[name]) for name in texts}

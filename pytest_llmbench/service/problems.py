"""How is an error said over HTTP: as ``application/problem+json`` (RFC 9457), one shape everywhere?

What somebody else wrote is shown escaped and without secrets, and what a request held is not repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from pytest_llmbench.errors import LLMBenchError, ResultsError, shown

if TYPE_CHECKING:
    from fastapi import FastAPI

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20
"""Fields that one answer names."""


class FieldError(BaseModel):
    """One field of a request that is not valid."""

    field: str = Field(description="where: body.config.prompt, query.limit")
    message: str


class Problem(BaseModel):
    """The answer to a request that failed (RFC 9457)."""

    type: str = Field(description="what kind of problem it is; about:blank says no more than the status")
    title: str = Field(description="the kind in words")
    status: int
    detail: str = Field(description="what is wrong, and what to do")
    instance: str | None = Field(default=None, description="the id under which the log has more")
    errors: list[FieldError] | None = Field(default=None, description="of a request that is not valid")


class ProblemError(Exception):
    """A request that is answered with an error."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        instance: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = shown(detail)
        self.errors = [(field, shown(message)) for field, message in errors[:_MOST_ERRORS]]
        self.headers = dict(headers or {})
        self.instance = instance

    def body(self) -> bytes:
        """The answer's body."""
        about: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.instance is not None:
            about["instance"] = self.instance
        if self.errors:
            about["errors"] = [{"field": field, "message": message} for field, message in self.errors]
        return json.dumps(about).encode()


def failed(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route that can answer with these errors."""
    said = {HTTPStatus(status): HTTPStatus(status).phrase for status in statuses}
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        int(status): {"description": phrase, "content": {MEDIA_TYPE: schema}}
        for status, phrase in said.items()
    }


def describe(openapi: dict[str, Any]) -> dict[str, Any]:
    """Add the shape of errors to an OpenAPI document, which the answers of :func:`failed` refer to."""
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, one in (*schema.pop("$defs", {}).items(), ("Problem", schema)):
        openapi.setdefault("components", {}).setdefault("schemas", {})[name] = one
    return openapi


def gives(says: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of a route whose answer is not of its own type."""
    return {200: {"description": says, "content": {one: {} for one in media_types}}}


def answer_with_problems(app: FastAPI) -> None:
    """Have every error of *app* answered in this shape."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

    def answer(problem: ProblemError) -> Response:
        return Response(problem.body(), problem.status, problem.headers, MEDIA_TYPE)

    def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return answer(error)

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = _DETAILS.get(error.status_code, str(error.detail))
        return answer(ProblemError(error.status_code, detail, headers=error.headers))

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [(".".join(map(str, one["loc"])), str(one["msg"])) for one in error.errors()]
        first = f"{errors[0][0]}: {errors[0][1]}" if errors else "the request is not valid"
        return answer(ProblemError(422, first, errors=errors))

    def own(request: Request, error: Exception) -> Response:
        # The database or a file cannot be used: it is not the request's fault.
        status = 503 if isinstance(error, ResultsError) else 422
        return answer(ProblemError(status, str(error)))

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(LLMBenchError, own)


_DETAILS = {
    404: "there is nothing at this address; /docs lists what there is",
    405: "this address does not take that method; the header Allow names those that it takes",
}

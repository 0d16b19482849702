"""What do the routes share: the service, the page of a list, and which texts may be in an address?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import Depends, Query, Request

from pytest_llmbench.results.files import is_plain_file
from pytest_llmbench.service.problems import ProblemError
from pytest_llmbench.service.state import Service


def service_of(request: Request) -> Service:
    """The service of the application."""
    service: Service = request.app.state.service
    return service


def document_path(service: Service, session_id: str) -> Path:
    """Where the document of a session is.

    :raises ProblemError: if there is none.
    """
    path = service.store.document_path(session_id)
    if not is_plain_file(path):
        raise ProblemError(404, f"there is no session {session_id} in the store")
    return path


Asked = Annotated[Service, Depends(service_of)]

Text = Annotated[str, Query(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
Limit = Annotated[int, Query(ge=1, le=200, description="how many the page has at most")]
Cursor = Annotated[
    str,
    Query(
        max_length=200,
        pattern=r"^[A-Za-z0-9_=-]+$",
        description="where the page begins: 'next' of the page before",
    ),
]
JOB = r"^[0-9a-f]{16}$"

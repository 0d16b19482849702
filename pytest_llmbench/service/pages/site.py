"""Which pages are there, and how do they reach a browser?"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pytest_llmbench.errors import LLMBenchError, shown
from pytest_llmbench.service.pages import (
    case,
    compare,
    home,
    jobs,
    leaderboard,
    login,
    matrix,
    pareto,
    recommend,
    results,
    session,
    trends,
)
from pytest_llmbench.service.pages.asked import Answer, Asked, NotThereError, Page
from pytest_llmbench.service.pages.look import rendered
from pytest_llmbench.service.pages.static import KEPT, PREFIX, static_files
from pytest_llmbench.service.tokens import FORM_FIELD, FORM_HEADER

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger("pytest_llmbench.service")

MOST_FIELDS = 500
"""Of a form."""

GET: dict[str, Page] = {
    "/": home.show,
    "/login": login.show,
    "/ui/queue": jobs.queue,
    "/ui/jobs": jobs.show,
    "/ui/jobs/{job}": jobs.one,
    "/ui/jobs/{job}/live": jobs.live,
    "/ui/results": results.show,
    "/ui/sessions/{session}": session.show,
    "/ui/cases/{session}/{position}": case.show,
    "/ui/compare": compare.choose,
    "/ui/compare/{both}": compare.show,
    "/ui/trends": trends.show,
    "/ui/leaderboard": leaderboard.show,
    "/ui/pareto": pareto.show,
    "/ui/recommend": recommend.show,
    "/ui/matrix": matrix.show,
    "/ui/matrix/{matrix}": matrix.one,
    "/ui/matrix/{matrix}/live": matrix.live,
}
POST: dict[str, Page] = {
    "/login": login.submit,
    "/logout": login.leave,
    "/ui/start": home.start,
    "/ui/jobs/{job}/cancel": jobs.cancel,
}


def add_pages(app: FastAPI) -> None:
    """Add every page and the files that they load to *app*, whose ``state.service`` they ask."""
    for address, of in GET.items():
        app.add_route(address, _endpoint(of), methods=["GET"], include_in_schema=False)
    for address, of in POST.items():
        app.add_route(address, _endpoint(of), methods=["POST"], include_in_schema=False)
    app.add_route(f"{PREFIX}{{name}}", _static, methods=["GET"], include_in_schema=False)
    # Below the others: whatever else is asked for there is a page that says so.
    app.add_route("/ui/{rest:path}", _endpoint(_nothing), methods=["GET"], include_in_schema=False)


def _endpoint(of: Page) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        form: list[tuple[str, str]] = []
        if request.method == "POST":
            async with request.form(max_files=0, max_fields=MOST_FIELDS) as given:
                form = [(name, value) for name, value in given.multi_items() if isinstance(value, str)]
        made = await run_in_threadpool(_answered, of, request, tuple(form))
        return Response(made.body, made.status, dict(made.headers), made.media_type)

    return answer


def _answered(of: Page, request: Request, form: tuple[tuple[str, str], ...]) -> Answer:
    service = request.app.state.service
    cookie = getattr(request.state, "cookie", "")
    asked = Asked(
        service=service,
        address=request.url.path,
        path=request.path_params,
        query=tuple(request.query_params.multi_items()),
        form=form,
        form_token=service.tokens.form(cookie),
    )
    if request.method == "POST":
        given = request.headers.get(FORM_HEADER) or asked.text(FORM_FIELD)
        if not service.tokens.is_form(given, cookie):
            return _problem(
                403,
                "This form is too old",
                "It was made before the service was started last, or by another page: go back, load the page "
                "again, and send it once more.",
            )
    try:
        return of(asked)
    except NotThereError as error:
        return _problem(404, "There is nothing here", str(error))
    except LLMBenchError as error:
        return _problem(503 if _is_down(error) else 422, "This cannot be shown", str(error))
    except HTTPException:
        raise
    except Exception:
        identity = secrets.token_hex(8)
        log.exception("%s", identity)
        said = f"Something went wrong here. The log of the service has it under {identity}."
        return _problem(500, "This cannot be shown", said)


def _is_down(error: LLMBenchError) -> bool:
    from pytest_llmbench.errors import ResultsError

    return isinstance(error, ResultsError)


def _problem(status: int, title: str, detail: str) -> Answer:
    return Answer(rendered("error.html", title=title, detail=shown(detail), here=None), status)


def _nothing(asked: Asked) -> Answer:
    msg = "The address may be mistyped, or be of another version."
    raise NotThereError(msg)


async def _static(request: Request) -> Response:
    found = static_files().get(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    kept = KEPT if request.query_params.get("v") == found.digest else "no-cache"
    return Response(found.content, headers={"Cache-Control": kept}, media_type=found.media_type)

"""How do the API, the pages and what guards them become one application?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pytest_llmbench._version import __version__
from pytest_llmbench.errors import needs_extra
from pytest_llmbench.service.safety import LOOPBACK, Guard

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pytest_llmbench.service.state import Service

THREADS = 8
"""In which what asks the database or reads a document runs; others wait for one."""


def create_app(service: Service) -> FastAPI:
    """The application: ``app.state.service`` is *service*, which the routes and the pages ask.

    :raises UsageError: without the extra ``service``.
    """
    try:
        from fastapi import FastAPI
    except ImportError:
        raise needs_extra("the API and its pages", "FastAPI", "service") from None
    from pytest_llmbench.service.api import add_api
    from pytest_llmbench.service.pages.site import add_pages
    from pytest_llmbench.service.problems import answer_with_problems, describe

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        from anyio.to_thread import current_default_thread_limiter

        current_default_thread_limiter().total_tokens = THREADS
        yield
        service.close()

    app = FastAPI(
        title="llmbench",
        version=__version__,
        description="Benchmarks of LLM inference: start one, come back for its result, compare it.",
        docs_url=None,
        redoc_url=None,
        # A redirect would lose the body of a POST.
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    answer_with_problems(app)
    add_api(app)
    describe(app.openapi())
    add_pages(app)
    configuration = service.configuration
    hosts = frozenset(configuration.hosts)
    app.add_middleware(
        Guard,
        tokens=service.tokens,
        # With a token, who asks under another name gets nothing without it.
        hosts=None if configuration.token and not hosts else hosts | LOOPBACK,
    )
    return app

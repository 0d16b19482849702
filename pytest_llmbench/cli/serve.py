"""How is the service started: ``llmbench serve``?"""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.cli.options import say

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="FOLDER", help="Where the results are (LLMBENCH_STORE)."),
]


def serve(
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The address to serve on (LLMBENCH_HOST); others need a token."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", help="The port to serve on (LLMBENCH_PORT); 0 takes a free one."),
    ] = None,
    store: StoreOption = None,
    workers: Annotated[
        bool, typer.Option("--workers/--no-workers", help="Whether it measures too, or only takes requests.")
    ] = True,
) -> None:
    """Serve the API and its pages, and measure what they are asked for.

    What is not said here stands in variables of the environment, or in a file .env in this folder.
    """
    from pytest_llmbench.errors import needs_extra
    from pytest_llmbench.secrets import learn_environment
    from pytest_llmbench.service.server import address_of, bind, check_host, run

    try:
        from pytest_llmbench.service.app import create_app
        from pytest_llmbench.service.configuration import read_configuration
        from pytest_llmbench.service.state import Service
        from pytest_llmbench.service.workers import Workers
    except ImportError as error:
        raise needs_extra("the API and its pages", error.name or "a library", "service") from None

    learn_environment(os.environ)
    configuration = read_configuration(os.environ, Path.cwd(), host=host, port=port, store=store)
    check_host(configuration.host, configuration.token)
    logging.basicConfig(
        level=configuration.log_level, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr
    )
    # It tells each of its own parts.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    app = create_app(Service(configuration))
    bound = bind(configuration.host, configuration.port)
    measuring = Workers(configuration) if workers else None
    # uvicorn answers what it has begun to, and then sends itself the signal that ended it.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        if measuring is not None:
            measuring.start()
        run(app, bound, lambda: say(f"Serving on {address_of(bound)} (Ctrl-C ends it)."))
    finally:
        if measuring is not None:
            measuring.stop()


def _end(*_: object) -> None:
    raise SystemExit(0)

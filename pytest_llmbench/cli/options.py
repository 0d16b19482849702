"""Which options do several commands of ``llmbench`` share?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.errors import UsageError, shown
from pytest_llmbench.results import DEFAULT_STORE

STORE = Path(DEFAULT_STORE)

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="LLMBENCH_STORE",
        metavar="FOLDER",
        show_default=True,
        help="The folder that pytest --llm-store named.",
    ),
]


def say(text: str) -> None:
    """Write a line that repeats what a results document holds, which others may have written."""
    typer.echo(shown(text))


def asked(question: str) -> bool:
    """What a person answers to a question.

    :raises UsageError: where there is no terminal.
    """
    if not sys.stdin.isatty():
        msg = "there is no terminal to ask on; use --yes"
        raise UsageError(msg)
    return typer.confirm(question)

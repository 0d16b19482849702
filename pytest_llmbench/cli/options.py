"""Which options do several commands of ``llmbench`` share?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.errors import UsageError, shown
from pytest_llmbench.report.terminal import standard_output
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


def print_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Aligned text; on a terminal the last column is cut at its edge."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        line = indent + "  ".join(
            [*(cell.ljust(size) for cell, size in zip(row, widths, strict=False)), row[-1]]
        )
        say((line[: standard_output().width] if sys.stdout.isatty() else line).rstrip())

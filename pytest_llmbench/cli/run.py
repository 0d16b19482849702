"""How is a suite run by who does not know pytest: ``llmbench run``?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from pytest_llmbench.cli.options import say
from pytest_llmbench.errors import UsageError

DOCUMENT, ROUNDS = "document.json", "per_run.jsonl"
_BAD_INPUT = (4, 5)
"""Exit statuses of pytest: an option or a suite is not valid; there is nothing to run."""


def run_suite(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The suite to run.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where each run gets a folder of its own."),
    ] = Path("results/raw"),
) -> None:
    """Run a suite.

    What was measured is in FOLDER/RUN: the results document (document.json), and a line of JSON for each
    round (per_run.jsonl). Any options of pytest may follow, such as --llm-backend=llamacpp or -k q8_0.
    """
    import time

    from pytest_llmbench.results.ids import new_session_id

    if not config.is_file():
        msg = f"there is no file {config}"
        raise UsageError(msg)
    run = output / new_session_id(time.time())
    try:
        run.mkdir(parents=True)
        status = _pytest(config, run, context.args)
        if (run / DOCUMENT).is_file():
            _write_rounds(run)
            say(f"Results: {run / ROUNDS}")
        else:
            run.rmdir()
    except OSError as error:
        msg = f"{run} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from None
    if status:
        raise typer.Exit(2 if status in _BAD_INPUT else 1)


def _pytest(config: Path, run: Path, more: list[str]) -> int:
    """Measure in a process of its own, which has the terminal; its exit status."""
    from pytest_llmbench.results.ids import SESSION_VARIABLE

    document = run.absolute() / DOCUMENT
    words = [sys.executable, "-m", "pytest", str(config.absolute()), f"--llm-json={document}", *more]
    with subprocess.Popen(words, env={**os.environ, SESSION_VARIABLE: run.name}) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal has sent it to pytest too, which ends by it and keeps what it has measured.
                continue


def _write_rounds(run: Path) -> None:
    """Write the rounds of a run's document beside it."""
    from pytest_llmbench.results.document import read_document
    from pytest_llmbench.results.exports.text import to_per_run
    from pytest_llmbench.results.files import atomic_write

    rounds = "".join(to_per_run(read_document(run / DOCUMENT)))
    atomic_write(run / ROUNDS, rounds.encode())

"""How is a suite run by who does not know pytest: ``llmbench run``?"""

from __future__ import annotations

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
    from tempfile import TemporaryDirectory

    if not config.is_file():
        msg = f"there is no file {config}"
        raise UsageError(msg)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".running-", dir=output) as folder:
            status = _pytest(config, Path(folder) / DOCUMENT, context.args)
            made = _keep(Path(folder) / DOCUMENT, output)
    except OSError as error:
        msg = f"{output} cannot be written: {error.strerror or error}"
        raise UsageError(msg) from None
    if made is not None:
        say(f"Results: {made / DOCUMENT}")
        say(f"Results: {made / ROUNDS}")
    if status:
        raise typer.Exit(2 if status in _BAD_INPUT else 1)


def _pytest(config: Path, document: Path, more: list[str]) -> int:
    """Measure in a process of its own, which has the terminal; its exit status."""
    words = [
        sys.executable,
        "-m",
        "pytest",
        str(config.absolute()),
        f"--llm-json={document.absolute()}",
        *more,
    ]
    with subprocess.Popen(words) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal has sent it to pytest too, which ends by it and keeps what it has measured.
                continue


def _keep(document: Path, output: Path) -> Path | None:
    """Move a document to where it stays, with its rounds beside it; None if there is none."""
    from pytest_llmbench.results.document import read_document
    from pytest_llmbench.results.export import to_per_run
    from pytest_llmbench.results.files import atomic_write

    if not document.is_file():
        return None
    content = read_document(document)
    folder = output / content.session.id
    folder.mkdir()
    document.rename(folder / DOCUMENT)
    atomic_write(folder / ROUNDS, "".join(to_per_run(content)).encode())
    return folder

"""How wide is the terminal, has it colors, and which characters can it show?"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Protocol, TextIO


class Writer(Protocol):
    """The part of pytest's ``TerminalWriter`` that is read here."""

    fullwidth: int
    hasmarkup: bool


@dataclass(frozen=True, slots=True)
class Screen:
    """Where a table is shown."""

    width: int
    """Characters of a line."""
    color: bool = False
    encoding: str = "utf-8"


def standard_output() -> Screen:
    """What this process writes to; 80 characters wide where that is not known."""
    return Screen(
        width=shutil.get_terminal_size((80, 24)).columns,
        color=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
        encoding=sys.stdout.encoding or "utf-8",
    )


def pytest_terminal(writer: Writer, file: TextIO | None) -> Screen:
    """What pytest's terminal writer writes to, as *file*."""
    return Screen(writer.fullwidth, writer.hasmarkup, getattr(file, "encoding", None) or "utf-8")

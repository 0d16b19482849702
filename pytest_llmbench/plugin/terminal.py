"""Where does pytest write, and what of it is captured?"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pytest_llmbench.report.progress import Progress

if TYPE_CHECKING:
    import pytest


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """The terminal itself, inside a test whose output pytest captures."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    return nullcontext() if capture is None else capture.global_and_fixture_disabled()


def terminal_progress(config: pytest.Config) -> Progress:
    """The progress line for a session: a silent one in a pipe, an xdist worker or a dumb terminal.

    Call it while pytest captures nothing, as in ``pytest_sessionstart`` or in :func:`uncaptured`: the
    terminal's file descriptor is duplicated then, since during a test capture sends the original elsewhere.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput") or os.environ.get("TERM") == "dumb":
        return Progress()
    writer = config.get_terminal_writer()
    file = writer._file  # pytest offers no public way to its stream
    try:
        if not file.isatty():
            return Progress()
        stream = os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", errors="replace")
    except (AttributeError, OSError, ValueError):
        return Progress()
    return Progress(stream, lambda: writer.width_of_current_line)

"""Where does pytest write, what of it is captured, and what does it say while it measures?"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pytest_llmbench.report.pace import Planned
from pytest_llmbench.report.progress import EVERY, Progress
from pytest_llmbench.settings.kinds import CASE_FIXTURES

if TYPE_CHECKING:
    import pytest
    from _pytest.terminal import TerminalReporter


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """The terminal itself, inside a test whose output pytest captures."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    return nullcontext() if capture is None else capture.global_and_fixture_disabled()


def planned(items: Iterable[pytest.Item]) -> list[Planned]:
    """The tests that will run, and what each has in common with others.

    Most like a case is one of its test function for the same model on the same backend under the same load,
    then one of its function.
    """
    found = []
    for item in items:
        function = item.nodeid.partition("[")[0]
        params = getattr(getattr(item, "callspec", None), "params", {})
        cases = tuple(str(params[name].id) for name in CASE_FIXTURES if name in params)
        found.append(Planned(item.nodeid, item.nodeid.rpartition("::")[2], ((function, cases), function)))
    return found


def log_of(config: pytest.Config, reporter: TerminalReporter) -> Callable[[str], None]:
    """What writes a line of ours among pytest's own, on a line for itself."""

    def log(text: str) -> None:
        with uncaptured(config):
            reporter.ensure_newline()
            if config.get_terminal_writer().width_of_current_line:
                # The dots of xdist's tests stand in no file's line.
                reporter.line("")
            reporter.write_line(f"llmbench: {text}")

    return log


def terminal_progress(config: pytest.Config, every: float = EVERY) -> Progress:
    """The progress for a session: a line on a terminal, and elsewhere lines of a log.

    There is none in a worker of xdist, nor a log with ``-q``, nor if *every* is 0: the seconds between lines.

    Call it while pytest captures nothing, as in ``pytest_sessionstart`` or in :func:`uncaptured`: the
    terminal's file descriptor is duplicated then, since during a test capture sends the original elsewhere.
    """
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):
        return Progress()
    told = every and config.get_verbosity() >= 0
    logged = Progress(log=log_of(config, reporter), every=every) if told else Progress()
    if os.environ.get("TERM") == "dumb":
        return logged
    writer = config.get_terminal_writer()
    file = writer._file  # pytest offers no public way to its stream
    try:
        if not file.isatty():
            return logged
        stream = os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", errors="replace")
    except (AttributeError, OSError, ValueError):
        return logged
    return Progress(stream, lambda: writer.width_of_current_line)

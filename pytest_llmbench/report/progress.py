"""What is being measured at this moment?

On a terminal, one line below pytest's own, which goes when the measurement ends. Elsewhere, as in the log
of a CI job, a line from time to time, which stays. Both are written between rounds, never during one: that
would disturb what is measured. Of several cases they say which one this is, how long the rest will take,
and what is next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from pytest_llmbench.errors import one_line
from pytest_llmbench.metrics import units
from pytest_llmbench.report.pace import Pace, Planned

_CLEAR_LINE = "\r\x1b[K"
_UP = "\x1b[A"
_ROOM = 24
"""Characters of the next case that there has to be room for: fewer do not tell which one it is."""
EVERY = 300.0
"""Seconds between two lines of a log."""


class Progress:
    """A transient line, or lines of a log. Without a *stream* and a *log* every call does nothing.

    :param stream: a terminal that pytest's capture does not redirect, or None.
    :param column: where pytest's own writing stands in its line, in characters; the cursor goes
        back there.
    :param clock: seconds, for the time that is left.
    :param log: writes a line that stays, where there is no terminal.
    :param every: seconds between two such lines, and before the first.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        column: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        log: Callable[[str], None] | None = None,
        every: float = EVERY,
    ) -> None:
        self._stream = stream
        self._column = column
        self._clock = clock
        self._shown = False
        self._log = log
        self._every = every
        self._logged = clock()
        self._pace = Pace(clock)

    def plan(self, planned: Sequence[Planned]) -> None:
        """These cases will be measured, in this order."""
        self._pace.plan(planned)

    def case(self, key: str) -> None:
        """The case *key* begins."""
        self._pace.begin(key)

    def loading(self, label: str) -> None:
        """The model *label* is being built, downloaded or loaded."""
        self._show(f"{label}: loading")

    def asking(self, label: str, what: str) -> None:
        """*label* is being asked: *what* says how much, and how long it takes if that is known."""
        self._show(f"{label}: {what}")

    def round(
        self,
        label: str,
        process: int,
        processes: int,
        round: int,  # noqa: A002 - the vocabulary's word
        rounds: int,
        warmup: bool = False,
        tokens_per_second: float | None = None,
    ) -> None:
        """A round of *label* begins; *process* and *round* count from 1.

        *tokens_per_second* is the decode speed so far; None before the first round.
        """
        kind = "warm-up round" if warmup else "round"
        where = f"process {process}/{processes}, " if processes > 1 else ""
        speed = "" if tokens_per_second is None else f", {units.rate(tokens_per_second)} tokens/s"
        self._show(f"{label}: {where}{kind} {round}/{rounds}{speed}")

    def done(self) -> None:
        """The measurement has ended: the line goes, and pytest writes on where it was."""
        if self._stream is None or not self._shown:
            return
        column = self._column() % self._width()
        self._write(f"{_CLEAR_LINE}{_UP}\r" + (f"\x1b[{column}C" if column else ""))
        self._shown = False

    def close(self) -> None:
        """Remove the line and close the stream; later calls do nothing."""
        self.done()
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _show(self, text: str) -> None:
        if self._stream is None:
            self._keep(text)
            return
        # A line that wraps could not be removed: keep it shorter than the terminal.
        room = self._width() - 1
        text = f"{self._where()}{one_line(text)}"[:room]
        following = self._next()
        if following and len(text) + min(len(following), _ROOM) <= room:
            text = (text + following)[:room]
        self._write((_CLEAR_LINE if self._shown else "\n" + _CLEAR_LINE) + text)
        self._shown = True

    def _keep(self, text: str) -> None:
        """Write a line that stays, if it is time for one."""
        now = self._clock()
        if self._log is not None and now - self._logged >= self._every:
            self._logged = now
            self._log(f"{self._where()}{one_line(text)}{self._next()}")

    def _where(self) -> str:
        """``[3/27, 4 min left] ``; nothing where there is one case only."""
        told = self._pace.told
        return "" if told is None else f"[{told}] "

    def _next(self) -> str:
        """``; next test_x[tiny]``; nothing after the last case."""
        following = self._pace.next
        return "" if following is None else f"; next {one_line(following)}"

    def _width(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream else 0
        except (OSError, ValueError):
            columns = 0
        return columns or 80

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # The terminal went away; what is measured stays.
            self._stream = None

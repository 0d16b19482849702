"""What is being measured at this moment?

One line below pytest's own, on a terminal only, which goes when the measurement ends. It changes
between rounds, never during one: drawing would disturb what is measured. Of several cases it says
which one this is, and how long the rest will take at the pace so far.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TextIO

from pytest_llmbench.errors import one_line
from pytest_llmbench.metrics import units

_CLEAR_LINE = "\r\x1b[K"
_UP = "\x1b[A"


class Progress:
    """A transient line. Without a *stream* every call does nothing.

    :param stream: a terminal that pytest's capture does not redirect, or None.
    :param column: where pytest's own writing stands in its line, in characters; the cursor goes
        back there.
    :param clock: seconds, for the time that is left.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        column: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._column = column
        self._clock = clock
        self._shown = False
        self._case = 0
        self._cases = 0
        self._first = self._latest = 0.0

    def case(self, cases: int) -> None:
        """The next of so many *cases* begins. The pace is taken from one beginning to the next."""
        self._latest = self._clock()
        if not self._case:
            self._first = self._latest
        self._case += 1
        # A test that is run again begins once more.
        self._cases = max(cases, self._case)

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
            return
        # A line that wraps could not be removed: keep it shorter than the terminal.
        text = f"{self._where()}{one_line(text)}"[: self._width() - 1]
        self._write((_CLEAR_LINE if self._shown else "\n" + _CLEAR_LINE) + text)
        self._shown = True

    def _where(self) -> str:
        """``[3/27, 4 min left] ``; nothing where there is one case only."""
        if self._cases < 2:
            return ""
        place = f"{self._case}/{self._cases}"
        if self._case < 2:
            return f"[{place}] "
        pace = (self._latest - self._first) / (self._case - 1)
        # A case that takes longer than those before does not predict those after it.
        left = pace * (self._cases - self._case) + max(0.0, pace - (self._clock() - self._latest))
        return f"[{place}, {units.span(left)} left] "

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

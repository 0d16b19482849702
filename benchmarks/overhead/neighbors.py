"""What do others do on the machine meanwhile?

``python neighbors.py SEED KIND`` is one such process. Of the kind ``bursts`` it computes, or copies memory,
in bursts with pauses between them, all drawn from the seed; ``spin`` computes all the time; a number such as
0.5 is the share of a core that it takes, in each tenth of a second anew. It ends with its standard input,
and so with whoever started it, however that ends.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from types import TracebackType

import psutil
from pairs import NotMeasuredError

_MEDIAN = 0.4
_SIGMA = 1.2
_CACHES = 1 << 25
"""Bytes; more than what lies close to a core."""
_PERIOD = 0.1
"""Seconds, of one that takes a share of a core: some ticks of the kernel's clock."""

BURSTS = "bursts"
SPIN = "spin"


def parse_kind(text: str) -> str | float:
    """What neighbors do: :data:`BURSTS`, :data:`SPIN`, or their share of a core.

    :raises ValueError: for anything else.
    """
    if text in (BURSTS, SPIN):
        return text
    with suppress(ValueError):
        if 0 < (share := float(text)) < 1:
            return share
    msg = f"{text!r} is not what neighbors can do; use {BURSTS}, {SPIN}, or a share of a core such as 0.5"
    raise ValueError(msg)


def bursts(seed: int) -> Iterator[tuple[float, float]]:
    """Seconds of work and of the pause after it, forever: most are short, some are long."""
    random = Random(seed)
    while True:
        yield (
            random.lognormvariate(math.log(_MEDIAN), _SIGMA),
            random.lognormvariate(math.log(_MEDIAN), _SIGMA),
        )


class Neighbors:
    """So many of them, for as long as the context lasts.

    :param kind: as :func:`parse_kind` has it.
    :raises NotMeasuredError: at its end, if one has ended before: the machine was not as loaded as
        the results would say.
    """

    def __init__(self, count: int, kind: str | float = BURSTS) -> None:
        self._count = count
        self._kind = kind
        self._processes: list[subprocess.Popen[bytes]] = []
        self._began = 0.0

    def __enter__(self) -> Neighbors:
        self._began = time.monotonic()
        try:
            for seed in range(self._count):
                command = [sys.executable, __file__, str(seed), str(self._kind)]
                # Out of the terminal's process group: Ctrl-C is not for them.
                self._processes.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
                )
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gone = [p.returncode for p in self._processes if p.poll() is not None]
        self._end()
        if gone and kind is None:
            msg = f"{len(gone)} of {self._count} neighbors ended early, with status {gone[0]}"
            raise NotMeasuredError(msg)

    @property
    def cores(self) -> float:
        """How many cores they have taken so far, on average."""
        used = 0.0
        for process in self._processes:
            with suppress(psutil.Error):
                times = psutil.Process(process.pid).cpu_times()
                used += times.user + times.system
        return used / max(time.monotonic() - self._began, 1e-9)

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def _be_busy(seed: int, kind: str | float) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if kind == BURSTS:
        _burst(seed)
    _take(1.0 if isinstance(kind, str) else kind)


def _burst(seed: int) -> None:
    random, memory = Random(seed), bytearray(_CACHES)
    for work, pause in bursts(seed):
        copies, end = random.random() < 0.5, time.perf_counter() + work
        while time.perf_counter() < end:
            if copies:
                memory = bytearray(memory)
            else:
                sum(range(10_000))
        time.sleep(pause)


def _take(share: float) -> None:
    """Compute for that share of a core; with 1, without a pause."""
    due = time.perf_counter()
    while True:
        # Its own CPU time: beside others the same share takes longer to get.
        end = time.thread_time() + share * _PERIOD
        while time.thread_time() < end:
            sum(range(10_000))
        now = time.perf_counter()
        # What it did not get is lost, and not made up for later.
        due = max(due + _PERIOD, now)
        if share < 1:
            time.sleep(due - now)


if __name__ == "__main__":
    _be_busy(int(sys.argv[1]), parse_kind(sys.argv[2]))

"""What do others do on the machine meanwhile?

``python neighbors.py SEED`` is one such process. It computes, or copies memory, in bursts with pauses
between them, all drawn from the seed. It ends with its standard input, and so with whoever started it,
however that ends.
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

    :raises NotMeasuredError: at its end, if one has ended before: the machine was not as loaded as
        the results would say.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._began = 0.0

    def __enter__(self) -> Neighbors:
        self._began = time.monotonic()
        try:
            for seed in range(self._count):
                command = [sys.executable, __file__, str(seed)]
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


def _be_busy(seed: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    random, memory = Random(seed), bytearray(_CACHES)
    for work, pause in bursts(seed):
        copies, end = random.random() < 0.5, time.perf_counter() + work
        while time.perf_counter() < end:
            if copies:
                memory = bytearray(memory)
            else:
                sum(range(10_000))
        time.sleep(pause)


if __name__ == "__main__":
    _be_busy(int(sys.argv[1]))

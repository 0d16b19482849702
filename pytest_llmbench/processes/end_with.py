"""How does a process end when the one that started it does, however that ended?

As a program, it becomes another one that does so, on the CPUs that it is given: ``PYTHON -I -S end_with.py
PARENT CPUS COMMAND...``. Whoever has threads cannot run anything of its own between fork and exec.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Sequence

_PR_SET_PDEATHSIG = 1
_ALL = "all"


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when *parent* ends, which has started it.

    Where the system is not Linux, nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def ending_with_us(command: Sequence[str], cpus: Collection[int] | None = None) -> list[str]:
    """The words that start *command* so that it ends with the thread that starts it.

    :param cpus: on which it runs; None for those of this process.
    """
    where = _ALL if cpus is None else ",".join(map(str, sorted(cpus)))
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), where, *command]


def main(parent: int, cpus: str, *command: str) -> None:
    """Become *command*."""
    # What is ignored or blocked stays so in another program. A shell ignores SIGINT for what runs beside it,
    # and Ray blocks it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    if cpus != _ALL and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    end_with_parent(parent)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

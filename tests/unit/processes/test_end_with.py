"""Does a program that is to end with another start as if nobody had changed how signals reach it?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from pytest_llmbench.processes.end_with import ending_with_us

PROGRAM = (
    "import os, signal\n"
    "blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
    "numbers = (signal.SIGINT, signal.SIGTERM)\n"
    "print([n in blocked or signal.getsignal(n) == signal.SIG_IGN for n in numbers], os.sched_getaffinity(0))"
)


def test_signals_that_were_blocked_or_ignored_reach_it() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        command = ending_with_us([sys.executable, "-c", PROGRAM])
        found = subprocess.run(command, capture_output=True, check=True, text=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert found.stdout.startswith("[False, False]")


def test_it_has_the_cpus_that_it_is_given() -> None:
    one = min(os.sched_getaffinity(0))
    command = ending_with_us([sys.executable, "-c", PROGRAM], {one})
    found = subprocess.run(command, capture_output=True, check=True, text=True)
    assert found.stdout.strip().endswith(f"{{{one}}}")

"""Does the client get a core as soon as something arrives?

Where client and server share cores, the scheduler may let a client that has slept wait for a server that
never sleeps, for longer than there is between two tokens: it then reads them together, and only the last
one's stamp is left. A real-time thread does not wait. It takes what it takes anyway, only sooner.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_LOWEST = 1
"""The least of the real-time priorities: still before everything else that is not in real time."""


@contextmanager
def real_time() -> Iterator[bool]:
    """Have this thread run before others meanwhile, where the system allows that; yields whether it does.

    Linux allows it to root, to CAP_SYS_NICE and within RLIMIT_RTPRIO (sched(7)).
    """
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        # Several clients on one core take turns.
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_LOWEST))
    except (AttributeError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, *before)

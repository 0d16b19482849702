"""How long may a load client take, and how does it show that it goes on?

Its answer comes when the level is over. So that one which hangs, or was stopped by a signal, is not waited
for without end, it says every second how far it is; and there is an end for the whole that follows from the
plan.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from pytest_llmbench.client.plan import LoadPlan
from pytest_llmbench.processes.wire import Json

SILENT = 60.0
"""Seconds for which a client may say nothing: looking up a name may take half of them, and nothing breaks
that off."""
EVERY = 1.0
"""Seconds between two signs of life; one takes some 10 us."""
_CONNECTING = 5.0
"""Seconds for each connection that is made before the level, at worst; see :mod:`.pool`."""
_READING = 1e6
"""Bytes of responses that are read in a second, on a machine that is busy with other things."""
_GRACE = 60.0


class Pulse:
    """Signs of life of a client.

    :param say: sends one, or leaves it out where it is not read.
    """

    def __init__(self, say: Callable[[Json], None] = lambda _: None) -> None:
        self._say = say
        self._due = 0.0

    def __call__(self, sent: int, ended: int) -> None:
        """So many requests were sent, and have ended. May be called as often as one likes."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + EVERY
            self._say({"alive": {"sent": sent, "ended": ended}})


def longest(plan: LoadPlan) -> float:
    """Seconds after which a client that has not answered will not: each request takes as long as it may."""
    # It is sent again after a wait that is no longer than the timeout.
    each = plan.timeout * (1 + 2 * plan.retries)
    count = len(plan.requests)
    if plan.schedule is not None:
        sending = max(plan.schedule, default=0.0) + each
        connections = count
    else:
        connections = min(plan.at_once or 1, count)
        # What is sent after the duration's end was: of a level that has one, the warm-up and a wave.
        waves = count if plan.duration is None else min(count, plan.warmup + 1 + max(1, connections))
        sending = math.ceil(waves / max(1, connections)) * each + (plan.duration or 0.0)
        if plan.conversations is not None:
            # However they follow each other: what all think, by turns, and the longest on its own.
            thoughts = [request.think_time for request in plan.requests]
            turns = max((request.turn or 1 for request in plan.requests), default=1)
            sending += sum(thoughts) / plan.conversations + turns * (each + max(thoughts, default=0.0))
    return sending + connections * _CONNECTING + (plan.memory or 0) / _READING + _GRACE

"""Which request of a closed loop is sent next?

A request may follow another one: the next turn of a conversation is sent when the answer before it has ended
and was thought over. So there are conversations in flight, and requests in flight among them. A load without
conversations is one of conversations of one turn.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

from pytest_llmbench.client.plan import Request

_SECOND = 1_000_000_000


class Turns:
    """What is still to be sent of *requests*."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.ready: deque[int] = deque()
        """The numbers of those that can go out now, first come first."""
        self.abandoned = 0
        """How many turns are not sent because one before them failed."""
        self._requests = requests
        self._beginnings = deque(n for n, request in enumerate(requests) if request.follows is None)
        self._next = {request.follows: n for n, request in enumerate(requests) if request.follows is not None}
        self._thinking: list[tuple[int, int]] = []
        """A heap of when a turn's think time is over (ns), and its number."""

    @property
    def left(self) -> bool:
        """Whether anything is, but for turns that follow what is on its way."""
        return bool(self.ready or self._beginnings or self._thinking)

    def begin(self) -> None:
        """Have one more conversation in flight, if there is one."""
        if self._beginnings:
            self.ready.append(self._beginnings.popleft())

    def after(self, number: int) -> int | None:
        """The turn that follows a request; None if it was its conversation's last."""
        return self._next.get(number)

    def go_on(self, number: int, now: int) -> None:
        """A turn is the next of its conversation, whose answer before it ended *now*, in ns."""
        think = round(self._requests[number].think_time * _SECOND)
        if think:
            heapq.heappush(self._thinking, (now + think, number))
        else:
            self.ready.append(number)

    def abandon(self, number: int) -> None:
        """A turn and those after it are not sent."""
        left: int | None = number
        while left is not None:
            self.abandoned += 1
            left = self.after(left)

    def think(self, now: int) -> int | None:
        """Have those ready whose think time is over *now*; when the next one's is, both in ns, if ever."""
        while self._thinking and self._thinking[0][0] <= now:
            self.ready.append(heapq.heappop(self._thinking)[1])
        return self._thinking[0][0] if self._thinking else None

    def end(self) -> None:
        """Have nothing left."""
        self.ready.clear()
        self._beginnings.clear()
        self._thinking.clear()

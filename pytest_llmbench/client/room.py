"""How much of what comes may the client store, and is that enough for a level?

What arrives is stored until the level is over. So there is a most for each response, which one without end
reaches, and one for all responses of a level together, by the memory that is free before it.
"""

from __future__ import annotations

from array import array

from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.errors import UsageError
from pytest_llmbench.hardware.memory import available

SEGMENT = 224
"""Bytes that the interpreter needs for a segment beside its text: a tuple, a time, a stamp and a place in a
list; ``SEGMENT`` in ``_native.c``."""
PER_RESPONSE = 2 * 2**20
"""Bytes that any response may have: a head, a prompt that is repeated, the page of a gateway."""
PER_TOKEN = 8 * 1024
"""Bytes more for each token that was asked for: an event has 300, and 3,000 with 20 probabilities."""
KEPT = 64 * 1024
"""Bytes that are kept of a response that had more than it may: what it begins with."""
_SHARE = 0.5
"""Of the free memory, for what is stored; reading it takes as much again at worst."""
_USUAL_RESPONSE = 4 * 1024
_USUAL_TOKEN = 512
"""Bytes that a response takes, and each of its tokens, where a server sends what servers send."""


class Room:
    """What is left of it.

    :param total: bytes for all responses together.
    """

    def __init__(self, total: int) -> None:
        self.left = array("q", [total])
        """Bytes: of the level, then of the response on each connection, by 1 + its file descriptor. The part
        in C reads and writes it."""

    def open(self, fd: int, size: int) -> None:
        """A response of *size* bytes at most is to come on a connection."""
        if (missing := fd + 2 - len(self.left)) > 0:
            self.left.extend([0] * missing)
        self.left[fd + 1] = size

    def take(self, fd: int, length: int) -> bool:
        """Have room for a segment; False if there is none, neither for one nor for the other."""
        left, need = self.left, length + SEGMENT
        if fd + 1 >= len(left) or left[0] < need or left[fd + 1] < need:
            return False
        left[0] -= need
        left[fd + 1] -= need
        return True

    def give_back(self, segments: int, length: int) -> None:
        """So many segments, of *length* bytes together, are not stored any more."""
        self.left[0] += segments * SEGMENT + length

    def is_full(self, length: int) -> bool:
        """Whether it is the level that has no room for a segment of *length*, and not its response alone."""
        return self.left[0] < length + SEGMENT


def most_of(request: Request) -> int:
    """Bytes that the response to *request* may have."""
    return PER_RESPONSE + PER_TOKEN * request.max_new_tokens


def room_for(plan: LoadPlan) -> int:
    """Bytes that the responses of *plan* may have together: half the free memory, or what all may have.

    :raises UsageError: if that is less than they have where servers send what they usually do. Where fewer
        tokens or requests may come than the plan has, they are let try.
    """
    most = sum(most_of(request) for request in plan.requests)
    # Nothing else is asked of a system that has enough for anything.
    room = min(most, int(_SHARE * available()))
    usual = sum(_USUAL_RESPONSE + _USUAL_TOKEN * request.max_new_tokens for request in plan.requests)
    if usual > room and plan.duration is None and plan.params.ignore_eos:
        msg = (
            f"the load client stores what comes until the level is over, some {usual / 1e9:.2g} GB of "
            f"{len(plan.requests)} requests, and may take {room / 1e9:.2g} GB, half of the free memory: ask "
            "for fewer requests or fewer tokens"
        )
        raise UsageError(msg)
    return room


def why_too_large(request: Request, *, full: bool) -> str:
    """What is said of a response for which there was no room, because the level was *full* or by itself."""
    if full:
        return "the memory that the load client may take for one level was full"
    most = most_of(request) / 2**20
    return (
        f"the response was longer than {most:.3g} MiB, the most for {request.max_new_tokens} tokens, and was "
        f"given up; its first {KEPT // 1024} KiB were read"
    )

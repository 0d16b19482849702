"""With what does a run of a matrix end, for whatever started it?

Kubernetes, Argo and CI read nothing else: a code says whether to start it again.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How ``llmbench matrix run`` ends."""

    DONE = 0
    """Every cell that was asked for has a result."""
    FAILED = 1
    """Some cells failed for good; another start will not measure them."""
    USAGE = 4
    """The matrix or the command is not valid; pytest ends so too."""
    AGAIN = 75
    """It was stopped or lost what it ran on, and has noted what is done: start it again (``EX_TEMPFAIL``)."""


NOT_A_COMMAND = 2
"""With what every command of ``llmbench`` ends for an option that it does not know, or other bad input."""
DO_NOT_RETRY = (Exit.FAILED, NOT_A_COMMAND, Exit.USAGE)
"""Codes after which another start would end in the same way."""

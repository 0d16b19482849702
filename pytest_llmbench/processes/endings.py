"""How did a process end, in words that a person can use?"""

from __future__ import annotations

import signal

OF_MEMORY = "the system does that when memory runs out, and its log then says so"
"""What may be added where :func:`was_killed`."""
_SHELLS = 128
"""What a shell, or Docker, adds to the number of the signal that ended its command."""


def how_it_ended(status: int) -> str:
    """``exited with status 1``, ``was ended by SIGSEGV``.

    :param status: as :mod:`subprocess` has it, negative for a signal.
    """
    if status < 0:
        return f"was ended by {_name(-status) or f'signal {-status}'}"
    how = f"exited with status {status}"
    if (name := _name(status - _SHELLS)) is None:
        return how
    # An interpreter may be a script that runs one.
    return f"{how}, as a shell does when its command was ended by {name},"


def was_killed(status: int | None) -> bool:
    """Whether something else ended it at once: the system for want of memory, or a person."""
    return status in (-signal.SIGKILL, _SHELLS + signal.SIGKILL)


def _name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None

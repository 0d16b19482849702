"""Which devices does an attempt have for itself, are they idle before, and is nothing left on them after?

What an attempt starts has its session and its devices in the environment, and so has whatever that starts:
by these it is found again, whoever its parent is by then.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.hardware.gpus import in_use
from pytest_llmbench.results.ids import SESSION_VARIABLE

DEVICES_VARIABLE = "LLMBENCH_CELL_DEVICES"
"""The environment variable with the devices of an attempt."""
_GPU, _CPU, _ALL = "gpu:", "cpu:", "all"
_LOOK = 0.05
"""Seconds between looks."""


@dataclass(frozen=True, slots=True)
class Devices:
    """What an attempt has for itself."""

    gpus: tuple[str, ...] = ()
    """As ``CUDA_VISIBLE_DEVICES`` names them; empty hides all."""
    cpus: frozenset[int] | None = None
    """On which its processes run; None for all that there are."""
    scope: str = ""
    """Of whoever hands them out: what others start on theirs is seen by its load, as any program is."""

    @property
    def text(self) -> str:
        """``gpu:0,1``, ``cpu:0,1,2,3``, ``cpu:all``."""
        if self.gpus:
            return _GPU + ",".join(self.gpus)
        return _CPU + (_ALL if self.cpus is None else ",".join(map(str, sorted(self.cpus))))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which an engine keeps to them."""
        return {DEVICES_VARIABLE: f"{self.text}@{self.scope}", "CUDA_VISIBLE_DEVICES": ",".join(self.gpus)}

    def shares(self, text: str) -> bool:
        """Whether it has a device of those that *text* says, as :attr:`environment` has it."""
        written, _, scope = text.partition("@")
        ours, theirs = (one.partition(":") for one in (self.text, written))
        if ours[0] != theirs[0] or scope != self.scope:
            return False
        if _ALL in (ours[2], theirs[2]):
            return True
        return not set(ours[2].split(",")).isdisjoint(theirs[2].split(","))


def busy(devices: Devices) -> str | None:
    """By what the devices are used; None if they are idle."""
    for pid, told in _of_attempts():
        if devices.shares(told.get(DEVICES_VARIABLE, "")):
            return f"process {pid} of session {told.get(SESSION_VARIABLE, 'unknown')} is still there"
    return in_use(",".join(devices.gpus)) if devices.gpus else None


def wait_until_idle(devices: Devices, seconds: float) -> str | None:
    """Wait at most so long until nothing uses the devices; what does, if something still does then."""
    end = time.monotonic() + seconds
    while (used := busy(devices)) is not None and time.monotonic() < end:
        time.sleep(_LOOK)
    return used


def clear(session_id: str, seconds: float) -> str | None:
    """Wait at most so long for the processes of a session to be gone, and end what is left.

    :return: what was left, if something was.
    """
    left = _wait_for(session_id, seconds)
    if not left:
        return None
    for pid in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    stayed = _wait_for(session_id, seconds)
    what = f"process {left[0]}" if len(left) == 1 else f"{len(left)} processes"
    return f"{what} was left behind and " + ("does not end" if stayed else "was ended")


def _wait_for(session_id: str, seconds: float) -> list[int]:
    """The processes of a session that are still there after so long."""
    end = time.monotonic() + seconds
    while True:
        left = [pid for pid, told in _of_attempts() if told.get(SESSION_VARIABLE) == session_id]
        if not left or time.monotonic() > end:
            return left
        time.sleep(_LOOK)


def _of_attempts(root: Path = Path("/proc")) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The processes of attempts on this machine, with their variables; none where there is no /proc."""
    name = f"{DEVICES_VARIABLE}=".encode()
    with suppress(OSError):
        for entry in os.scandir(root):
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            # Those of others cannot be read, and one that has ended has none.
            with suppress(OSError):
                data = Path(entry.path, "environ").read_bytes()
                if name in data:
                    yield int(entry.name), _variables(data)


def _variables(data: bytes) -> dict[str, str]:
    pairs = (one.decode(errors="replace").partition("=") for one in data.split(b"\0"))
    return {name: value for name, _, value in pairs if name in (DEVICES_VARIABLE, SESSION_VARIABLE)}

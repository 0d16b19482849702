"""How much memory does this machine have for a model, and is it enough?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_llmbench.metrics.units import size

if TYPE_CHECKING:
    from pytest_llmbench.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Room:
    """The memory of one machine, all of it: what is free changes while benchmarks run."""

    memory: int
    """Bytes that processes of ours may have: the machine's, or what their control groups allow."""
    gpus: int = 0
    """Bytes of all NVIDIA GPUs together."""

    @property
    def largest(self) -> int:
        """Bytes that one model can have."""
        return max(self.memory, self.gpus)

    @property
    def text(self) -> str:
        """What there is, for a person."""
        if not self.memory:
            return f"{size(self.gpus)} on its GPUs"
        return size(self.memory) + (f", and {size(self.gpus)} on its GPUs" if self.gpus else "")


def this_machine() -> Room:
    """The memory of this machine."""
    import psutil

    from pytest_llmbench.hardware.cgroups import limits
    from pytest_llmbench.hardware.gpus import list_gpus

    memory = int(psutil.virtual_memory().total)
    allowed = limits().memory
    gpus = [gpu["memory"] for gpu in list_gpus()]
    return Room(
        memory if allowed is None else min(memory, allowed),
        sum(one for one in gpus if isinstance(one, int)),
    )


def too_large(spec: ModelSpec, room: Room, machine: str = "this machine") -> str | None:
    """Why a model cannot run in a machine's memory, as far as its alias says how much it needs; else None."""
    needed = None if spec.known is None else spec.known.memory
    if needed is None or needed <= room.largest:
        return None
    name = spec.alias or spec.name
    return (
        f"{name} needs {size(needed)} of memory (recommended_memory_gb in the models file), and {machine} "
        f"has {room.text}"
    )

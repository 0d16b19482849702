"""Does a case fit: its model into the machine's memory, and what it asks into the model's context?

As far as the models file says what a model needs, and the model's own files do, where they are here; found
out before anything is loaded, built or fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_llmbench.cases import need as needs
from pytest_llmbench.metrics.units import size
from pytest_llmbench.models.room import Room, this_machine, too_large
from pytest_llmbench.settings.options import BackendOptions

if TYPE_CHECKING:
    from pytest_llmbench.cases.need import Need
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.models.outline import Outline
    from pytest_llmbench.models.spec import Form, ModelSpec
    from pytest_llmbench.settings.case import CaseSettings


READS = (*needs.READS, "backend_options")
"""The settings of which it depends whether a case fits."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a case takes at least, in bytes."""

    weights: int
    cache: int
    """Of the K and V of all its tokens."""

    @property
    def both(self) -> int:
        return self.weights + self.cache


class Space:
    """Looks once at what the machine has, and at each model's files."""

    def __init__(self, room: Room | None = None, machine: str = "this machine") -> None:
        """Look at nothing yet.

        :param room: what the machine has, where that is not this one.
        :param machine: what messages call it.
        """
        self._room = room
        self.machine = machine
        self._outlines: dict[tuple[ModelSpec, Form], Outline | None] = {}

    @property
    def room(self) -> Room:
        """What the machine has."""
        self._room = self._room or this_machine()
        return self._room

    def outline(self, spec: ModelSpec, form: Form) -> Outline | None:
        """What the files of a model say; None where they are not here."""
        found = self._outlines.get((spec, form))
        if found is None:
            from pytest_llmbench.models.resolve import outline_of

            if (found := outline_of(spec, form)) is not None:
                self._outlines[spec, form] = found
        return found

    def of_machine(self, room: Room, machine: str) -> Space:
        """The same models on another machine, which messages call so."""
        other = Space(room, machine)
        other._outlines = self._outlines
        return other

    def fit(self, target: Target, spec: ModelSpec, held: CaseSettings) -> Fit:
        """Whether what is asked of a model on a *target* fits; *held* are the settings of the test."""
        return Fit(self, target, spec, held.backend_options)


class Fit:
    """Whether what is asked of one model on one target fits."""

    def __init__(self, space: Space, target: Target, spec: ModelSpec, given: BackendOptions) -> None:
        self._space = space
        self._target = target
        self._spec = spec
        self._given = given

    def misfit(self, need: Need) -> str | None:
        """Why a test of this *need* cannot run; None if it may."""
        spec, target = self._spec, self._target
        if target.form is None:
            return None
        known = spec.known
        recommends = known is not None and known.memory is not None
        if recommends and (reason := too_large(spec, self._space.room, self._space.machine)) is not None:
            return reason
        limit, said = None if known is None else known.context_length, "context_length in the models file"
        asked, what = need.least, need.asked
        if "started" in target.kinds and limit is not None and (self._set or 0) > limit:
            asked, what = self._set or 0, f"server.context={self._set} is longer"
        if limit is None and need.informed and (self._set or 0) < need.least and self.outline is not None:
            limit, said = self.outline.context, "what it was trained for"
        if limit is not None and asked > limit:
            return f"{self._name} has a context of {limit} tokens ({said}), and {what}"
        return self.lacks(need)

    def lacks(self, need: Need) -> str | None:
        """Why memory cannot hold what a test needs, with the figures; None if it may."""
        memory, room = self.memory(need), self._space.room if need.informed else None
        if memory is None or room is None or memory.both <= room.memory + room.gpus:
            return None
        parts = f"weights {size(memory.weights)}, KV cache {size(memory.cache)}"
        return (
            f"{self._name} needs {size(memory.both)} of memory or more for a context of {need.least} tokens "
            f"({parts}), and {self._space.machine} has {room.text}"
        )

    def memory(self, need: Need) -> Memory | None:
        """What a test takes at least; None where it is not known what is asked, or what it takes."""
        if not need.informed or self._target.form is None or (outline := self.outline) is None:
            return None
        bits = self._kv_bits
        if bits is None or outline.attention is None:
            return None
        return Memory(self.weights or 0, outline.attention.memory(need.least, bits))

    @property
    def weights(self) -> int | None:
        """Bytes of the model's weights in memory; None where that is not known."""
        outline = self.outline
        if outline is None:
            return None
        # What is quantized as it is loaded, or in another type than it is stored in, has another size.
        as_stored = self._spec.quantization is None or outline.dtype in (None, self._spec.quantization)
        return outline.size if as_stored else None

    def too_heavy(self) -> str | None:
        """Why memory cannot hold the weights alone, whatever is asked; None if it may."""
        weights, room = self.weights, self._space.room
        if weights is None or weights <= room.memory + room.gpus:
            return None
        return f"the weights of {self._name} take {size(weights)}, and {self._space.machine} has {room.text}"

    def holding(self, need: Need) -> BackendOptions:
        """The options of the test, with a context that holds what it needs.

        It is set where nothing else is said, the default is too short, and the model was trained for as much.
        Where an estimate is more than that, all that it was trained for is set.
        """
        option, given = self._target.context, self._given
        if option is None or option.default is None or need.most is None or self._set is not None:
            return given
        trained = None if self.outline is None else self.outline.context
        tokens = need.most if trained is None else min(need.most, trained)
        if tokens <= option.default or tokens < need.least:
            return given
        return BackendOptions({self._target.name: {option.name: tokens}}).over(given)

    @property
    def outline(self) -> Outline | None:
        """What the model's files say; None where they are not here."""
        return None if self._target.form is None else self._space.outline(self._spec, self._target.form)

    @property
    def _name(self) -> str:
        return self._spec.alias or self._spec.name

    @cached_property
    def _set(self) -> int | None:
        """The context that is set; None for the target's own."""
        option = self._target.context
        value = None if option is None else self._given.of(self._target.name).get(option.name)
        return None if value is None else int(value)

    @cached_property
    def _kv_bits(self) -> tuple[float, float] | None:
        outline = self.outline
        return None if outline is None else self._target.kv_bits(outline, self._spec, self._given)

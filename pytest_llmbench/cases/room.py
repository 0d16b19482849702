"""Does a case fit: its model into the machine's memory, and what it asks into the model's context?

As far as the models file says what a model needs; found out before anything is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmbench.models.room import Room, this_machine, too_large
from pytest_llmbench.servers.options import SERVER
from pytest_llmbench.workloads.lengths import parse_length

if TYPE_CHECKING:
    from pytest_llmbench.cases.target import Target
    from pytest_llmbench.models.spec import ModelSpec
    from pytest_llmbench.settings.case import CaseSettings


READS = ("max_new_tokens", "output_length", "prompt_length", "dataset", "backend_options")
"""The settings of which it depends whether a case fits."""


class Space:
    """Looks once at what the machine has."""

    def __init__(self) -> None:
        self._room: Room | None = None

    def misfit(self, target: Target, spec: ModelSpec, held: CaseSettings, *, load: bool) -> str | None:
        """Why a case does not fit; None if it may.

        :param held: the settings of its test; *load*: whether it has load levels.
        """
        if spec.known is None or target.form is None:
            return None
        if spec.known.memory is not None:
            self._room = self._room or this_machine()
            if (reason := too_large(spec, self._room)) is not None:
                return reason
        context = spec.known.context_length
        if context is None:
            return None
        if load:
            output = parse_length(held.output_length or held.max_new_tokens).middle
            asked = output + (0 if held.dataset is not None else parse_length(held.prompt_length).middle)
            what = f"requests of {asked} tokens (prompt and answer of middle length) are longer"
        else:
            # A prompt has a token at least.
            asked, what = 1 + held.max_new_tokens, f"a prompt and {held.max_new_tokens} more are longer"
        if "started" in target.kinds:
            served = held.backend_options.of(SERVER).get("context")
            if served is not None and int(served) > context:
                asked, what = int(served), f"server.context={served} is longer"
        return _too_long(spec, asked, what)


def prompt_too_long(spec: ModelSpec, prompt_tokens: int, new_tokens: int) -> str | None:
    """Why a prompt of so many tokens and its answer do not fit into a model's context; None if they may."""
    what = f"a prompt of {prompt_tokens} tokens and {new_tokens} more are longer"
    return _too_long(spec, prompt_tokens + new_tokens, what)


def _too_long(spec: ModelSpec, asked: int, what: str) -> str | None:
    context = None if spec.known is None else spec.known.context_length
    if context is None or asked <= context:
        return None
    name = spec.alias or spec.name
    return f"{name} has a context of {context} tokens (context_length in the models file), and {what}"

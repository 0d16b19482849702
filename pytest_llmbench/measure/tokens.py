"""How many tokens has a prompt, by its model's own tokenizer and chat template, before anything is measured?

In a process of its own, as engines are; its weights are not loaded.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.processes.child import Child
from pytest_llmbench.processes.serve import ENGINE
from pytest_llmbench.workloads.scenarios.conversation import Conversation, messages_at

_WITHIN = 120.0
"""Seconds that a tokenizer has to be loaded, and to count a prompt."""


@dataclass(frozen=True, slots=True)
class TokenizerSpec:
    """Whose tokens are counted; *backend* is ``module:attribute``."""

    backend: str
    spec: ModelSpec
    place: Path
    options: Mapping[str, object]
    python: str = sys.executable


class TokenCounter:
    """Counts in a process that it starts.

    :raises EngineError: and its kinds, whenever that fails; the process is gone then.
    """

    def __init__(self, tokenizer: TokenizerSpec) -> None:
        self._child = Child(
            "pytest_llmbench.measure.tokens_worker",
            label=f"the tokenizer of {tokenizer.spec.label}",
            kind=ENGINE,
            python=tokenizer.python,
            environment={},
            timeout=_WITHIN,
        )
        request = {
            "op": "load",
            "backend": tokenizer.backend,
            "spec": dataclasses.asdict(tokenizer.spec),
            "place": str(tokenizer.place),
            "options": dict(tokenizer.options),
            # Backends of a conftest or of a src layout have to be found there as well.
            "path": list(sys.path) if tokenizer.python == sys.executable else None,
        }
        try:
            self._child.ask(request, "loading the tokenizer", _WITHIN)
        except BaseException:
            self._child.kill()
            raise

    def count(self, prompt: Prompt) -> int:
        """The tokens of a prompt."""
        tokens = self._child.ask({"op": "count", **prompt.to_json()}, "counting tokens", _WITHIN)["tokens"]
        return int(tokens)

    def turns(self, conversation: Conversation, answers: Sequence[int]) -> list[int]:
        """The tokens of the prompt of each turn, all that was said before among them.

        :param answers: the tokens of each turn's answer: those of a ``live`` history are not known as text.
        """

        def make(tokens: int, number: int) -> str:
            request = {"op": "prompt", "tokens": tokens, "seed": number}
            return str(self._child.ask(request, "making a prompt", _WITHIN)["text"])

        filled = conversation.fill(make)
        found = []
        for number in range(1, len(filled.turns) + 1):
            said = filled.turns[: number - 1]
            live = [filled.history == "live" or turn.answer is None for turn in said]
            counted = self.count(Prompt(messages=messages_at(filled, number, [""] * len(said))))
            found.append(counted + sum(n for n, own in zip(answers, live, strict=False) if own))
        return found

    def close(self) -> None:
        """End the process."""
        self._child.close()

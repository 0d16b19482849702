"""What happens in a process that counts the tokens of prompts?

``python -m pytest_llmbench.measure.tokens_worker FD`` answers requests over the socket FD until it is closed.
No weights are loaded. The interpreter may belong to another environment, so only the standard library is
imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench import errors
from pytest_llmbench.backends.base import LoadsVocabularies, Vocabulary
from pytest_llmbench.backends.registry import from_reference
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.processes.serve import serve
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.workloads.prompts import prompt_of_tokens

if TYPE_CHECKING:
    from pytest_llmbench.workloads.messages import Message


class Words:
    """The tokenizer of one model."""

    def __init__(self) -> None:
        self._vocabulary: Vocabulary | None = None

    def handle(self, request: Json) -> Json:
        """Answer one request ``{"op": NAME, ...}``."""
        arguments = {key: value for key, value in request.items() if key != "op"}
        operations: dict[str, Callable[..., Json]] = {
            "load": self.load,
            "prompt": self.prompt,
            "count": self.count,
            "close": self.close,
        }
        return operations[request["op"]](**arguments)

    def load(
        self, *, backend: str, spec: Json, place: str, options: Json, path: list[str] | None = None
    ) -> Json:
        """Load what the engine needs of the model to make tokens."""
        if path is not None:
            sys.path[:] = path
        described = from_reference(backend)
        if not isinstance(described, LoadsVocabularies):
            msg = f"the backend {described.name} cannot count tokens without the weights"
            raise errors.EngineError(msg)
        self._vocabulary = described.load_vocabulary(ModelSpec(**spec), Path(place), options)
        return {}

    def prompt(self, *, tokens: int, seed: int) -> Json:
        """A text of exactly *tokens* tokens, special tokens included."""
        words = self._loaded()
        return {"text": prompt_of_tokens(tokens, words.tokenize, words.detokenize, seed=seed)}

    def count(self, *, text: str | None = None, messages: list[Message] | None = None) -> Json:
        """The tokens of a prompt, with the chat template where it is *messages*."""
        words = self._loaded()
        if messages is None:
            return {"tokens": len(words.tokenize(text or ""))}
        return {"tokens": len(words.tokenize_rendered(words.render_chat(messages)))}

    def close(self) -> Json:
        """Free it."""
        words, self._vocabulary = self._vocabulary, None
        if words is not None:
            words.close()
        return {}

    def _loaded(self) -> Vocabulary:
        if self._vocabulary is None:
            msg = "tokens were to be counted before a model was loaded"
            raise errors.EngineError(msg)
        return self._vocabulary


def main() -> None:
    """Be the process that counts."""
    words = Words()
    serve(int(sys.argv[1]), lambda request, _: words.handle(request))


if __name__ == "__main__":
    main()

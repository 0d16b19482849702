"""llama.cpp, made slower by a known share: what the gate has to find.

``delay`` seconds pass after each token, spent computing as a slower engine would spend them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.backends.base import Engine, GenerationParams, OptionSpec, Sink
from pytest_llmbench.backends.llamacpp import LlamaCppBackend
from pytest_llmbench.models.spec import ResolvedModel


class DelayedBackend(LlamaCppBackend):
    """The real backend with one option more."""

    name = "delayed"
    options = (
        *LlamaCppBackend.options,
        OptionSpec("delay", float, 0.0, "seconds added to each token", minimum=0),
    )

    def load(self, model: ResolvedModel, options: Mapping[str, Any]) -> Engine:
        """The real engine, its tokens held up."""
        engine = super().load(model, options)
        generate, delay = engine.generate, options["delay"]

        def delayed(prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
            return generate(prompt, params, _Delaying(sink, delay))

        engine.generate = delayed  # type: ignore[method-assign]
        return engine


class _Delaying:
    """Hands tokens on, each late."""

    def __init__(self, sink: Sink, delay: float) -> None:
        self._sink = sink
        self._delay = delay

    def prefilled(self) -> None:
        self._sink.prefilled()

    def token(self, token: int) -> None:
        end = time.perf_counter() + self._delay
        while time.perf_counter() < end:
            pass
        self._sink.token(token)


backend = DelayedBackend()

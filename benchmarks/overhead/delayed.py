"""llama.cpp, made worse by a known share: what the gate has to find.

Variables of the engine's process say by how much, and no option: nothing in a results document then
tells the worse engine from the plain one, as nothing would tell of a real regression. Time is given in
steps of a loop, not in seconds: what slows the engine slows them too, as it would a slower engine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pytest_llmbench.backends.base import Engine, GenerationParams, Sink
from pytest_llmbench.backends.llamacpp import LlamaCppBackend
from pytest_llmbench.models.spec import ResolvedModel

_VARIABLE = "LLMBENCH_BURDEN"


@dataclass(frozen=True, slots=True)
class Burden:
    """What the engine has to bear beside its work."""

    prefill: int = 0
    """Steps after each prompt."""
    token: int = 0
    """Steps before each token is handed on."""
    memory: int = 0
    """Bytes, held as long as the model."""

    def environment(self) -> dict[str, str]:
        """What the engine's process has to find in its environment."""
        return {_VARIABLE: f"{self.prefill} {self.token} {self.memory}"}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Burden:
        """The burden that :meth:`environment` wrote; none where nothing is written."""
        return cls(*map(int, environment.get(_VARIABLE, "").split()))


def spend(steps: int) -> None:
    """Compute for so many steps."""
    for _ in range(steps):
        pass


def steps_per_second() -> float:
    """How many a second of CPU time has, here and now."""
    steps, seconds = 20_000, []
    for _ in range(50):
        began = time.thread_time()
        spend(steps)
        seconds.append(time.thread_time() - began)
    return steps / median(seconds)


class DelayedBackend(LlamaCppBackend):
    """The real backend, and what it has to bear."""

    name = "delayed"

    def load(self, model: ResolvedModel, options: Mapping[str, Any]) -> Engine:
        """The real engine, its tokens held up."""
        burden = Burden.of(os.environ)
        engine = super().load(model, options)
        # No zeros: pages that nobody writes to are not there.
        generate, ballast = engine.generate, b"\1" * burden.memory

        def delayed(prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
            return generate(prompt, params, _Delaying(sink, burden, ballast))

        engine.generate = delayed  # type: ignore[method-assign]
        return engine


class _Delaying:
    """Hands tokens on, each late."""

    def __init__(self, sink: Sink, burden: Burden, ballast: bytes) -> None:
        self._sink = sink
        self._burden = burden
        self._ballast = ballast

    def prefilled(self) -> None:
        spend(self._burden.prefill)
        self._sink.prefilled()

    def token(self, token: int) -> None:
        spend(self._burden.token)
        self._sink.token(token)


backend = DelayedBackend()

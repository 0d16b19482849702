"""What does it take to put a depth back into the KV cache, beside evaluating it again?"""

from __future__ import annotations

import time
from collections.abc import Callable

from engines import handle
from pairs import Bound, Measured, NotMeasuredError, Row, alternate, ratios

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.measure.engine import EngineHandle

_TOKENS = 8192
_ROOM = 64
"""Tokens of the context behind them."""


def _restored(engine: EngineHandle) -> float:
    """Seconds that putting it back takes, what else is done before a round included.

    :raises NotMeasuredError: if it is not there afterwards.
    """
    started = time.perf_counter()
    engine.prepare(cold=True)
    seconds = time.perf_counter() - started
    prompt = engine.prompt_of_tokens(8, 0)
    found = engine.generate(prompt, GenerationParams(1)).reuse
    if found is None or found.tokens != _TOKENS:
        told = "nothing" if found is None else found.reason or f"{found.tokens} tokens"
        msg = f"a depth of {_TOKENS} tokens was put back, and the cache had {told}"
        raise NotMeasuredError(msg)
    return seconds


def _made(engine: EngineHandle) -> float:
    """Seconds that evaluating it takes, and keeping a copy of it."""
    depth = engine.deepen(_TOKENS, 1, _ROOM)
    assert depth is not None
    return depth.seconds


def _measure(backend: str, quantization: str) -> Callable[[int], Measured]:
    def measure(pairs: int) -> Measured:
        with handle(backend, "tiny", quantization, {"n_ctx": _TOKENS + 256}) as engine:
            _made(engine)
            return ratios(alternate(pairs, lambda: _restored(engine), lambda: _made(engine)), "s")

    return measure


ROWS = (
    Row(
        "depth-llamacpp",
        "putting a depth of 8K back / evaluating it again, llama.cpp, tiny",
        Bound(at_most=0.02),
        5,
        _measure("llamacpp", "f16"),
    ),
    Row(
        "depth-transformers",
        "putting a depth of 8K back / evaluating it again, Transformers, tiny",
        Bound(at_most=0.02),
        5,
        _measure("transformers", "f32"),
    ),
)

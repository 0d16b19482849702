"""Does an engine decode as fast through the plugin as bare?"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from engines import LARGE, Bare, bench, decode_speed
from pairs import Bound, Measured, Row, alternate, ratios

from pytest_llmbench.models.spec import ResolvedModel

_LLAMACPP = ("n_ctx", "n_batch", "n_ubatch", "n_threads", "n_threads_batch", "n_gpu_layers")
_TRANSFORMERS = ("n_threads", "dtype", "device")


def _measure(
    backend: str,
    model: str,
    quantization: str,
    *,
    tokens: int,
    rounds: int,
    settings: Sequence[str],
    processes: int,
) -> Measured:
    """One value for each pair of fresh processes: the median ratio of its *rounds* pairs of rounds.

    Where a process happens to lie in memory makes it some percent faster or slower for its whole
    life, so that more rounds of the same two processes would not tell more.
    """
    values, speeds = [], []
    for number in range(processes):
        with bench(backend, model, quantization, tokens) as ours:
            # What the engine says of its load, so that both sides have the same.
            resolved = ours.plan.engine.model
            assert isinstance(resolved, ResolvedModel)
            setup: dict[str, object] = {"path": str(resolved.path)}
            setup |= {name: ours.record.engine[name] for name in settings}
            with Bare(backend, setup) as bare:
                taken = alternate(
                    rounds,
                    lambda: decode_speed(ours.round()[0]),  # used up within the loop
                    lambda: bare.decode_speed(tokens, ours.record.rounds[0]),
                    seed=number,
                )
                pair = ratios(taken, "tokens/s")
        values.append(pair.median)
        speeds.append(pair.sides)
    sides = {name: statistics.median(s[name] for s in speeds) for name in speeds[0]}
    return Measured(values, sides)


def _llamacpp(model: str, *, tokens: int, rounds: int) -> Callable[[int], Measured]:
    return lambda processes: _measure(
        "llamacpp", model, "f16", tokens=tokens, rounds=rounds, settings=_LLAMACPP, processes=processes
    )


def _transformers(model: str, *, tokens: int, rounds: int) -> Callable[[int], Measured]:
    return lambda processes: _measure(
        "transformers",
        model,
        "f32",
        tokens=tokens,
        rounds=rounds,
        settings=_TRANSFORMERS,
        processes=processes,
    )


ROWS = (
    Row(
        "decode-82m",
        "decode speed through the plugin / a bare `llama_decode` loop, llama-82m",
        Bound(at_least=0.98),
        8,
        _llamacpp(LARGE, tokens=32, rounds=4),
    ),
    Row(
        "decode-tiny",
        "decode speed through the plugin / a bare `llama_decode` loop, tiny",
        Bound(at_least=0.95),
        15,
        _llamacpp("tiny", tokens=128, rounds=6),
    ),
    Row(
        "decode-transformers",
        "decode speed through the plugin / a bare `model.generate`, Transformers, llama-82m",
        Bound(at_least=0.98),
        5,
        _transformers(LARGE, tokens=32, rounds=3),
    ),
)

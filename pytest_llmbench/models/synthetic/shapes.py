"""Which architectures can be built without a download, and how large are they?

All are Llama-shaped decoders. The figures of the published ones are those of their authors'
``config.json``; the weights are random, so nothing but the shape is theirs. ``tiny`` and ``long-128k`` are
this project's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.models.attention import Attention

PREFIX = "synthetic/"


@dataclass(frozen=True, slots=True)
class Shape:
    """One architecture: everything that decides how much work a token is."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    context: int
    """Tokens that the positions were made for."""
    rope_theta: float
    rms_eps: float
    tied: bool
    """The output layer is the embedding: one matrix serves both."""

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    @property
    def model_name(self) -> str:
        """What a user writes: ``tiny`` or ``synthetic/NAME``."""
        return self.name if self.name == "tiny" else PREFIX + self.name

    @property
    def attention(self) -> Attention:
        """What decides how large its KV cache is."""
        return Attention(self.layers, self.kv_heads, self.head_size, self.head_size)

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.kv_heads * self.head_size
        return attention + 3 * self.hidden * self.ffn + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Weights of the whole model; a tied output layer counts once."""
        embeddings = (1 if self.tied else 2) * self.vocabulary * self.hidden
        return embeddings + self.layers * self.layer_parameters + self.hidden


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("tiny", 256, 6, 4, 4, 768, 4096, 8192, 100_000.0, 1e-5, tied=True),
        Shape("llama-82m", 768, 12, 12, 4, 2048, 8192, 8192, 10_000.0, 1e-5, tied=True),
        Shape("smollm2-135m", 576, 30, 9, 3, 1536, 49_152, 8192, 100_000.0, 1e-5, tied=True),
        # Llama 3's scaling of RoPE beyond 8,192 positions changes no amount of work and is left out.
        Shape("llama-3.2-1b", 2048, 16, 32, 8, 8192, 128_256, 131_072, 500_000.0, 1e-5, tied=True),
        Shape("llama-3.1-8b", 4096, 32, 32, 8, 14_336, 128_256, 131_072, 500_000.0, 1e-5, tied=False),
        # Of no published model: as little work a token as two heads that share their keys can be, so that a
        # prompt of 128K tokens takes about a minute on one core. 32 values a head are a block of q8_0.
        Shape("long-128k", 64, 1, 2, 1, 128, 4096, 131_072, 500_000.0, 1e-5, tied=True),
    )
}


def is_synthetic(name: str) -> bool:
    """Whether *name* is written like a synthetic model; it need not exist."""
    return name == "tiny" or name.startswith(PREFIX)


def shape_of(name: str) -> Shape:
    """The shape of ``tiny`` or ``synthetic/NAME``.

    :raises UsageError: if there is none of that name; it lists what there is.
    """
    known = SHAPES.get(name.removeprefix(PREFIX))
    if known is None or not is_synthetic(name):
        names = [shape.model_name for shape in SHAPES.values()]
        hint = suggest(name, names).rstrip("?")
        msg = f"there is no synthetic model {name!r}{hint}. There are {', '.join(names)}"
        raise UsageError(msg)
    return known

"""How much memory does a context of a model take, as far as the model's own description tells?

The K and the V of each layer: tokens x KV heads x size of a head x bytes of a value. It is what the cache
takes at least: engines round up, and keep more beside it. Of models that keep a state instead of, or beside,
the K and V of each token (recurrent and hybrid ones), and of those whose engines compress them (latent
attention), nothing is known.

Imported by the worker as well: only the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

KVBits = tuple[float, float]
"""Bits that a value of the K cache has, and one of the V cache."""

_FEWEST_FULL = 8
"""Of so many layers at least one looks back over all tokens, where a model has a window and does not say in
which layers."""
_MOST = 1 << 24
"""Larger than any number of layers, heads or tokens that a model has."""


@dataclass(frozen=True, slots=True)
class Attention:
    """What of a model's shape decides how large its KV cache is."""

    full: int
    """Layers that look back over all tokens."""
    kv_heads: int
    key_size: int
    """Values that a head has of a token's K."""
    value_size: int
    """The same of its V."""
    windowed: int = 0
    """Layers that look back over the window alone."""
    window: int = 0
    """Tokens."""

    def memory(self, tokens: int, bits: KVBits) -> int:
        """Bytes that the K and V of so many *tokens* take at least."""
        kept = self.full * tokens + self.windowed * min(tokens, self.window)
        return int(kept * self.kv_heads * (self.key_size * bits[0] + self.value_size * bits[1]) / 8)


# The parts of keys by which models say that they keep something else than the K and V of each token.
_GGUF_STATE = (
    *("ssm.state_size", "ssm.inner_size", "wkv.head_size", "shortconv.l_cache", "kda.head_dim"),
    "attention.kv_lora_rank",
)
_HF_STATE = (
    *("mamba", "ssm_", "linear_", "rwkv", "conv_", "state_size", "attn_layer_period", "kv_lora_rank"),
    *("block_types", "layers_block_type", "hybrid_", "global_head_dim"),
)
_FULL, _WINDOWED = "full_attention", "sliding_attention"


def of_gguf(value: Callable[[str], object]) -> Attention | None:
    """Of a GGUF file, by the *value* that a key has in its metadata; None where that does not tell.

    See ggml's ``docs/gguf.md``.
    """
    arch = value("general.architecture")

    def number(key: str) -> int | None:
        return count(value(f"{arch}.{key}"))

    if any(value(f"{arch}.{key}") is not None for key in _GGUF_STATE):
        return None
    layers, heads, width = (
        number(key) for key in ("block_count", "attention.head_count", "embedding_length")
    )
    if not (layers and heads and width):
        return None
    # Where layers differ, it is an array, which no reader of ours takes: there is no number at all then.
    kv_heads = number("attention.head_count_kv")
    if kv_heads is None:
        return None
    size = width // heads
    window = number("attention.sliding_window") or 0
    layers -= min(layers - 1, number("attention.shared_kv_layers") or 0)
    full = max(1, layers // _FEWEST_FULL) if window else layers
    return Attention(
        full=full,
        kv_heads=kv_heads,
        key_size=number("attention.key_length") or size,
        value_size=number("attention.value_length") or size,
        windowed=layers - full,
        window=window,
    )


def of_config(config: Mapping[str, object]) -> Attention | None:
    """Of a Hugging Face model, by its ``config.json``; None where that does not tell."""
    config = text_config(config)
    if any(key.startswith(_HF_STATE) and value is not None for key, value in config.items()):
        return None
    layers, heads, kv_heads = (
        count(config.get(f"num_{key}")) for key in ("hidden_layers", "attention_heads", "key_value_heads")
    )
    if not (layers and heads and kv_heads) or config.get("is_encoder_decoder"):
        return None
    size = count(config.get("head_dim")) or (count(config.get("hidden_size")) or 0) // heads
    if not size:
        return None
    window = 0 if config.get("use_sliding_window") is False else count(config.get("sliding_window")) or 0
    kinds = config.get("layer_types")
    windowed = layers if window else 0
    if isinstance(kinds, list):
        if len(kinds) != layers or not set(kinds) <= {_FULL, _WINDOWED}:
            return None
        windowed = kinds.count(_WINDOWED)
    # Layers that take the K and V of earlier ones have none of their own; which, differs.
    layers -= min(layers - 1, count(config.get("num_kv_shared_layers")) or 0)
    windowed = min(windowed, layers)
    return Attention(layers - windowed, kv_heads, size, size, windowed, window)


def text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    """The part of a ``config.json`` that is of the text: models of pictures and text have it apart."""
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def count(value: object) -> int | None:
    """A number of layers, heads, values or tokens, also as a text; None for what cannot be one."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _MOST else None

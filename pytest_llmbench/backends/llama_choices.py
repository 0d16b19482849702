"""What does llama.cpp let one choose by name?"""

from __future__ import annotations

from typing import NamedTuple

DEFAULT_CONTEXT = 4096
"""Tokens of a context whose length is not set, at most: for all that a model was trained for, memory may be
too small."""
FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}


class KVType(NamedTuple):
    """A type that a KV cache may have."""

    number: int
    """Of enum ggml_type, in ggml.h."""
    bits: float
    """Of a value, with its share of the block's scales; see ggml-common.h."""


KV_TYPES = {
    "f32": KVType(0, 32),
    "f16": KVType(1, 16),
    "bf16": KVType(30, 16),
    "q8_0": KVType(8, 8.5),
    "q5_1": KVType(7, 6),
    "q5_0": KVType(6, 5.5),
    "q4_1": KVType(3, 5),
    "q4_0": KVType(2, 4.5),
    "iq4_nl": KVType(20, 4.5),
}

"""Is the size of a KV cache what the shape of a model makes it?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.models.attention import Attention, of_config, of_gguf

HALF = (16.0, 16.0)
GGUF: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}
CONFIG: dict[str, Any] = {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
LLAMA_3_8B = Attention(full=32, kv_heads=8, key_size=128, value_size=128)


def gguf(**more: object) -> Attention | None:
    return of_gguf({**GGUF, **{f"llama.{key}": value for key, value in more.items()}}.get)


def config(**more: object) -> Attention | None:
    return of_config({**CONFIG, **more})


def test_an_8b_model_of_llama_3s_shape_takes_128_kib_a_token() -> None:
    assert gguf() == config() == LLAMA_3_8B
    assert LLAMA_3_8B.memory(1, HALF) == 128 * 2**10
    assert LLAMA_3_8B.memory(131_072, HALF) == 16 * 2**30
    assert LLAMA_3_8B.memory(1000, (8.5, 4.5)) == 1000 * 32 * 8 * 128 * 13 // 8


def test_layers_of_a_window_keep_the_window_alone() -> None:
    attention = Attention(full=1, kv_heads=2, key_size=4, value_size=4, windowed=3, window=10)
    each = 2 * 8 * 2
    assert attention.memory(5, HALF) == 4 * 5 * each
    assert attention.memory(100, HALF) == (100 + 3 * 10) * each


def test_a_gguf_file_says_the_sizes_of_heads_and_its_window() -> None:
    sizes = {"attention.key_length": 256, "attention.value_length": 64}
    assert gguf(**sizes) == Attention(32, 8, 256, 64)
    # It does not say which layers look back over all: few.
    assert gguf(**{"attention.sliding_window": 4096}) == Attention(4, 8, 128, 128, 28, 4096)
    assert gguf(**{"attention.shared_kv_layers": 12}) == Attention(20, 8, 128, 128)


def test_a_config_says_which_layers_have_a_window() -> None:
    kinds = ["sliding_attention", "sliding_attention", "full_attention", "full_attention"] * 8
    assert config(layer_types=kinds, sliding_window=512) == Attention(16, 8, 128, 128, 16, 512)
    assert config(sliding_window=512) == Attention(0, 8, 128, 128, 32, 512)
    assert config(sliding_window=512, use_sliding_window=False) == LLAMA_3_8B
    assert config(sliding_window=None, head_dim=64) == Attention(32, 8, 64, 64)
    assert of_config({"text_config": CONFIG, "num_hidden_layers": 2}) == LLAMA_3_8B


@pytest.mark.parametrize(
    "more",
    [
        {"ssm.state_size": 16},
        {"wkv.head_size": 64},
        {"shortconv.l_cache": 3},
        {"attention.kv_lora_rank": 512},
        {"attention.head_count_kv": None},  # an array, of layers that differ
        {"block_count": 0},
        {"block_count": True},
        {"block_count": 2**40},
        {"block_count": "many"},
    ],
)
def test_of_a_gguf_file_with_a_state_or_without_numbers_nothing_is_known(more: dict[str, object]) -> None:
    assert gguf(**more) is None


@pytest.mark.parametrize(
    "more",
    [
        {"mamba_d_state": 16},
        {"layer_types": ["linear_attention"] * 32},
        {"layer_types": ["full_attention"]},
        {"layers_block_type": ["mamba"]},
        {"kv_lora_rank": 512},
        {"num_key_value_heads": None},
        {"num_hidden_layers": -1},
        {"is_encoder_decoder": True},
        {"hidden_size": None},
    ],
)
def test_of_a_config_with_a_state_or_without_numbers_nothing_is_known(more: dict[str, object]) -> None:
    assert config(**more) is None


def test_numbers_may_be_texts_as_llama_cpp_gives_them() -> None:
    assert of_gguf({key: str(value) for key, value in GGUF.items()}.get) == LLAMA_3_8B

"""Are the shapes those that were published?"""

from __future__ import annotations

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.synthetic.shapes import SHAPES, is_synthetic, shape_of


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # What the authors' own model pages and safetensors headers count.
        ("smollm2-135m", 134_515_008),
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.1-8b", 8_030_261_248),
    ],
)
def test_a_published_shape_has_the_published_number_of_weights(name: str, parameters: int) -> None:
    assert SHAPES[name].parameters == parameters


def test_the_shape_for_long_contexts_has_little_work_a_token() -> None:
    shape = shape_of("synthetic/long-128k")
    assert (shape.layers, shape.context) == (1, 131_072)
    assert shape.parameters < 300_000
    # Blocks of the quantized types of a KV cache have 32 values.
    assert shape.head_size == 32


def test_only_the_largest_shape_has_an_output_layer_of_its_own() -> None:
    assert [shape.name for shape in SHAPES.values() if not shape.tied] == ["llama-3.1-8b"]


def test_every_shape_can_be_split_into_heads() -> None:
    for shape in SHAPES.values():
        assert shape.hidden == shape.heads * shape.head_size
        assert shape.heads % shape.kv_heads == 0
        assert shape.head_size % 2 == 0


def test_tiny_has_a_short_and_a_long_name() -> None:
    assert shape_of("tiny") is shape_of("synthetic/tiny")
    assert shape_of("tiny").model_name == "tiny"
    assert shape_of("synthetic/llama-82m").model_name == "synthetic/llama-82m"


def test_the_others_need_their_prefix() -> None:
    assert not is_synthetic("llama-82m")
    with pytest.raises(UsageError, match=r"synthetic/llama-82m"):
        shape_of("llama-82m")


def test_an_unknown_shape_is_told_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'synthetic/llama-82m'.*There are tiny, synthetic/"):
        shape_of("synthetic/lama-82m")

"""How are random weights made and written, as a Hugging Face folder and as GGUF?

A weight is a pure function of the shape's name, the tensor's name and its place, so both forms are
written straight from it, tensor by tensor, and never need more memory than the largest tensor (the
Hugging Face form: a layer). Weights are normal, rounded to float16, and taken through a table from
the raw bits of PCG64: NumPy promises those bits forever, but not its distributions, so the files
are the same on every machine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.models.libraries import missing_library
from pytest_llmbench.models.synthetic import tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pytest_llmbench.models.synthetic.shapes import Shape

FORMAT = 1
"""Raised by one whenever the same shape would give other files than before."""

# Small enough for a token not to follow itself, the output layer being the embedding: the layers decide.
_EMBEDDING_GAIN = 1.0
# Attention that picks positions instead of averaging them: what comes next depends on what came before.
_QUERY_GAIN = 2.0
# Rows of special, single-byte and unused tokens: small, so that greedy decoding yields readable text.
_QUIET_ROW = 0.25
_NORM_SPREAD = 0.1
_CHUNK = 1 << 18

GgufType = Literal["f16", "f32"]
Advance = Callable[[int], None]
"""Called with the number of bytes that were written since the last call."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One weight tensor: its name in both forms, its shape and how its values are spread."""

    hf: str
    gguf: str
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0
    rope_heads: int = 0
    """Heads whose rows llama.cpp wants in another order; 0 where there are none."""
    vocabulary: bool = False

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)


def tensors(shape: Shape) -> Iterator[list[Tensor]]:
    """The tensors, shard by shard: the embedding, each layer, and what comes after them."""
    hidden, kv = shape.hidden, shape.kv_heads * shape.head_size
    unit = 1 / math.sqrt(hidden)
    embedding = unit * _EMBEDDING_GAIN

    def norm(hf: str, gguf: str) -> Tensor:
        return Tensor(f"{hf}.weight", f"{gguf}.weight", (hidden,), _NORM_SPREAD, mean=1.0)

    yield [
        Tensor(
            "model.embed_tokens.weight",
            "token_embd.weight",
            (shape.vocabulary, hidden),
            embedding,
            vocabulary=True,
        )
    ]
    for layer in range(shape.layers):
        hf, gguf = f"model.layers.{layer}", f"blk.{layer}"

        def matrix(
            name: str,
            short: str,
            rows: int,
            columns: int,
            std: float,
            rope_heads: int = 0,
            hf: str = hf,
            gguf: str = gguf,
        ) -> Tensor:
            return Tensor(
                f"{hf}.{name}.weight", f"{gguf}.{short}.weight", (rows, columns), std, rope_heads=rope_heads
            )

        yield [
            norm(f"{hf}.input_layernorm", f"{gguf}.attn_norm"),
            matrix("self_attn.q_proj", "attn_q", hidden, hidden, unit * _QUERY_GAIN, shape.heads),
            matrix("self_attn.k_proj", "attn_k", kv, hidden, unit, shape.kv_heads),
            matrix("self_attn.v_proj", "attn_v", kv, hidden, unit),
            matrix("self_attn.o_proj", "attn_output", hidden, hidden, unit),
            norm(f"{hf}.post_attention_layernorm", f"{gguf}.ffn_norm"),
            matrix("mlp.gate_proj", "ffn_gate", shape.ffn, hidden, unit),
            matrix("mlp.up_proj", "ffn_up", shape.ffn, hidden, unit),
            matrix("mlp.down_proj", "ffn_down", hidden, shape.ffn, 1 / math.sqrt(shape.ffn)),
        ]
    last = [norm("model.norm", "output_norm")]
    if not shape.tied:
        last.append(
            Tensor("lm_head.weight", "output.weight", (shape.vocabulary, hidden), embedding, vocabulary=True)
        )
    yield last


def values(shape: Shape, tensor: Tensor) -> NDArray[np.float16]:
    """The float16 array of one tensor."""
    import numpy as np

    name = f"{FORMAT}/{shape.name}/{tensor.hf}"
    bits = np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little"))
    table = (_normal_quantiles() * tensor.std + tensor.mean).astype(np.float16)
    flat = np.empty(tensor.size, np.float16)
    for start in range(0, tensor.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        # Each 64 bits are four places in the table; "clip" only saves a check that cannot fail.
        places = bits.random_raw(-(-len(part) // 4)).astype("<u8", copy=False).view("<u2")
        np.take(table, places[: len(part)], out=part, mode="clip")
    array = flat.reshape(tensor.shape)
    if tensor.vocabulary:
        array[: tokenizer.FIRST_MERGE] *= np.float16(_QUIET_ROW)
        array[tokenizer.TRAINED :] *= np.float16(_QUIET_ROW)
    return array


@cache
def _normal_quantiles() -> NDArray[np.float64]:
    import numpy as np

    steps = 1 << 16
    return np.array([NormalDist().inv_cdf((i + 0.5) / steps) for i in range(steps)])


def write_huggingface(shape: Shape, folder: Path, advance: Advance = lambda _: None) -> None:
    """Write config, tokenizer and float16 weights, a safetensors file a layer, into *folder*.

    :raises ModelError: if ``safetensors`` or ``tokenizers`` is not installed.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError as error:
        raise missing_library("safetensors") from error
    vocabulary = tokenizer.train()
    tokenizer.write_huggingface(vocabulary, folder, size=shape.vocabulary, context=shape.context)
    (folder / "config.json").write_text(json.dumps(_config(shape), indent=2), "utf-8")
    (folder / "generation_config.json").write_text(json.dumps(_generation_config(), indent=2), "utf-8")
    places: dict[str, str] = {}
    shards = list(tensors(shape))
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({t.hf: values(shape, t) for t in shard}, folder / file, metadata={"format": "pt"})
        places.update({t.hf: file for t in shard})
        advance(sum(2 * t.size for t in shard))
    index = {"metadata": {"total_size": 2 * shape.parameters}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), "utf-8")


def write_gguf(shape: Shape, path: Path, kind: GgufType, advance: Advance = lambda _: None) -> None:
    """Write one GGUF file: matrices as *kind*, vectors as float32, the values those of the other form.

    :raises ModelError: if ``gguf`` or ``tokenizers`` is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise missing_library("gguf") from error
    import numpy as np

    vocabulary = tokenizer.train()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(shape.model_name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_eps)
    tokenizer.add_to_gguf(vocabulary, writer, size=shape.vocabulary)

    every = [tensor for shard in tensors(shape) for tensor in shard]
    types = {
        t.gguf: np.dtype(np.float32 if len(t.shape) == 1 or kind == "f32" else np.float16) for t in every
    }
    for tensor in every:
        dtype = types[tensor.gguf]
        writer.add_tensor_info(tensor.gguf, tensor.shape, dtype, tensor.size * dtype.itemsize)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in every:
            array = _rope_order(values(shape, tensor), tensor.rope_heads)
            writer.write_tensor_data(array.astype(types[tensor.gguf], copy=False))
            advance(tensor.size * types[tensor.gguf].itemsize)
    finally:
        writer.close()


def _rope_order(array: NDArray[np.float16], heads: int) -> NDArray[np.float16]:
    """Rows as llama.cpp rotates them: neighbors are a pair, not the halves of a head.

    The same permutation as in llama.cpp's ``convert_hf_to_gguf.py``.
    """
    if not heads:
        return array
    rows, columns = array.shape
    return array.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _config(shape: Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "intermediate_size": shape.ffn,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.rms_eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "float16",
        **_generation_config(),
        "eos_token_id": tokenizer.SPECIALS.index(tokenizer.TURN_END),
    }


def _generation_config() -> dict[str, object]:
    ids = tokenizer.SPECIALS.index
    return {
        "bos_token_id": ids(tokenizer.BOS),
        "eos_token_id": [ids(tokenizer.TURN_END), ids(tokenizer.EOS)],
        "pad_token_id": ids(tokenizer.EOS),
    }

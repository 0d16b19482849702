"""Are the two forms of a synthetic model whole, the same every time, and of the same weights?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmbench.models.spec import ResolvedModel
from pytest_llmbench.models.synthetic.shapes import SHAPES, Shape
from pytest_llmbench.models.synthetic.weights import Tensor, tensors, values, write_gguf, write_huggingface

np = pytest.importorskip("numpy")
gguf = pytest.importorskip("gguf")
safetensors = pytest.importorskip("safetensors")
pytest.importorskip("tokenizers")

Tiny = Callable[..., ResolvedModel]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_tensors_have_as_many_weights_as_the_shape_says(shape: Shape) -> None:
    every = [tensor for shard in tensors(shape) for tensor in shard]

    assert sum(tensor.size for tensor in every) == shape.parameters
    assert len({tensor.hf for tensor in every}) == len({tensor.gguf for tensor in every}) == len(every)


def test_weights_are_normal_and_the_same_every_time() -> None:
    tensor = Tensor("a", "a", (300, 1000), std=0.02, mean=1.0)
    array = values(SHAPES["tiny"], tensor).astype(np.float64)

    assert array.shape == (300, 1000)
    assert abs(array.mean() - 1) < 0.001
    assert abs(array.std() - 0.02) < 0.001
    assert (values(SHAPES["tiny"], tensor) == array).all()
    assert (values(SHAPES["tiny"], replace(tensor, hf="b")) != array).mean() > 0.9


def test_weights_do_not_depend_on_the_machine() -> None:
    # What NumPy promises of its bit generators, and what baselines of other machines rely on.
    array = values(SHAPES["tiny"], Tensor("a", "a", (8,), std=1.0))

    assert array.tolist() == [
        -1.396484375,
        -0.6787109375,
        0.6201171875,
        -1.646484375,
        -2.294921875,
        -0.6044921875,
        -0.84033203125,
        -0.6611328125,
    ]


def test_tokens_that_nobody_writes_have_small_rows() -> None:
    shape = SHAPES["llama-82m"]
    array = values(shape, next(tensors(shape))[0]).astype(np.float32)
    norms = np.linalg.norm(array, axis=1)

    assert norms[4096:].max() < norms[260:4096].min()


def test_both_forms_hold_the_same_weights(tiny: Tiny) -> None:
    folder, file = tiny("hf").path, tiny("gguf", "f16").path
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    written = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    shape = SHAPES["tiny"]
    for shard in tensors(shape):
        for tensor in shard:
            with safetensors.safe_open(folder / index["weight_map"][tensor.hf], "np") as opened:
                ours = opened.get_tensor(tensor.hf)
            theirs = written[tensor.gguf].data.reshape(tensor.shape)
            if tensor.rope_heads:
                # Back from neighboring pairs to the two halves of each head.
                half = tensor.shape[0] // tensor.rope_heads // 2
                theirs = theirs.reshape(tensor.rope_heads, half, 2, -1).swapaxes(1, 2).reshape(tensor.shape)
            assert (ours == theirs).all(), tensor.hf
    assert len(written) == len(index["weight_map"])


def test_an_untied_shape_has_an_output_layer_in_both_forms(tmp_path: Path) -> None:
    shape = Shape("untied", 64, 1, 2, 1, 96, 4096, 512, 10_000.0, 1e-5, tied=False)
    write_huggingface(shape, tmp_path)
    write_gguf(shape, tmp_path / "model.gguf", "f32")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())

    assert "lm_head.weight" in index["weight_map"]
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is False
    names = [tensor.name for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors]
    assert "output.weight" in names


def test_building_again_gives_the_same_bytes(tmp_path: Path, tiny: Tiny) -> None:
    write_gguf(SHAPES["tiny"], tmp_path / "again.gguf", "f16")

    assert (tmp_path / "again.gguf").read_bytes() == tiny("gguf", "f16").path.read_bytes()


_PEAK = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from pytest_llmbench.models.synthetic import weights
from pytest_llmbench.models.synthetic.shapes import Shape

shape = Shape("wide", 512, int(sys.argv[1]), 8, 8, 4096, 4096, 512, 10_000.0, 1e-5, tied=True)
weights.write_gguf(shape, Path(sys.argv[2]) / "model.gguf", "f16")
weights.write_huggingface(shape, Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_more_layers_take_no_more_memory(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    peaks = []
    for layers in (1, 6):
        command = [sys.executable, "-c", _PEAK, str(layers), str(tmp_path)]
        peaks.append(int(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout))
    five_layers_in_kib = 5 * 2 * (4 * 512 * 512 + 3 * 512 * 4096) // 1024

    assert peaks[1] - peaks[0] < five_layers_in_kib / 2

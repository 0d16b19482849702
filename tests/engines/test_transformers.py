"""Does Transformers keep the contract of backends, and what is its own?"""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pytest_llmbench.backends import transformers_loading as loading
from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.transformers import TransformersBackend
from pytest_llmbench.errors import (
    BackendUnavailableError,
    EngineError,
    ModelError,
    UsageError,
)
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from tests.engines.caching import CachingContract
from tests.engines.contract import CHAT, TEXT, Sink, Tiny, generated

pytest.importorskip("torch")
pytest.importorskip("transformers")


class TestTransformers(CachingContract):
    backend = TransformersBackend()
    options = MappingProxyType({"n_threads": 1, "device": "cpu"})
    quantization = "f32"

    def count_evaluated(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        sizes: list[int] = []
        forward = engine._model.forward

        # Transformers asks for the names of its parameters.
        @functools.wraps(forward)
        def counting(*arguments: Any, **named: Any) -> Any:
            sizes.append(named["input_ids"].shape[1])
            return forward(*arguments, **named)

        monkeypatch.setattr(engine._model, "forward", counting)
        return sizes

    def end_with(self, engine: Any, token: int, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        monkeypatch.setattr(engine, "_configs", {})
        monkeypatch.setattr(engine, "_eos", [token])
        monkeypatch.setattr(engine, "_eos_tensor", torch.tensor([token]))

    def forget_template(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine._tokenizer, "chat_template", None)

    def special_text(self, engine: Any) -> str:
        return str(engine._tokenizer.bos_token)

    def test_the_tokens_are_those_of_a_bare_generate(self, engine: Any) -> None:
        import torch

        prompt = engine.tokenize(TEXT)
        ids = torch.tensor([prompt])
        bare = engine._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            suppress_tokens=engine._eos,
        )
        assert generated(engine, prompt, max_new_tokens=12) == bare[0, len(prompt) :].tolist()

    def test_the_checkpoints_own_sampling_defaults_do_not_leak_in(
        self, copy: ResolvedModel, engine: Any
    ) -> None:
        path = copy.path / "generation_config.json"
        config = json.loads(path.read_text()) if path.exists() else {}
        config |= {"do_sample": True, "temperature": 1.5, "repetition_penalty": 5.0, "max_length": 4}
        path.write_text(json.dumps(config))
        other = load(quantized(copy, "f32"))
        prompt = engine.tokenize(TEXT)
        usual = generated(engine, prompt, max_new_tokens=12)
        assert generated(other, prompt, max_new_tokens=12) == usual

    def test_both_engines_make_the_same_tokens_of_a_text_and_of_a_chat(self, engine: Any, tiny: Tiny) -> None:
        pytest.importorskip("llama_cpp")
        from pytest_llmbench.backends.llamacpp import LlamaCppBackend

        backend = LlamaCppBackend()
        other = backend.load(tiny("f16", "gguf"), option_values(backend, {"n_threads": 1}))
        assert other.tokenize(TEXT) == engine.tokenize(TEXT)
        assert other.render_chat(CHAT) == engine.render_chat(CHAT)
        rendered = engine.render_chat(CHAT)
        assert other.tokenize_rendered(rendered) == engine.tokenize_rendered(rendered)
        other.close()


load = TestTransformers.load


def quantized(model: ResolvedModel, quantization: str | None) -> ResolvedModel:
    return replace(model, spec=ModelSpec("tiny", quantization))


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> ResolvedModel:
    return tiny(None, "hf")


@pytest.fixture
def copy(model: ResolvedModel, tmp_path: Path) -> ResolvedModel:
    """The model in a folder that the test may damage."""
    folder = tmp_path / "model"
    shutil.copytree(model.path, folder)
    return replace(model, path=folder)


@pytest.mark.parametrize(
    ("quantization", "dtype"), [("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16")]
)
def test_the_quantization_is_the_type_of_the_weights(
    model: ResolvedModel, quantization: str, dtype: str
) -> None:
    engine = load(quantized(model, quantization))
    info = json.loads(json.dumps(dict(engine.info)))
    assert info["dtype"] == dtype
    assert info["n_threads"] == 1
    assert info["device"] == "cpu"
    assert info["parameters"] > 1_000_000
    assert len(generated(engine, engine.tokenize(TEXT), max_new_tokens=4)) == 4
    engine.close()
    engine.close()


def test_without_a_quantization_the_weights_stay_as_they_are_stored(model: ResolvedModel) -> None:
    stored = json.loads((model.path / "config.json").read_text())
    engine = load(quantized(model, None))
    assert engine.info["dtype"] == (stored.get("dtype") or stored["torch_dtype"])


def test_the_dtype_option_converts(model: ResolvedModel) -> None:
    assert load(quantized(model, None), dtype="bf16").info["dtype"] == "bfloat16"


def test_a_dtype_that_contradicts_the_quantization_is_refused(model: ResolvedModel) -> None:
    with pytest.raises(UsageError, match=r"f16 and option transformers\.dtype=f32 contradict"):
        load(quantized(model, "f16"), dtype="f32")


def test_eight_bit_weights_run_on_the_cpu(model: ResolvedModel) -> None:
    pytest.importorskip("torchao")
    plain = load(quantized(model, "f32"))
    engine = load(quantized(model, "int8_torchao"), dtype="f32")
    info = engine.info
    assert info["quantization"] == "int8_torchao"
    assert info["parameters"] == plain.info["parameters"]
    # The embedding stays as it is; what is quantized needs a quarter.
    assert info["size"] < 0.7 * plain.info["size"]
    prompt = engine.tokenize(TEXT)
    sink = Sink()
    engine.generate(prompt, GenerationParams(max_new_tokens=8), sink)
    assert sink.events == ["prefilled"] + ["token"] * 8


def test_a_quantization_that_needs_a_gpu_says_so(model: ResolvedModel) -> None:
    pytest.importorskip("torchao")
    with pytest.raises(EngineError, match="int4_torchao needs a CUDA GPU"):
        load(quantized(model, "int4_torchao"))


@pytest.mark.parametrize(
    ("quantization", "package"),
    [("int8_torchao", "torchao"), ("bnb_int8", "bitsandbytes"), ("bnb_nf4", "bitsandbytes")],
)
def test_a_missing_library_is_named_with_its_install_command(
    model: ResolvedModel, quantization: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(
        BackendUnavailableError, match=rf"{quantization} needs {package}.*pip install {package}"
    ):
        load(quantized(model, quantization))


def test_a_truncated_weight_file_is_a_model_error(copy: ResolvedModel) -> None:
    weights = next(copy.path.glob("*.safetensors"))
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot load"):
        load(copy)


def test_missing_weights_are_an_error_and_not_random_numbers(copy: ResolvedModel) -> None:
    from safetensors.torch import load_file, save_file

    shards = {path: load_file(path) for path in copy.path.glob("*.safetensors")}
    weights, tensors = next(item for item in shards.items() if "model.norm.weight" in item[1])
    del tensors["model.norm.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 of the model's weights, model\.norm\.weight"):
        load(copy)


def test_pickled_weights_are_not_loaded(copy: ResolvedModel) -> None:
    import torch
    from safetensors.torch import load_file

    weights = next(copy.path.glob("*.safetensors"))
    torch.save(load_file(weights), copy.path / "pytorch_model.bin")
    for file in copy.path.glob("*.safetensors*"):
        file.unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load(copy)


def test_a_folder_without_a_model_is_a_model_error(model: ResolvedModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load"):
        load(replace(model, path=tmp_path))


def test_a_models_own_code_runs_only_when_the_model_is_named(
    copy: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (copy.path / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own-llama'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    path = copy.path / "config.json"
    config = json.loads(path.read_text())
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    path.write_text(json.dumps(config | {"model_type": "own-llama", "auto_map": auto_map}))
    with pytest.raises(ModelError, match="trust_remote_code"):
        load(copy)
    with pytest.raises(ModelError, match="trust_remote_code"):
        load(copy, trust_remote_code="another/model")
    assert not (tmp_path / "modules").exists()
    engine = load(copy, trust_remote_code=copy.spec.name)
    assert engine.info["architecture"] == "OwnModel"


@pytest.mark.parametrize(("device", "error"), [("gpu", UsageError), ("cuda:99", EngineError)])
def test_a_device_that_is_not_there_is_refused(model: ResolvedModel, device: str, error: type) -> None:
    with pytest.raises(error, match=rf"transformers\.device={device}"):
        load(model, device=device)

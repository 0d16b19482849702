"""Does the Transformers engine do what the contract of backends says, on the real engine?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends import transformers as module
from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.transformers import TransformersBackend
from pytest_llmbench.errors import (
    BackendUnavailableError,
    EngineError,
    ModelError,
    PromptTooLongError,
    UsageError,
)
from pytest_llmbench.models.spec import Form, ModelSpec, ResolvedModel

pytest.importorskip("torch")
pytest.importorskip("transformers")

BACKEND = TransformersBackend()
TEXT = "A benchmark is a test that"
Tiny = Callable[[str | None, Form], ResolvedModel]


def load(model: ResolvedModel, **options: Any) -> Any:
    return BACKEND.load(model, option_values(BACKEND, {"n_threads": 1, "device": "cpu", **options}))


def quantized(model: ResolvedModel, quantization: str | None) -> ResolvedModel:
    return replace(model, spec=ModelSpec("tiny", quantization))


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> ResolvedModel:
    return tiny(None, "hf")


@pytest.fixture(scope="module")
def engine(model: ResolvedModel) -> Iterator[Any]:
    engine = load(quantized(model, "f32"))
    yield engine
    engine.close()


@pytest.fixture
def copy(model: ResolvedModel, tmp_path: Path) -> ResolvedModel:
    """The model in a folder that the test may damage."""
    folder = tmp_path / "model"
    shutil.copytree(model.path, folder)
    return replace(model, path=folder)


def generated(engine: Any, prompt: list[int], sink: Any, **params: Any) -> list[int]:
    engine.generate(prompt, GenerationParams(**params), sink)
    return list(sink.tokens)


def test_the_prompt_is_reported_before_exactly_as_many_tokens_as_asked_for(engine: Any, sink: Any) -> None:
    reason = engine.generate(engine.tokenize(TEXT), GenerationParams(max_new_tokens=12), sink)
    assert reason == "length"
    assert sink.events == ["prefilled"] + ["token"] * 12


def test_the_tokens_are_those_of_a_bare_generate(engine: Any, sink: Any) -> None:
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
    assert generated(engine, prompt, sink, max_new_tokens=12) == bare[0, len(prompt) :].tolist()


def test_a_call_leaves_nothing_behind_that_the_next_would_use(engine: Any, new_sink: Any) -> None:
    prompt = engine.tokenize(TEXT)
    first = generated(engine, prompt, new_sink(), max_new_tokens=8)
    engine.reset()
    assert generated(engine, prompt, new_sink(), max_new_tokens=8) == first
    assert generated(engine, prompt, new_sink(), max_new_tokens=8) == first


def test_the_same_seed_draws_the_same_tokens_and_another_seed_others(engine: Any, new_sink: Any) -> None:
    def draw(seed: int) -> list[int]:
        return generated(
            engine,
            engine.tokenize(TEXT),
            new_sink(),
            max_new_tokens=12,
            temperature=1.0,
            top_k=50,
            top_p=0.95,
            seed=seed,
        )

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_an_end_token_stops_only_who_did_not_ask_to_ignore_it(
    model: ResolvedModel, new_sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    engine = load(quantized(model, "f32"))
    prompt = engine.tokenize(TEXT)
    usual = generated(engine, prompt, new_sink(), max_new_tokens=8)
    # A model with random weights hardly ever ends: call one of its tokens an end token.
    end = next(token for token in usual if token != usual[0])
    engine._configs.clear()
    monkeypatch.setattr(engine, "_eos", [end])
    monkeypatch.setattr(engine, "_eos_tensor", torch.tensor([end]))
    sink = new_sink()
    assert engine.generate(prompt, GenerationParams(max_new_tokens=8, ignore_eos=False), sink) == "stop"
    assert sink.tokens == usual[: usual.index(end) + 1]
    sink = new_sink()
    assert engine.generate(prompt, GenerationParams(max_new_tokens=8), sink) == "length"
    assert len(sink.tokens) == 8
    assert end not in sink.tokens


def test_the_checkpoints_own_sampling_defaults_do_not_leak_in(
    copy: ResolvedModel, engine: Any, new_sink: Any
) -> None:
    path = copy.path / "generation_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    config |= {"do_sample": True, "temperature": 1.5, "repetition_penalty": 5.0, "max_length": 4}
    path.write_text(json.dumps(config))
    other = load(quantized(copy, "f32"))
    prompt = engine.tokenize(TEXT)
    usual = generated(engine, prompt, new_sink(), max_new_tokens=12)
    assert generated(other, prompt, new_sink(), max_new_tokens=12) == usual


def test_a_prompt_that_does_not_fit_names_the_option(model: ResolvedModel, sink: Any) -> None:
    engine = load(model, n_ctx=64)
    prompt = (engine.tokenize(TEXT) * 20)[:60]
    with pytest.raises(PromptTooLongError, match=r"60 tokens and 10 .*holds 64.*transformers\.n_ctx=70"):
        engine.generate(prompt, GenerationParams(max_new_tokens=10), sink)
    assert sink.events == []


def test_text_survives_the_way_through_tokens(engine: Any) -> None:
    text = "Grüße, 世界! def f(x):\n    return x"
    assert engine.detokenize(engine.tokenize(text)) == text


def test_special_tokens_written_in_a_plain_prompt_are_text(engine: Any) -> None:
    bos = engine._tokenizer.bos_token
    assert engine.tokenize(bos)[1:] != engine.tokenize_rendered(bos)
    assert engine.detokenize(engine.tokenize(bos)) == bos


def test_a_rendered_chat_begins_with_one_begin_token(engine: Any) -> None:
    rendered = engine.render_chat([{"role": "user", "content": "Say something."}])
    assert "Say something." in rendered
    begin = engine.tokenize("")[:1]
    tokens = engine.tokenize_rendered(rendered)
    assert tokens[:1] == begin
    assert tokens[1:2] != begin


def test_a_model_without_a_chat_template_says_so(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine._tokenizer, "chat_template", None)
    with pytest.raises(EngineError, match="no chat template"):
        engine.render_chat([{"role": "user", "content": "x"}])


def test_both_engines_make_the_same_tokens_of_a_text_and_of_a_chat(engine: Any, tiny: Tiny) -> None:
    pytest.importorskip("llama_cpp")
    from pytest_llmbench.backends.llamacpp import LlamaCppBackend

    backend = LlamaCppBackend()
    other = backend.load(tiny("f16", "gguf"), option_values(backend, {"n_threads": 1}))
    chat = [{"role": "user", "content": "Say something."}]
    assert other.tokenize(TEXT) == engine.tokenize(TEXT)
    assert other.render_chat(chat) == engine.render_chat(chat)  # type: ignore[arg-type]
    rendered = engine.render_chat(chat)
    assert other.tokenize_rendered(rendered) == engine.tokenize_rendered(rendered)
    other.close()


@pytest.mark.parametrize(
    ("quantization", "dtype"), [("f32", "float32"), ("f16", "float16"), ("bf16", "bfloat16")]
)
def test_the_quantization_is_the_type_of_the_weights(
    model: ResolvedModel, sink: Any, quantization: str, dtype: str
) -> None:
    engine = load(quantized(model, quantization))
    info = json.loads(json.dumps(dict(engine.info)))
    assert info["dtype"] == dtype
    assert info["n_threads"] == 1
    assert info["device"] == "cpu"
    assert info["parameters"] > 1_000_000
    assert len(generated(engine, engine.tokenize(TEXT), sink, max_new_tokens=4)) == 4
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


def test_eight_bit_weights_run_on_the_cpu(model: ResolvedModel, sink: Any) -> None:
    pytest.importorskip("torchao")
    plain = load(quantized(model, "f32"))
    engine = load(quantized(model, "int8_torchao"), dtype="f32")
    info = engine.info
    assert info["quantization"] == "int8_torchao"
    assert info["parameters"] == plain.info["parameters"]
    # The embedding stays as it is; what is quantized needs a quarter.
    assert info["size"] < 0.7 * plain.info["size"]
    prompt = engine.tokenize(TEXT)
    tokens = generated(engine, prompt, sink, max_new_tokens=8)
    assert len(tokens) == 8
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
    monkeypatch.setattr(module, "find_spec", lambda name: None)
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

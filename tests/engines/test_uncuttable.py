"""What is said of KV caches that cannot be cut back, and is what they generate right all the same?"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.backends.llamacpp import LlamaCppBackend
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.transformers import TransformersBackend
from pytest_llmbench.errors import EngineError
from pytest_llmbench.models.spec import ResolvedModel
from tests.engines.contract import TEXT, Tiny, generated


def loaded(backend: Any, model: ResolvedModel, **options: Any) -> Any:
    return backend.load(model, option_values(backend, {"n_threads": 1, **options}))


def mamba_gguf(like: Path, path: Path) -> None:
    """A recurrent model of one layer with random weights, and the tokenizer of another file."""
    import gguf
    import numpy as np

    width, inner, state, rank, conv = 64, 128, 16, 4, 4
    reader = gguf.GGUFReader(like)
    writer = gguf.GGUFWriter(path, "mamba")
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            kind = field.types[0]
            part = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, part)
    writer.add_context_length(2048)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_block_count(1)
    writer.add_ssm_conv_kernel(conv)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    words = len(reader.fields["tokenizer.ggml.tokens"].data)
    draw = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, draw.normal(0, 0.3, shape).astype(np.float32))

    add("token_embd.weight", words, width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(width, np.float32))
    add("blk.0.ssm_in.weight", 2 * inner, width)
    add("blk.0.ssm_conv1d.weight", inner, conv)
    add("blk.0.ssm_conv1d.bias", inner)
    add("blk.0.ssm_x.weight", rank + 2 * state, inner)
    add("blk.0.ssm_dt.weight", inner, rank)
    add("blk.0.ssm_dt.bias", inner)
    writer.add_tensor("blk.0.ssm_a", -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1)))
    add("blk.0.ssm_d", inner)
    add("blk.0.ssm_out.weight", width, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def recurrent(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    pytest.importorskip("llama_cpp")
    like = tiny("f16", "gguf")
    path = tmp_path_factory.mktemp("mamba") / "mamba.gguf"
    mamba_gguf(like.path, path)
    return replace(like, path=path)


@pytest.fixture
def windowed(tiny: Tiny, tmp_path: Path) -> ResolvedModel:
    """``tiny`` with a window of 16 tokens in every layer: a Mistral has the same weights."""
    pytest.importorskip("transformers")
    whole = tiny(None, "hf")
    folder = tmp_path / "windowed"
    shutil.copytree(whole.path, folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16}
    path.write_text(json.dumps(config))
    return replace(whole, path=folder)


def is_gone_on_with_and_never_cut(engine: Any) -> None:
    """Hold an engine to what can be said of its cache, and its warm answers against cold ones."""
    prompt = (engine.tokenize(TEXT) * 10)[:60]
    answer = generated(engine, prompt, max_new_tokens=4)
    longer = [*prompt, *answer, *engine.tokenize_part(" and so on")]
    warm = generated(engine, longer, max_new_tokens=8)
    assert engine.reused().tokens == len(prompt) + len(answer) - 1
    left = generated(engine, prompt, max_new_tokens=4)
    told = engine.reused()
    assert told.tokens is None
    assert told.doubt is None
    assert "evaluated whole" in told.reason
    assert left == answer
    engine.reset()
    assert generated(engine, longer, max_new_tokens=8) == warm
    assert engine.reused().tokens == 0
    engine.evaluate(prompt)
    state = engine.save_state()
    for _ in range(2):
        engine.restore_state(state)
        assert generated(engine, longer, max_new_tokens=8) == warm
        assert engine.reused().tokens == len(prompt)


def test_a_recurrent_state_of_llama_cpp_is_gone_on_with_and_never_cut(recurrent: ResolvedModel) -> None:
    engine = loaded(LlamaCppBackend(), recurrent)
    is_gone_on_with_and_never_cut(engine)
    engine.close()


def test_a_window_of_transformers_is_gone_on_with_and_never_cut(windowed: ResolvedModel) -> None:
    engine = loaded(TransformersBackend(), windowed, dtype="f32", device="cpu")
    assert engine._kept._window
    is_gone_on_with_and_never_cut(engine)
    engine.close()


def test_a_static_cache_of_transformers_is_never_reused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    engine = loaded(TransformersBackend(), tiny(None, "hf"), compile=True, device="cpu")
    # What is compiled is not the question, and it takes a minute.
    monkeypatch.setattr(engine, "_compile_choices", lambda: {"cache_implementation": "static"})
    monkeypatch.setattr(engine._model, "_valid_auto_compile_criteria", lambda *_: False)
    prompt = engine.tokenize(TEXT)
    first = generated(engine, prompt, max_new_tokens=4)
    assert generated(engine, prompt, max_new_tokens=4) == first
    assert engine.reused().tokens is None
    assert "compile" in engine.reused().reason
    with pytest.raises(EngineError, match=r"cannot be copied.*compile"):
        engine.save_state()
    engine.close()


def test_recurrent_layers_of_transformers_are_never_reused(tiny: Tiny, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from transformers import MambaConfig, MambaForCausalLM

    whole = tiny(None, "hf")
    folder = tmp_path / "mamba"
    shutil.copytree(whole.path, folder, ignore=shutil.ignore_patterns("*.safetensors*", "config.json"))
    words = json.loads((whole.path / "config.json").read_text())["vocab_size"]
    config = MambaConfig(vocab_size=words, hidden_size=64, num_hidden_layers=2)
    MambaForCausalLM(config).save_pretrained(folder)
    engine = loaded(TransformersBackend(), replace(whole, path=folder), dtype="f32", device="cpu")
    prompt = engine.tokenize(TEXT)
    first = generated(engine, prompt, max_new_tokens=4)
    assert generated(engine, prompt, max_new_tokens=4) == first
    assert engine.reused().tokens is None
    assert "cannot be cut back" in engine.reused().reason
    engine.close()


def test_a_count_of_llama_cpps_own_that_differs_is_told(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("llama_cpp")
    engine = loaded(LlamaCppBackend(), tiny("f16", "gguf"))
    prompt = (engine.tokenize(TEXT) * 10)[:60]
    generated(engine, prompt, max_new_tokens=2)
    assert engine.reused().doubt is None
    # A cache that is said to hold more than it does.
    monkeypatch.setattr(engine, "_prefill", lambda ids, prefill=engine._prefill: prefill(ids[-4:]))
    generated(engine, prompt[:50], max_new_tokens=2)
    assert engine.reused().doubt is None
    engine.reset()
    generated(engine, prompt[:50], max_new_tokens=2)
    assert "4 tokens of the prompt were evaluated, and 50 were to be" in engine.reused().doubt
    engine.close()


@pytest.mark.parametrize("tokens", [1, 2, 32, 33, 64, 65])
def test_llama_cpps_count_is_read_right_at_the_edges_of_batches(tiny: Tiny, tokens: int) -> None:
    pytest.importorskip("llama_cpp")
    for batch in (1, 32):
        engine = loaded(LlamaCppBackend(), tiny("f16", "gguf"), n_batch=batch, n_ubatch=batch)
        prompt = (engine.tokenize(TEXT) * 20)[:tokens]
        for _ in range(2):
            generated(engine, prompt, max_new_tokens=3)
            assert engine.reused().doubt is None
        engine.close()

"""Does llama.cpp keep the contract of backends, and what is its own?"""

from __future__ import annotations

import ctypes
import json
import math
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pytest_llmbench.backends import llama_native
from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.llamacpp import LlamaCppBackend
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.errors import EngineError, ModelError
from tests.engines.caching import CachingContract
from tests.engines.contract import TEXT, Sink, Tiny, generated

pytest.importorskip("llama_cpp")


class TestLlamaCpp(CachingContract):
    backend = LlamaCppBackend()
    options = MappingProxyType({"n_threads": 1})
    quantization = "f16"

    def count_evaluated(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        sizes: list[int] = []
        decode = engine._decode

        def counting(context: Any, batch: Any) -> int:
            sizes.append(batch.n_tokens)
            return int(decode(context, batch))

        monkeypatch.setattr(engine, "_decode", counting)
        return sizes

    def end_with(self, engine: Any, token: int, monkeypatch: pytest.MonkeyPatch) -> None:
        import numpy as np

        monkeypatch.setattr(engine, "_eog", [token])
        monkeypatch.setattr(engine, "_banned", np.array([token]))

    def forget_template(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "_formatter", None)
        monkeypatch.setattr(engine._native, "llama_model_chat_template", lambda model, name: None)

    def special_text(self, engine: Any) -> str:
        return str(engine._special_text("llama_vocab_bos"))

    def test_greedy_decoding_takes_what_llama_cpps_own_sampler_takes(self, engine: Any) -> None:
        prompt = engine.tokenize(TEXT)
        ours = generated(engine, prompt, max_new_tokens=24)
        engine.reset()
        # A draw among the best one is llama.cpp's greedy decoding, through its sampler chain.
        theirs = generated(engine, prompt, max_new_tokens=24, temperature=1.0, top_k=1)
        assert ours == theirs

    def test_a_token_outside_the_vocabulary_is_an_error_with_llama_cpps_words(self, engine: Any) -> None:
        with pytest.raises(EngineError, match=r"llama_decode returned -1.*invalid token"):
            engine.generate([10**6], GenerationParams(max_new_tokens=1), Sink())

    def test_a_template_that_refuses_the_messages_is_quoted(
        self, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        template = b"{{ raise_exception('roles must alternate') }}"
        monkeypatch.setattr(engine, "_formatter", None)
        monkeypatch.setattr(engine._native, "llama_model_chat_template", lambda model, name: template)
        with pytest.raises(EngineError, match="roles must alternate"):
            engine.render_chat([{"role": "user", "content": "x"}])
        engine._formatter = None

    def test_what_a_context_takes_is_known_beforehand(self, engine: Any) -> None:
        native, model = engine._native, engine._model
        layers, heads = native.llama_model_n_layer(model), native.llama_model_n_head_kv(model)
        size = native.llama_model_n_embd(model) // native.llama_model_n_head(model)
        options = option_values(self.backend, {"type_v": "q8_0"})
        expected = 1000 * layers * heads * size * (16 + 8.5) / 8
        assert llama_native.context_memory(native, model, options, 1000) == int(expected)
        # A release that does not tell is not held to it.
        assert llama_native.context_memory(object(), model, options, 1000) is None


load = TestLlamaCpp.load


def test_a_prompt_longer_than_a_batch_is_evaluated_in_parts(tiny: Tiny) -> None:
    engine = load(tiny("f16", "gguf"), n_batch=32, n_ubatch=16)
    sizes: list[int] = []
    decode = engine._decode
    engine._decode = lambda context, batch: (sizes.append(batch.n_tokens), decode(context, batch))[1]
    prompt = engine.tokenize(TEXT * 20)[:70]
    assert len(generated(engine, prompt, max_new_tokens=2)) == 2
    assert sizes == [32, 32, 6, 1]
    engine.close()


def test_what_was_loaded_is_told_in_json(tiny: Tiny) -> None:
    engine = load(tiny("q8_0", "gguf"), n_threads=1, type_k="q8_0", n_ctx=512)
    info = json.loads(json.dumps(dict(engine.info)))
    assert info["n_threads"] == info["n_threads_batch"] == 1
    assert info["n_ctx"] == 512
    assert info["type_k"] == "q8_0"
    assert info["file_type"] == "Q8_0"
    assert info["parameters"] > 1_000_000
    assert info["size"] > 1_000_000
    assert info["system_info"]
    assert info["devices"]
    engine.close()
    engine.close()


@pytest.mark.parametrize("keep", [0.7, 0.01])
def test_a_truncated_file_is_a_model_error_with_llama_cpps_words(
    tiny: Tiny, tmp_path: Path, keep: float
) -> None:
    whole = tiny("f16", "gguf")
    data = whole.path.read_bytes()
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(data[: math.ceil(len(data) * keep)])
    with pytest.raises(ModelError, match=r"damaged\.gguf.*llama\.cpp says: "):
        load(replace(whole, path=damaged))


def test_a_file_that_is_no_gguf_is_a_model_error(tiny: Tiny, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_text("hello")
    with pytest.raises(ModelError, match="invalid magic"):
        load(replace(tiny("f16", "gguf"), path=other))


def test_a_context_that_cannot_be_made_is_an_engine_error(tiny: Tiny) -> None:
    with pytest.raises(EngineError, match=r"cannot make a context.*type_v|cannot make a context.*flash"):
        load(tiny("f16", "gguf"), type_v="q8_0", flash_attn="off")


def test_a_gpu_that_the_build_does_not_know_is_refused(tiny: Tiny) -> None:
    import llama_cpp.llama_cpp as native

    if native.llama_supports_gpu_offload():
        pytest.skip("this build has a GPU")
    with pytest.raises(EngineError, match="built without one"):
        load(tiny("f16", "gguf"), n_gpu_layers=1)


def test_nothing_is_printed(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(tiny("f16", "gguf")).close()
    with pytest.raises(ModelError):
        load(replace(tiny("f16", "gguf"), path=tmp_path / "absent.gguf"))
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr() == ("", "")


def test_a_context_that_memory_does_not_hold_is_refused_before_memory_is_taken(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(llama_native, "make_context", lambda *arguments: made.append(arguments[-1]))
    monkeypatch.setattr(llama_native, "available", lambda: 2**30)
    with pytest.raises(EngineError, match=r"a context of 100000000 tokens needs .* GiB or more .* 1\.00 GiB"):
        load(tiny("f16", "gguf"), n_ctx=100_000_000)
    assert made == []

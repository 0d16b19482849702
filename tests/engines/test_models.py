"""Are the embedded models the same model in both forms, in the real engines?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_llmbench.backends.llamacpp import LlamaCppBackend
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.transformers import TransformersBackend
from pytest_llmbench.models.forms import FORMS
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.models.synthetic.tokenizer import SPECIALS, TRAINED, training_text
from pytest_llmbench.workloads.prompts import prompt_of_tokens
from tests.engines.contract import generated

pytest.importorskip("llama_cpp")
pytest.importorskip("transformers")

Tiny = Callable[[str | None, Form], ResolvedModel]
Engines = dict[str, Any]
TOKENS = 48


@pytest.fixture(scope="module")
def engines(tiny: Tiny) -> Iterator[Engines]:
    """``tiny`` in float32 on Transformers, and its two unquantized GGUF files on llama.cpp."""
    backend = LlamaCppBackend()
    options = option_values(backend, {"n_threads": 1, "n_ctx": 1024})
    loaded: Engines = {q: backend.load(tiny(q, "gguf"), options) for q in ("f16", "f32")}
    other = TransformersBackend()
    loaded["transformers"] = other.load(tiny("f32", "hf"), option_values(other, {}))
    yield loaded
    for engine in loaded.values():
        engine.close()


def greedy(engine: Any, prompt: list[int]) -> list[int]:
    engine.reset()
    return generated(engine, prompt, max_new_tokens=TOKENS)


# Prompts whose answers have no two tokens nearly alike in 48: engines add in different orders.
PROMPTS = [
    "Dinner was served at eight, in a room with too many mirrors.",
    "He had promised to write every week, and for a whole year he did.",
    "A map is useful because of what it leaves out.",
]


@pytest.mark.parametrize("quantization", ["f32", "f16"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_decoding_gives_the_same_tokens_in_both_forms(
    engines: Engines, prompt: str, quantization: str
) -> None:
    ids = engines["transformers"].tokenize(prompt)
    ours = greedy(engines["transformers"], ids)

    assert greedy(engines[quantization], ids) == ours
    assert len(ours) == TOKENS
    # A model that says one word for ever would prove nothing.
    assert len(set(ours)) > TOKENS / 4


TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  leading, and trailing  ",
    "line\nbreaks\n\n\nand\ttabs\r\n  \n",
    "It's they'll I'd we've you're I'm don't IT'S",
    "1 22 333 4444 3.14159 1e-5 0xFF ٣٤٥",
    "naïve café Zażółć gęślą jaźń Straße ﬁn",
    "Привет мир, Καλημέρα κόσμε, שלום, مرحبا, नमस्ते",
    "你好,世界!今日は。안녕하세요",
    "🙂👍🏽👨‍👩‍👧‍👦 ❤️ e\u0301 \u200b\ufeff\u00a0 …",
    "!!! ??? --- ... ((( ))) <|> </s> <unk> [INST] <|unused_1|>",
    "def f(x: int) -> str:\n    return f'{x!r:>10}'  # done\n",
    "for (int i = 0; i < n; ++i) { a[i] *= 0.5f; }\n\n\n",
    "\x00\x01\x7f control",
    *training_text().values(),
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_both_engines_make_the_same_tokens_of_a_text(engines: Engines, text: str) -> None:
    ids = engines["transformers"].tokenize(text)

    assert engines["f16"].tokenize(text) == ids
    assert ids[0] == 0
    assert max(ids) < TRAINED
    for engine in engines.values():
        assert engine.detokenize(ids) == text


def test_both_engines_render_a_chat_alike_and_read_its_special_tokens(engines: Engines) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is the wreck?"},
        {"role": "assistant", "content": "On the sand."},
        {"role": "user", "content": "Since when?"},
    ]
    texts = {name: engine.render_chat(messages) for name, engine in engines.items()}
    assert len(set(texts.values())) == 1
    (text,) = set(texts.values())
    assert text.startswith(f"{SPECIALS[0]}<|im_start|>system\nBe brief.<|im_end|>\n")
    assert text.endswith("<|im_start|>assistant\n")

    ids = [engine.tokenize_rendered(text) for engine in engines.values()]
    assert ids[0] == ids[1] == ids[2]
    assert ids[0].count(0) == 1
    assert ids[0].count(SPECIALS.index("<|im_start|>")) == 5


QUANTIZATIONS = FORMS["gguf"].quantizations


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_quantization_loads_and_generates(tiny: Tiny, quantization: str) -> None:
    model = tiny(quantization, "gguf")
    backend = LlamaCppBackend()
    engine = backend.load(model, option_values(backend, {"n_threads": 1, "n_ctx": 256}))
    try:
        tokens = greedy(engine, engine.tokenize("The sea was calm"))
        assert len(tokens) == TOKENS
        assert engine.info["file_type"] is not None
        assert engine.info["parameters"] == model.parameters
    finally:
        engine.close()


def test_quantized_files_are_smaller_the_fewer_bits_they_have(tiny: Tiny) -> None:
    sizes = [tiny(quantization, "gguf").size for quantization in QUANTIZATIONS if quantization != "bf16"]

    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize("engine", ["f16", "transformers"])
@pytest.mark.parametrize("count", [2, 33, 512])
def test_a_prompt_has_exactly_the_tokens_that_were_asked_for(
    engines: Engines, engine: str, count: int
) -> None:
    loaded = engines[engine]
    prompt = prompt_of_tokens(count, loaded.tokenize, loaded.detokenize, seed=5)

    assert len(loaded.tokenize(prompt)) == count

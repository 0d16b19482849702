"""Does a context of 128K tokens hold them, in a model that is made for it?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.workloads.prompts import prompt_of_tokens
from tests.engines.contract import Sink, generated

LONG = "synthetic/long-128k"
LONGEST = 131_072
ANSWER = 8


def load(name: str, **options: object) -> Any:
    backend = Registry().get(name)
    if (missing := backend.availability().reason) is not None:
        pytest.skip(missing)
    pytest.importorskip("gguf")
    model = resolve(ModelSpec(LONG), backend.form, quiet=True)
    return backend.load(model, option_values(backend, {"n_threads": 1, **options}))


def test_llama_cpp_evaluates_a_prompt_that_fills_128k() -> None:
    # About a minute of one core, nearly all of it attention: the longest test of all.
    engine = load("llamacpp", n_ctx=LONGEST)
    assert engine.context_length == engine.info["n_ctx_train"] == LONGEST
    text = prompt_of_tokens(LONGEST - ANSWER, engine.tokenize, engine.detokenize)
    prompt = engine.tokenize(text)
    assert len(prompt) == LONGEST - ANSWER
    sink = Sink()
    assert engine.generate(prompt, GenerationParams(max_new_tokens=ANSWER), sink) == "length"
    assert sink.events == ["prefilled", *["token"] * ANSWER]
    engine.close()


@pytest.mark.parametrize("backend", ["llamacpp", "transformers"])
def test_what_comes_next_depends_on_what_was_said_long_before(backend: str) -> None:
    engine = load(backend, n_ctx=LONGEST // 16)
    text = prompt_of_tokens(LONGEST // 16 - ANSWER, engine.tokenize, engine.detokenize)
    prompt = engine.tokenize(text)
    answer = generated(engine, prompt, max_new_tokens=ANSWER)
    engine.reset()
    assert generated(engine, prompt, max_new_tokens=ANSWER) == answer
    engine.reset()
    other = [*prompt[:1], *reversed(prompt[1 : len(prompt) // 2]), *prompt[len(prompt) // 2 :]]
    assert generated(engine, other, max_new_tokens=ANSWER) != answer
    engine.close()

"""How does the wait for the first token grow with the prompt?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmbench import LLMModel


# One engine process for all lengths (isolation="model"): it is loaded once. The prompt cache is
# emptied before each round all the same. Long prompts in f16 are slow on a CPU with PyTorch, hence f32.
@pytest.mark.llm(
    models=["synthetic/llama-82m"],
    max_new_tokens=2,
    rounds=3,
    isolation="model",
    backend_options={"transformers": {"dtype": "f32"}},
)
@pytest.mark.parametrize("prompt_tokens", [32, 128, 512, 2048])
def test_prefill(llm_model: LLMModel, prompt_tokens: int) -> None:
    """A prompt of exactly so many tokens, whatever the model's tokenizer."""
    run = llm_model.measure(prompt_tokens=prompt_tokens)
    assert all(r.timeline.prompt_tokens == prompt_tokens for r in run.rounds)
    assert run.prefill_throughput.median > 1  # tokens/s

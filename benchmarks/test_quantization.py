"""What does a quantization save in memory, and what does it do to the speed?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmbench import LLMModel

PROMPT = "Write one sentence about the sea."


# A test may say on which backends it makes sense; --llm-backend selects among them.
@pytest.mark.llm(
    backends=["llamacpp"],
    models=["synthetic/llama-82m"],
    quantizations=["f16", "q8_0", "q4_k_m", "q4_0"],
    max_new_tokens=32,
)
def test_gguf(llm_model: LLMModel) -> None:
    """The same weights as f16 and in three quantizations of llama.cpp."""
    run = llm_model.measure(PROMPT)
    assert run.decode_throughput.median > 1  # tokens/s


@pytest.mark.llm(
    backends=["transformers"],
    models=["synthetic/llama-82m"],
    quantizations=["f32", "bf16", "int8_torchao"],
    max_new_tokens=32,
    rounds=3,
)
def test_torch(llm_model: LLMModel) -> None:
    """The same weights as f32, as bf16 and with 8-bit weights (torchao)."""
    run = llm_model.measure(PROMPT)
    assert run.decode_throughput.median > 1  # tokens/s

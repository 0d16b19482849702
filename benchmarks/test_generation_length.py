"""Does each token take longer the more have been generated?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmbench import LLMModel


# The output length is forced: the end-of-sequence token is ignored, so that all runs do the same work.
@pytest.mark.llm(models=["synthetic/llama-82m"], rounds=2, isolation="model")
@pytest.mark.parametrize("tokens", [16, 64, 256])
def test_decode(llm_model: LLMModel, tokens: int) -> None:
    """Time per output token while the context grows."""
    run = llm_model.measure("Once upon a time", max_new_tokens=tokens)
    assert all(r.timeline.output_tokens == tokens for r in run.rounds)
    assert run.tpot.median < 0.5  # seconds

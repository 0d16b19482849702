"""How long does a user wait for the first token, and for every next one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmbench import HardwareMonitor, LLMModel

PROMPT = "Explain what a benchmark is in three sentences."


# Fresh processes differ from each other more than rounds of one process do, hence three of them.
@pytest.mark.llm(models=["tiny", "synthetic/llama-82m"], max_new_tokens=32, processes=3, rounds=5)
def test_short_answer(llm_model: LLMModel, hw_monitor: HardwareMonitor) -> None:
    """Time to first token, time per output token and memory, with limits that fail the test."""
    run = llm_model.measure(PROMPT)
    assert run.ttft.median < 2  # seconds
    assert run.tpot.median < 0.5
    assert hw_monitor.peak_rss is None or hw_monitor.peak_rss < 4 * 2**30  # bytes


@pytest.mark.llm(models=["tiny"], max_new_tokens=64, rounds=3)
def test_two_pass_estimate(llm_model: LLMModel) -> None:
    """Latencies from whole generations alone, (N tokens - one) / (N - 1), beside those of the single tokens.

    The table has both. How far they agree is for a person to see: each pass has its own disturbances.
    """
    estimate = llm_model.two_pass(PROMPT)
    assert estimate.tpot < 0.5  # seconds
    assert estimate.ttft < 2

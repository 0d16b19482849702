"""How many requests does a server answer, how fast, and what does it cost each of them?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_llmbench import LLMLoad

# Say which server with --llm-base-url or --llm-serve. The prompts are made, and no two begin alike, so
# that no prefix cache flatters the server; the load goes on while the first requests warm it up.
#
#   pytest test_serving.py --llm-base-url=http://localhost:8000/v1 --llm-concurrency=8 -k concurrency
#
# On the command line, concurrencies replace those of test_concurrency, and request rates those of
# test_request_rate.


@pytest.mark.llm(concurrency=[1, 4, 16], prompt_length=128, max_new_tokens=64)
def test_concurrency(llm_load: LLMLoad) -> None:
    """A sweep over the number of requests at once: throughput against latency."""
    run = llm_load.measure()
    assert run.failed == 0
    assert run.system_throughput.median > 1  # tokens/s


@pytest.mark.llm(
    request_rate=[2],
    arrivals="poisson",
    prompt_length="lognormal:128:0.5:512",
    output_length="uniform:16:64",
    slo={"ttft": 1.0, "tpot": 0.1},
)
def test_request_rate(llm_load: LLMLoad) -> None:
    """Requests that come when they come, as users do: latency counts from when each was due.

    About a minute a level: it takes 100 requests to tell whether the server kept up.
    """
    run = llm_load.measure()
    assert run.failed == 0
    assert run.goodput.median > 0  # requests/s within the SLOs

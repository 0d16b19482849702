"""Is a level of conversations what the server did? Simulated servers, whose truth is known."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np
import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.facts import ClientFacts
from pytest_llmbench.client.plan import LoadPlan, LoadResult, Request, RequestResult
from pytest_llmbench.measure.facts import Level
from pytest_llmbench.measure.level import summarize_level
from pytest_llmbench.measure.window import STEADY
from pytest_llmbench.servers.endpoint import Endpoint
from tests.unit.measure.test_level import S, answered

TTFT, GAP, TOKENS = 0.2, 0.01, 64
TAKES = TTFT + GAP * (TOKENS - 1)


def talked(
    at_once: int, measured: int, turns: int, think: float, rng: np.random.Generator
) -> list[RequestResult]:
    """Conversations of which each has a server for itself; the first ones begin at different turns."""
    free = [(0.001 * stream, stream) for stream in range(at_once)]
    found: list[RequestResult] = []
    for talk in range(at_once + measured):
        now, stream = heapq.heappop(free)
        first = 1 + talk % turns if talk < at_once else 1
        for turn in range(first, turns + 1):
            now += think * (turn > first)
            step = GAP * float(np.exp(0.05 * rng.standard_normal()))
            times = [now + TTFT + step * token for token in range(TOKENS)]
            facts = {"conversation": talk + 1, "turn": turn, "warmup": talk < at_once}
            found.append(answered(len(found), now, times, **facts))
            now = times[-1]
        heapq.heappush(free, (now, stream))
    return found


def summed(requests: list[RequestResult], at_once: int, **result: int) -> Level:
    ended = max(request.ended for request in requests)
    whole = LoadResult(tuple(requests), 0, ended, ClientFacts(stamps="kernel", cpu=0.0, reads=1))
    asked = tuple(
        Request(TOKENS, messages=(), conversation=one.conversation, turn=one.turn) for one in requests
    )
    plan = LoadPlan(
        Endpoint("http://127.0.0.1:1", "tiny", api="chat"),
        asked,
        GenerationParams(),
        conversations=at_once,
        warmup=sum(request.warmup for request in requests),
    )
    return summarize_level(replace(whole, **result), plan)


@pytest.mark.parametrize("at_once", [4, 32])
@pytest.mark.parametrize("think", [0.0, 2.0])
@pytest.mark.parametrize("turns", [1, 5])
def test_the_window_has_all_conversations_in_flight_and_the_servers_throughput(
    at_once: int, think: float, turns: int
) -> None:
    requests = talked(at_once, 3 * at_once, turns, think, np.random.default_rng(3))
    level = summed(requests, at_once)
    assert level.why == STEADY
    lasts = turns * TAKES + (turns - 1) * think
    assert level.conversations_in_flight == pytest.approx(at_once, rel=0.02)
    assert level.in_flight == pytest.approx(at_once * turns * TAKES / lasts, rel=0.1)
    assert level.system_throughput == pytest.approx(at_once * turns * TOKENS / lasts, rel=0.1)
    assert (level.history, level.abandoned) == ("recorded", 0)
    # The end, when no conversation takes an ended one's place, is left out.
    assert level.end < max(request.ended for request in requests) / S - (lasts / 2 if turns > 1 else 0)


def test_too_few_conversations_are_the_whole_level_with_the_reason() -> None:
    level = summed(talked(8, 1, 1, 0.0, np.random.default_rng(0)), 8)
    assert "8 conversations" in level.why
    assert "send 32 conversations or more" in level.why


def test_turns_that_were_not_sent_are_told() -> None:
    level = summed(talked(2, 8, 3, 0.0, np.random.default_rng(0)), 2, abandoned=7)
    assert level.abandoned == 7

"""Is what a server says of its cache in the rounds of a level, and what it cannot mean not believed?"""

from __future__ import annotations

import json

import pytest

from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.measure.facts import CacheFacts
from pytest_llmbench.measure.load import LoadBench
from pytest_llmbench.measure.run import Run
from pytest_llmbench.report.progress import Progress
from pytest_llmbench.servers.endpoint import Endpoint
from tests.fakes.llmbench_servers import CHUNKED, DONE, EVENTS, LAST, Script, always, chunk, in_turn, serve
from tests.unit.measure.test_load import PARAMS, Running


def says(cached: int | None, prompt: int = 10) -> Script:
    """A server's answer with what it had in its cache."""
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    usage = {"prompt_tokens": prompt, "completion_tokens": 3, **details}
    told = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    return always(CHUNKED, *map(chunk, (*EVENTS, told, DONE)), LAST)


def level(*answers: Script, turns: bool = False) -> Run:
    requests = tuple(
        Request(3, prompt=f"p{n}", **({"conversation": n + 1, "turn": 1} if turns else {}))
        for n in range(len(answers))
    )
    run = Run("default", {})
    with serve(in_turn(*answers)) as server:
        plan = LoadPlan(Endpoint(server.base_url, "m"), requests, PARAMS, concurrency=1, timeout=60)
        LoadBench(Running(plan.endpoint), None, Progress(), {}).level(plan, run, fresh=False)
    return run


def test_a_round_has_what_the_server_said_with_its_source() -> None:
    run = level(says(6), says(0), says(8))
    assert [one.value("cached_tokens") for one in run.rounds] == [6, 0, 8]
    assert {one.cache for one in run.rounds} == {CacheFacts(source="usage")}
    assert run.cache_hit_rate.values == pytest.approx((14 / 30,))
    assert [one.invalid for one in run.rounds] == [None] * 3


def test_a_server_that_said_it_once_means_0_where_it_says_nothing() -> None:
    run = level(says(None), says(6), says(None))
    assert [one.value("cached_tokens") for one in run.rounds] == [0, 6, 0]
    assert [one.request.cached_tokens for one in run.rounds if one.request] == [None, 6, None]
    assert run.cache_hit_rate.values == pytest.approx((6 / 30,))


def test_a_server_that_never_says_it_is_unknown_and_not_0() -> None:
    run = level(says(None), says(None), turns=True)
    assert [one.value("cached_tokens") for one in run.rounds] == [None, None]
    assert all(one.cache is not None and "does not say" in str(one.cache.unknown) for one in run.rounds)
    assert run.cache_hit_rate.n == 0
    # Where nobody asks what the cache had, nothing is said of it.
    assert [one.cache for one in level(says(None)).rounds] == [None]


def test_more_than_the_prompt_has_is_invalid() -> None:
    run = level(says(6), says(11))
    assert [one.counted for one in run.rounds] == [True, False]
    assert run.rounds[1].invalid == (
        "11 tokens are said to have come from the cache (usage), and the prompt has 10"
    )

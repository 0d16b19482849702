"""Is it known before a level how much of it may be stored?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client import room
from pytest_llmbench.client.plan import LoadPlan, Request
from pytest_llmbench.client.process import LoadClient
from pytest_llmbench.client.room import SEGMENT, Room, most_of, room_for
from pytest_llmbench.errors import UsageError
from pytest_llmbench.servers.endpoint import Endpoint


def plan(requests: int, tokens: int) -> LoadPlan:
    asked = tuple(Request(tokens, prompt="x") for _ in range(requests))
    return LoadPlan(
        Endpoint("http://127.0.0.1:1/v1", "m"), asked, GenerationParams(ignore_eos=True), concurrency=1
    )


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of memory that are free in this test."""
    monkeypatch.setattr(room, "available", lambda: 2 * 10**9)
    return 2 * 10**9


def test_a_small_level_may_store_what_all_its_responses_may_have(free: int) -> None:
    one = plan(3, 128)
    assert room_for(one) == 3 * most_of(one.requests[0]) < free // 2


def test_a_large_level_may_store_half_of_the_free_memory(free: int) -> None:
    assert room_for(plan(1000, 1024)) == free // 2


def test_a_level_that_would_not_fit_says_so_before_anything_is_sent(free: int) -> None:
    large = plan(10_000, 1024)
    said = r"some 5\.3 GB of 10000 requests, and may take 1 GB, half of the free memory: ask for fewer"
    with pytest.raises(UsageError, match=said):
        room_for(large)
    with LoadClient() as client, pytest.raises(UsageError, match=said):
        client.run(large)


@pytest.mark.parametrize("change", [{"duration": 10.0}, {"params": GenerationParams(ignore_eos=False)}])
def test_a_level_that_may_end_sooner_is_let_try(free: int, change: dict[str, object]) -> None:
    assert room_for(replace(plan(10_000, 1024), **change)) == free // 2  # type: ignore[arg-type]


def test_room_is_for_the_response_and_for_the_level() -> None:
    there = Room(1000 + 3 * SEGMENT)
    there.open(5, 600 + 2 * SEGMENT)
    there.open(9, 10_000)
    assert there.take(5, 600)
    assert not there.take(5, 1)
    assert not there.take(9, 401 + SEGMENT)
    assert there.take(9, 400 + SEGMENT)
    assert not there.take(9, 0)
    there.give_back(1, 600)
    assert there.take(9, 0)
    assert not there.take(100, 0)


def test_the_part_in_c_counts_as_much_for_a_segment() -> None:
    source = Path(room.__file__).with_name("_native.c").read_text()
    assert f"#define SEGMENT {SEGMENT} " in source

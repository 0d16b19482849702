"""Does a real vLLM start, answer, count and end as its row says?

It lives in an environment of its own, without anything of ours: ``LLMBENCH_VLLM_PYTHON`` names its
interpreter (``tox run -e vllm,serving`` makes one and runs these tests).
"""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from pytest_llmbench.errors import EngineCrashedError
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.servers.launch import Server, ServerSpec, probe
from pytest_llmbench.servers.starts import Starts
from pytest_llmbench.servers.table import ENGINES
from tests.waiting import until

VARIABLE = "LLMBENCH_VLLM_PYTHON"
Tiny = Callable[[str | None, Form], ResolvedModel]


@pytest.fixture(scope="module")
def spec(tiny: Tiny) -> ServerSpec:
    """vLLM with the smallest model, as it starts soonest on a machine without a GPU."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} does not name an interpreter that has vLLM")
    return ServerSpec(
        "vllm",
        tiny(None, "hf"),
        python=python,
        context=2048,
        options={"dtype": "bfloat16", "enforce-eager": ""},
        environment={"VLLM_CPU_KVCACHE_SPACE": "1"},
    )


def tree(server: Server) -> list[psutil.Process]:
    assert server.pid is not None
    root = psutil.Process(server.pid)
    return [root, *root.children(recursive=True)]


def left_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def server(spec: ServerSpec) -> Iterator[Server]:
    started = Server(spec)
    processes = tree(started)
    yield started
    started.close()
    assert not left_of(processes)


def events(server: Server, prompt: str, **body: Any) -> list[dict[str, Any]]:
    """The chunks of one streamed completion of 16 tokens."""
    asked = {"model": server.model_name, "prompt": prompt, "max_tokens": 16, "stream": True, **body}
    request = urllib.request.Request(
        f"{server.base_url}/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=300) as response:
        lines = response.read().decode().splitlines()
    found = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert found.pop() == "[DONE]"
    return [json.loads(event) for event in found]


def test_it_streams_as_many_tokens_as_it_is_asked_for(server: Server) -> None:
    chunks = events(
        server,
        "A benchmark is",
        stream_options={"include_usage": True},
        **{"ignore_eos": True, "min_tokens": 16, "top_k": 4, "temperature": 0},
    )
    assert chunks[-1]["usage"]["completion_tokens"] == 16
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"


def test_what_it_counted_between_two_readings_is_what_was_asked(server: Server) -> None:
    long = "word " * 300
    before = server.metrics()
    prompt = [events(server, long, stream_options={"include_usage": True})[-1]["usage"] for _ in range(2)]
    # The engine counts a little after the last byte has gone out.
    until(lambda: server.scraper.difference(before, server.metrics())["generation_tokens"] == 32)
    found = server.scraper.difference(before, server.metrics())
    assert found["generation_tokens"] == 32
    assert found["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in prompt)
    assert found["prefix_cache_queries"] == found["prompt_tokens"]
    assert found["prefix_cache_hit_rate"] is not None
    assert 0.2 < found["prefix_cache_hit_rate"] < 0.5
    assert found["preemptions"] == 0
    assert found["acceptance"] is None
    assert server.metrics()["running"] == 0
    assert server.metrics()["kv_cache_use"] is not None


def test_it_is_recognized_by_one_who_did_not_start_it(server: Server) -> None:
    found = probe(server.base_url)
    assert found.models == (server.model_name,) == ("tiny",)
    assert found.context == {"tiny": 2048}
    assert found.engine == "vllm"
    assert found.version == server.versions["vllm"]
    assert found.metrics_url == f"{server.root_url}/metrics"


def test_its_tree_has_the_engine_core(server: Server) -> None:
    assert any("EngineCore" in " ".join(process.cmdline()) for process in tree(server))


@pytest.mark.parametrize("preset", [one.name for one in ENGINES["vllm"].starts])
def test_it_starts_with_each_of_its_presets(spec: ServerSpec, preset: str) -> None:
    start = Starts().find(f"vllm:{preset}")
    assert start is not None
    options = {**spec.options, **dict(start.options)}
    environment = {**spec.environment, **dict(start.environment)}
    with Server(replace(spec, options=options, environment=environment)) as server:
        chunks = events(server, "A benchmark is", stream_options={"include_usage": True}, ignore_eos=True)
    assert chunks[-1]["usage"]["completion_tokens"] == 16


def test_an_argument_that_it_does_not_know_is_explained_in_its_own_words(spec: ServerSpec) -> None:
    wrong = ServerSpec("vllm", spec.model, python=spec.python, options={"no-such-option": "1"})
    with pytest.raises(EngineCrashedError, match=r"exited with status 2[\s\S]*no-such-option"):
        Server(wrong)


def test_the_cause_is_shown_and_not_only_what_followed_from_it(spec: ServerSpec) -> None:
    wrong = ServerSpec("vllm", spec.model, python=spec.python, context=999_999)
    with pytest.raises(EngineCrashedError, match=r"before it was ready[\s\S]*999999"):
        Server(wrong)


def test_one_that_is_killed_takes_its_engine_core_along(spec: ServerSpec) -> None:
    with Server(spec) as server:
        processes = tree(server)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: server.ended is not None)
        assert server.ended is not None
        assert "was ended by SIGKILL" in server.ended
    assert not left_of(processes)

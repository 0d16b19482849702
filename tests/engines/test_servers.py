"""Do the real servers start, answer and end as their rows say?"""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import psutil
import pytest

from pytest_llmbench.errors import EngineCrashedError
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.servers.launch import Server, ServerSpec, probe
from pytest_llmbench.servers.table import ENGINES
from tests.waiting import until

Tiny = Callable[[str | None, Form], ResolvedModel]
NEEDS = {
    "llamacpp-server": ("llama_cpp", "fastapi", "sse_starlette", "starlette_context", "pydantic_settings"),
    "transformers-serve": ("transformers", "fastapi", "openai", "uvicorn", "accelerate"),
}


@pytest.fixture(scope="module", params=list(NEEDS))
def spec(request: pytest.FixtureRequest, tiny: Tiny) -> ServerSpec:
    """A server of each kind that this environment has, with the smallest model."""
    missing = [name for name in NEEDS[request.param] if find_spec(name) is None]
    if missing:
        pytest.skip(f"{request.param} needs {', '.join(missing)}, which is not installed here")
    form = ENGINES[request.param].form
    return ServerSpec(request.param, tiny("f16" if form == "gguf" else None, form))


@pytest.fixture(scope="module")
def server(spec: ServerSpec) -> Iterator[Server]:
    with Server(spec) as started:
        yield started


def events(server: Server, **body: Any) -> list[dict[str, Any]]:
    """The chunks of one streamed completion of 8 tokens."""
    asked = {"model": server.model_name, "prompt": "A benchmark is", "max_tokens": 8, "stream": True, **body}
    request = urllib.request.Request(
        f"{server.base_url}/completions", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=300) as response:
        lines = response.read().decode().splitlines()
    found = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    return [json.loads(event) for event in found if event != "[DONE]"]


def test_it_streams_a_completion_under_the_name_that_it_is_asked_by(server: Server) -> None:
    chunks = events(server)
    assert "".join(chunk["choices"][0].get("text") or "" for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_it_takes_the_extensions_that_its_row_says(server: Server) -> None:
    wanted = {"ignore_eos": True, "min_tokens": 8, "top_k": 4}
    if server.engine.extensions:
        assert events(server, **wanted)
        return
    with pytest.raises(urllib.error.HTTPError, match="422"):
        events(server, **wanted)


def test_it_tells_its_versions(server: Server) -> None:
    assert server.engine.distributions[0] in server.versions
    if server.engine.version is not None:
        assert server.versions[server.engine.name] == server.versions[server.engine.distributions[0]]


def test_it_is_recognized_by_one_who_did_not_start_it(server: Server) -> None:
    found = probe(server.base_url)
    if server.engine.lists_models:
        assert found.models == (server.model_name,)
        assert found.engine == server.engine.name


def test_its_process_is_the_root_of_what_it_takes_of_the_machine(server: Server) -> None:
    assert server.pid is not None
    # An interpreter with an engine in it, and not the one that watches over it.
    assert psutil.Process(server.pid).memory_info().rss > 50 * 2**20


def test_it_leaves_nothing_behind(spec: ServerSpec) -> None:
    with Server(spec) as server:
        assert server.pid is not None
        root = psutil.Process(server.pid)
        keeper = root.parent()
        assert keeper is not None
        family = [keeper, root, *root.children(recursive=True)]
    assert not [process for process in family if process.is_running()]


def test_an_argument_that_it_does_not_know_is_explained_in_its_own_words(spec: ServerSpec) -> None:
    wrong = ServerSpec(spec.engine, spec.model, arguments=("--no-such-option", "1"))
    with pytest.raises(EngineCrashedError, match=r"(?i)before it was ready[\s\S]*no.such.option"):
        Server(wrong)


def test_one_that_is_killed_is_noticed(spec: ServerSpec) -> None:
    with Server(spec) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: server.ended is not None)
        with pytest.raises(EngineCrashedError, match="was ended by SIGKILL"):
            server.check()

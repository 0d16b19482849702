"""Are the ids of a prompt those that the server makes of it, and is anything else no ids at all?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmbench.servers.endpoint import Endpoint
from pytest_llmbench.servers.prefix_cache import PrefixCache
from pytest_llmbench.servers.prompt_ids import Blocks, NoIdsError, blocks_of, prompt_ids
from pytest_llmbench.servers.table import ENGINES
from pytest_llmbench.workloads.messages import Message
from tests.fakes.llmbench_servers import Asked, Script, Talk, plain, serve

HELLO = (Message(role="user", content="Hello"),)
VLLM, LLAMA = (ENGINES[name].prefix_cache for name in ("vllm", "llama-server"))


def answers(told: dict[str, Any], status: str = "200 OK") -> Script:
    """A server that answers a path with what it is *told* to."""

    def script(talk: Talk, asked: Asked) -> None:
        path = asked.line.split()[1]
        talk.send(plain(status, json.dumps(told.get(path)).encode(), "Content-Type: application/json"))

    return script


def test_vllm_tokenizes_a_chat_and_a_text() -> None:
    with serve(answers({"/tokenize": {"count": 2, "tokens": [7, 0]}})) as server:
        body = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": None}
        endpoint = Endpoint(server.base_url, "m", body=body)
        assert prompt_ids(VLLM, endpoint, None, messages=HELLO) == [7, 0]
        assert prompt_ids(VLLM, endpoint, None, text="Hello") == [7, 0]
        chat, text = (asked.json for asked in server.asked)
    kwargs = {"chat_template_kwargs": {"enable_thinking": False}}
    assert chat == {"model": "m", "messages": list(HELLO), **kwargs}
    assert text == {"model": "m", "prompt": "Hello"}


def test_llama_server_renders_a_chat_first() -> None:
    told = {"/apply-template": {"prompt": "<user>Hello"}, "/tokenize": {"tokens": [1, 2, 3]}}
    with serve(answers(told)) as server:
        assert prompt_ids(LLAMA, Endpoint(server.base_url, "m"), None, messages=HELLO) == [1, 2, 3]
        rendered, tokenized = (asked.json for asked in server.asked)
    assert rendered == {"messages": list(HELLO)}
    assert tokenized == {"content": "<user>Hello", "add_special": True}


@pytest.mark.parametrize(
    ("cache", "told", "why"),
    [
        (PrefixCache(), {}, "has no way to ask it"),
        (VLLM, {"/tokenize": ["tokens"]}, "answers with status 200"),
        (VLLM, {"/tokenize": {"tokens": "1 2"}}, "does not answer with token ids"),
        (VLLM, {"/tokenize": {"tokens": [1, "2"]}}, "does not answer with token ids"),
        (VLLM, {"/tokenize": {"tokens": [1, -2]}}, "does not answer with token ids"),
        (LLAMA, {"/apply-template": {"text": ""}}, "does not answer with a prompt"),
    ],
)
def test_what_are_no_ids_is_refused_with_a_reason(cache: PrefixCache, told: dict[str, Any], why: str) -> None:
    with serve(answers(told)) as server, pytest.raises(NoIdsError, match=why):
        prompt_ids(cache, Endpoint(server.base_url, "m"), None, messages=HELLO)


def test_a_server_without_the_path_gives_no_ids() -> None:
    with serve(answers({}, "404 Not Found")) as server, pytest.raises(NoIdsError, match="status 404"):
        prompt_ids(VLLM, Endpoint(server.base_url, "m"), None, text="Hello")
    with pytest.raises(NoIdsError, match="does not answer: nothing listens there"):
        prompt_ids(VLLM, Endpoint("http://127.0.0.1:9/v1", "m"), None, text="Hello")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('vllm:cache_config_info{block_size="16",enable_prefix_caching="True"} 1.0', Blocks(16)),
        ('vllm:cache_config_info{block_size="128",enable_prefix_caching="False"} 1.0', Blocks(128, off=True)),
        ('vllm:cache_config_info{block_size="None"} 1.0', Blocks()),
        ('vllm:cache_config_info{block_size="0"} 1.0', Blocks()),
        ('vllm:cache_config_info{block_size="1', Blocks()),
        ("vllm:other 1.0", Blocks()),
    ],
)
def test_vllm_says_in_which_blocks_it_keeps_prompts(line: str, found: Blocks) -> None:
    def script(talk: Talk, _: Asked) -> None:
        talk.send(plain("200 OK", f"# TYPE vllm:cache_config_info gauge\n{line}\n".encode()))

    with serve(script) as server:
        assert blocks_of(VLLM, server.base_url.removesuffix("/v1") + "/metrics", None) == found


def test_blocks_that_cannot_be_read_are_not_known() -> None:
    assert blocks_of(VLLM, "http://127.0.0.1:9/metrics", None) == Blocks()
    assert blocks_of(VLLM, None, None) == Blocks()
    assert blocks_of(PrefixCache(), None, None) == Blocks()
    # A slot keeps each token.
    assert blocks_of(LLAMA, None, None) == Blocks(1)

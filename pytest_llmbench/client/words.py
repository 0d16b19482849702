"""In which words does a server want to be asked, and what helps where it refuses them?

Servers differ in the keys that they take beside model and prompt. One that refuses a key says which, and is
asked again in its own words, before anything is measured; what it is asked in is part of the protocol.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

from pytest_llmbench.backends.base import FILTERS, REQUEST_PARAMS, GenerationParams
from pytest_llmbench.client.plan import LoadPlan, LoadResult, RequestResult
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.servers.endpoint import Endpoint, Words

TRIES = 8
"""How often a server is asked anew: so many keys may have to go, one at a time."""
_REFUSED = (400, 422)
_MOST_NAMED = 4
"""Keys that one refusal names; a server that repeats the whole request does not name a key by it."""
_LENGTH, _ALSO_LENGTH = "max_tokens", "max_completion_tokens"
_EXTENSIONS = ("ignore_eos", "min_tokens", "cache_salt", "cache_prompt", "return_token_ids")
_SENT = tuple(dict.fromkeys((*REQUEST_PARAMS, "stream_options", *_EXTENSIONS)))
"""Keys that a user may take away."""


def is_refusal(result: RequestResult) -> bool:
    """Whether a server would not take a request as it was put."""
    return result.failure is not None and result.failure.kind == "status" and result.status in _REFUSED


def send(run: Callable[[LoadPlan], LoadResult], plan: LoadPlan) -> tuple[LoadResult, Words | None]:
    """Have *plan* sent, and again in other words for as long as all of it is refused.

    :returns: the last result, and the words in which the server took it; None if they are those of the plan.
    """
    result, words = run(plan), plan.endpoint.words
    for _ in range(TRIES):
        if not result.requests or not all(is_refusal(request) for request in result.requests):
            return result, None if words == plan.endpoint.words else words
        found = agree(replace(plan.endpoint, words=words), result.requests[0], plan.params)
        if found is None:
            break
        words = found
        result = run(replace(plan, endpoint=replace(plan.endpoint, words=words)))
    return result, None


def agree(endpoint: Endpoint, result: RequestResult, params: GenerationParams) -> Words | None:
    """The words for the next try after a refusal; None if it names no key that may be put otherwise.

    A key is left out only if the same is asked for without it, or if what becomes of it is counted: how
    many tokens come (``ignore_eos``), who counts them (``stream_options``). A seed says only which of equal
    samples are drawn.
    """
    if not is_refusal(result) or result.failure is None:
        return None
    said = result.failure.detail
    known = dict(endpoint.words)
    if _names(said, _ALSO_LENGTH) and _LENGTH not in known:
        return {**known, _LENGTH: _ALSO_LENGTH}
    named = [key for key in _optional(endpoint, params) if _names(said, key) and key not in known]
    if not named or len(named) > _MOST_NAMED:
        return None
    return {**known, **dict.fromkeys(named)}


def put(body: Json, words: Words) -> Json:
    """*body* in a server's words."""
    named = ((words.get(key, key), value) for key, value in body.items())
    return {key: value for key, value in named if key is not None}


def advice(endpoint: Endpoint, result: RequestResult) -> str:
    """What may help where a server refuses a request: the end of a sentence, or nothing."""
    if result.failure is None or result.failure.kind != "status":
        return ""
    if result.status in (404, 405) and endpoint.api == "completions":
        return "; for a server that has the chat API alone: --llm-option server.api=chat"
    if result.status in (401, 403):
        if endpoint.api_key_env is None:
            return "; name the variable that holds the server's key: --llm-option server.api_key_env=NAME"
        return f"; the key was taken from the variable {endpoint.api_key_env}"
    if not is_refusal(result):
        return ""
    said = result.failure.detail
    gone = {key: None for key in _SENT if _names(said, key) and endpoint.words.get(key, key) is not None}
    if not gone or len(gone) > _MOST_NAMED:
        return """; a key is added, or by null left out, with --llm-option 'server.body={"KEY": null}'"""
    return f"; leave it out with --llm-option 'server.body={json.dumps(gone)}'"


def _optional(endpoint: Endpoint, params: GenerationParams) -> list[str]:
    """The keys of a request without which the same is asked for, or that are counted for."""
    greedy = params.temperature == 0
    keys = ["seed"]
    if endpoint.include_usage:
        keys.append("stream_options")
    if endpoint.extensions:
        keys += _EXTENSIONS
    for name, one in FILTERS.items():
        if (greedy or getattr(params, name) == one.off) and (endpoint.extensions or not one.extension):
            keys.append(name)
    return keys


def _names(said: str, key: str) -> bool:
    return re.search(rf"(?<![\w-]){key}(?![\w-])", said) is not None

"""Where is a server, and in which words is it asked?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_llmbench.backends.base import REQUEST_PARAMS
from pytest_llmbench.processes.wire import Json

Api = Literal["chat", "completions"]
Words = Mapping[str, str | None]
"""What a server calls a key of a request; None for one that it refuses, and that is left out."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, a model on it, and in which words requests are put."""

    base_url: str
    """``http(s)://HOST[:PORT][/PREFIX]``; ``/completions`` or ``/chat/completions`` is added to it."""
    model: str
    """What requests call the model."""
    api: Api = "completions"
    api_key_env: str | None = None
    """The environment variable with the key; the key itself is never part of a plan or a result."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """As a user gives them; what they take from environment variables is never part of a plan either."""
    verify: bool = True
    """Whether a TLS certificate has to be valid."""
    ca_file: str | None = None
    """PEM file of the authority to trust; None trusts the system's."""
    proxy: str | None = None
    """``http://HOST:PORT``; None goes straight to the server, whatever the environment says."""
    stream: bool = True
    """Whether tokens come as they are made; without, some servers count tokens that else do not."""
    include_usage: bool = True
    """Ask for token counts at a stream's end (``stream_options``)."""
    extensions: bool = True
    """Send ``ignore_eos``, ``min_tokens`` and ``top_k``, which vLLM, SGLang and llama-server know."""
    words: Words = field(default_factory=dict)
    """In which the server wants to be asked, as far as that was found out."""
    extras: Json = field(default_factory=dict)
    """Further keys of ours of each request."""
    body: Json = field(default_factory=dict)
    """The user's own, merged over everything else: see :func:`.overrides.merge_patch`."""
    tokenizer: str | None = None
    """Folder with a ``tokenizer.json`` that counts tokens where a server sends no ``usage``."""


def left_out(words: Words) -> list[str]:
    """The keys that a server refused."""
    return [key for key, name in words.items() if name is None]


def takes(endpoint: Endpoint, key: str) -> bool:
    """Whether a server gets the value of ours of an extension's *key*."""
    return endpoint.extensions and key not in endpoint.body and endpoint.words.get(key, key) is not None


def asked_without(endpoint: Endpoint) -> Json:
    """What of a protocol the requests to a server do not have, and in which words it is asked."""
    gone = {*left_out(endpoint.words), *(key for key, value in endpoint.body.items() if value is None)}
    return {**{key: None for key in REQUEST_PARAMS if key in gone}, "words": dict(endpoint.words) or None}


def refused_note(words: Words) -> str | None:
    """What a person has to know of a server that is asked without some keys; None where it has them all."""
    refused = left_out(words)
    if not refused:
        return None
    note = f"the server refuses {_listed(refused)}, so it is asked without"
    if "ignore_eos" in refused or "min_tokens" in refused:
        note += "; it may end its answers early"
    if "cache_salt" in refused or "cache_prompt" in refused:
        note += "; a prompt that it is asked again may be in its prefix cache"
    return note


def _listed(keys: list[str]) -> str:
    return ", ".join(map(repr, keys))

"""Which bytes ask a server for a completion?

Every request is bytes before a level starts: head and body together, so that one ``send`` carries it.
"""

from __future__ import annotations

import json

from pytest_llmbench._version import __version__
from pytest_llmbench.backends.base import FILTERS, GenerationParams
from pytest_llmbench.client.plan import Request
from pytest_llmbench.client.words import put
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.servers.endpoint import Endpoint
from pytest_llmbench.servers.overrides import header_values, merge_patch
from pytest_llmbench.servers.trust import api_key
from pytest_llmbench.servers.urls import proxy_headers, read_proxy, read_url

_PATHS = {"completions": "/completions", "chat": "/chat/completions"}


class Writer:
    """Writes requests as they go over the wire.

    :raises UsageError: for a URL or header that cannot be sent, and for a key's variable that is not set.
    """

    def __init__(self, endpoint: Endpoint, params: GenerationParams) -> None:
        self._endpoint = endpoint
        self._params = params
        self._head = _head(endpoint)

    def write(self, request: Request) -> bytes:
        """Head and body of *request*."""
        told = request_body(self._endpoint, request, self._params)
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        # Half of a surrogate pair has no UTF-8; its escape is JSON's own.
        body = text.encode(errors="backslashreplace")
        return b"%sContent-Length: %d\r\n\r\n%s" % (self._head, len(body), body)


def _head(endpoint: Endpoint) -> bytes:
    url = read_url(endpoint.base_url, "base_url")
    place = url.authority
    # A proxy gets the whole address, unless it is only a tunnel (RFC 9112, section 3.2.2).
    proxy = read_proxy(endpoint.proxy) if endpoint.proxy is not None and url.scheme == "http" else None
    origin = "" if proxy is None else f"http://{place}"
    ours = {
        "host": ("Host", place),
        "user-agent": ("User-Agent", f"pytest-llmbench/{__version__}"),
        "accept": ("Accept", "text/event-stream"),
        "content-type": ("Content-Type", "application/json"),
    }
    for name, value in {**url.headers, **({} if proxy is None else proxy_headers(proxy))}.items():
        ours[name.lower()] = (name, value)
    key = api_key(endpoint.api_key_env)
    if key is not None:
        ours["authorization"] = ("Authorization", f"Bearer {key}")
    for name, value in header_values(endpoint.headers).items():
        ours[name.lower()] = (name, value)
    # Without this header a server might choose to compress (RFC 9110, section 12.5.3).
    ours["accept-encoding"] = ("Accept-Encoding", "identity")
    lines = "".join(f"{name}: {value}\r\n" for name, value in ours.values())
    return f"POST {origin}{url.target(_PATHS[endpoint.api])} HTTP/1.1\r\n{lines}".encode("latin-1")


def request_body(endpoint: Endpoint, request: Request, params: GenerationParams) -> Json:
    """What *request* asks for, as JSON; what a user's own body says goes before everything else."""
    body: Json = {"model": endpoint.model}
    if request.messages is None:
        body["prompt"] = request.prompt
    else:
        body["messages"] = list(request.messages)
    body |= {
        "max_tokens": request.max_new_tokens,
        "stream": endpoint.stream,
        "temperature": params.temperature,
        "seed": params.seed,
    }
    for name, one in FILTERS.items():
        value = getattr(params, name)
        if not one.extension or (endpoint.extensions and value != one.off):
            body[name] = value
    if endpoint.stream and endpoint.include_usage:
        body["stream_options"] = {"include_usage": True}
    if endpoint.extensions:
        body["ignore_eos"] = params.ignore_eos
        if params.ignore_eos:
            body["min_tokens"] = request.max_new_tokens
    merged: Json = merge_patch(put({**body, **endpoint.extras}, endpoint.words), endpoint.body)
    return merged

"""What may a user change in the requests to a server: which keys of the body, and which headers?

A body is merged over the client's own by the rules of a JSON Merge Patch (RFC 7396): null takes a key
away, an object is merged key by key, anything else replaces what was there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping
from typing import Any

from pytest_llmbench.backends.base import REQUEST_PARAMS
from pytest_llmbench.errors import UsageError
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.secrets import learn, learn_headers

MAX_BODY = 64 * 1024
"""Bytes of an override as JSON: it goes out with every request."""
_DEEPEST = 32
"""Objects and lists within each other."""
MAX_HEADERS = 32
"""Headers, and KiB of one's value."""
_LENGTH = "the output's length is set by --llm-max-new-tokens or --llm-output-length"
_ONE = "one answer to a request is counted"
_OURS = {
    "model": "the model is named by --llm-model",
    "prompt": "the prompt is given by the test",
    "messages": "the prompt is given by the test",
    "stream": "the client decides whether tokens are to come one by one",
    "max_tokens": _LENGTH,
    "max_completion_tokens": _LENGTH,
    "n": _ONE,
    "best_of": _ONE,
    "echo": "a prompt that is sent back would be counted as output",
}
"""Keys that an override may not have, and why: the measurement would not be what it is said to be."""
_SETTINGS = (*REQUEST_PARAMS, "min_tokens")
"""Keys that an override may only take away; their values are settings or follow from them."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name (RFC 9110, section 5.6.2)."""
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_CLIENTS = frozenset({"accept-encoding", "connection", "content-length", "transfer-encoding"})
"""Headers that the client sets itself: it does not unpack, and counts bytes itself."""
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def read_body(value: object) -> Json:
    """The override that a user gives for a request's body, as JSON or as what JSON makes of it.

    :raises ValueError: saying what is wrong with it; it does not repeat values, which may be secret.
    """
    try:
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        body = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, TypeError, RecursionError) as error:
        msg = f"""it is not JSON ({error}); write an object such as {{"seed": null}}"""
        raise ValueError(msg) from None
    if not isinstance(body, dict):
        msg = """it is not a JSON object; write one such as {"seed": null}"""
        raise ValueError(msg)
    if len(text.encode(errors="replace")) > MAX_BODY:
        msg = f"it is longer than {MAX_BODY // 1024} KiB, and would go out with every request"
        raise ValueError(msg)
    if _depth(body) > _DEEPEST:
        msg = f"it has objects and lists in each other more than {_DEEPEST} deep"
        raise ValueError(msg)
    for key, given in body.items():
        if key in _OURS:
            msg = f"{key!r} cannot be set: {_OURS[key]}"
            raise ValueError(msg)
        if key in _SETTINGS and given is not None:
            flag = "ignore_eos" if key == "min_tokens" else key
            msg = (
                f"{key!r} is set by --llm-{flag.replace('_', '-')}, so that the results say what was asked; "
                "null leaves it out"
            )
            raise ValueError(msg)
    return body


def merge_patch(target: Any, patch: Any) -> Any:
    """*target* with *patch* merged over it (RFC 7396, section 2); neither is changed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def read_headers(value: object) -> dict[str, str]:
    """The headers that a user gives: ``NAME=VALUE`` in a shell's words, or a mapping.

    :raises ValueError: saying what is wrong with which; it does not repeat values, which may be secret.
    """
    if isinstance(value, str):
        pairs = [word.partition("=") for word in shlex.split(value)]
        if not all(name and equals for name, equals, _ in pairs):
            msg = "write NAME=VALUE, several with blanks between them, a value with blanks in quotes"
            raise ValueError(msg)
        given = {name: text for name, _, text in pairs}
    elif isinstance(value, Mapping) and all(isinstance(v, str) for item in value.items() for v in item):
        given = dict(value)
    else:
        msg = "write NAME=VALUE, or in a marker a mapping of names to texts"
        raise ValueError(msg)
    if len(given) > MAX_HEADERS:
        msg = f"there are {len(given)} headers, and {MAX_HEADERS} is the most"
        raise ValueError(msg)
    for name, text in given.items():
        _check_header(name, text)
    return given


def header_values(headers: Mapping[str, str]) -> dict[str, str]:
    """*headers* as they are sent: each ``${NAME}`` is the environment variable's value.

    :raises UsageError: if a variable is not set, or has what a header cannot have; its value is not shown.
    """

    def value_of(match: re.Match[str]) -> str:
        found = os.environ.get(match[1], "").strip()
        if not found:
            msg = f"server.headers: the environment variable {match[1]} is not set"
            raise UsageError(msg)
        learn(found)
        return found

    values = {name: _VARIABLE.sub(value_of, text) for name, text in headers.items()}
    learn_headers(values)
    for name, text in values.items():
        try:
            _check_header(name, text)
        except ValueError as error:
            msg = f"server.headers: {error}"
            raise UsageError(msg) from None
    return values


def _check_header(name: str, text: str) -> None:
    if name.lower() in _CLIENTS:
        msg = f"the header {name} is set by the client itself; remove it"
        raise ValueError(msg)
    if not _TOKEN.fullmatch(name):
        msg = f"the name of the header {name!r} has characters that it cannot have"
        raise ValueError(msg)
    if not _VALUE.fullmatch(text) or len(text) > MAX_HEADERS * 1024:
        msg = f"the value of the header {name} is too long, or has characters that it cannot have"
        raise ValueError(msg)


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def _refuse_constant(name: str) -> float:
    msg = f"{name} is not a number in JSON"
    raise ValueError(msg)

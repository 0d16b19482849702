"""Which token ids does a server make of a prompt, and in what blocks does it keep them?

Nothing of this is asked while something is timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_llmbench.metrics.bounds import MAX_TOKENS, whole
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.servers.ask import Access, NoAnswerError, post
from pytest_llmbench.servers.scrape import ScrapeError, labels
from pytest_llmbench.servers.urls import read_url

if TYPE_CHECKING:
    from pytest_llmbench.servers.endpoint import Endpoint
    from pytest_llmbench.servers.prefix_cache import PrefixCache
    from pytest_llmbench.workloads.messages import Message

_LONG = 60.0
"""Seconds that a server has to tokenize a prompt."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """In what a server keeps prompts, as it says itself."""

    size: int | None = None
    """Tokens; None where that is not known."""
    off: bool = False
    """Whether it keeps none."""


class NoIdsError(Exception):
    """A server does not give the ids of a prompt; the message says why."""


def blocks_of(cache: PrefixCache, metrics_url: str | None, access: Access | None) -> Blocks:
    """In what blocks a server keeps prompts."""
    if cache.block is None:
        return Blocks(1 if cache.slots else None)
    sample, label = cache.block
    try:
        told = {} if metrics_url is None else labels(metrics_url, sample, access)
    except ScrapeError:
        told = {}
    size = told.get(label, "")
    known = int(size) if size.isdecimal() and 0 < len(size) < 10 else None
    return Blocks(known or None, off=told.get(cache.enabled, "").lower() == "false")


def prompt_ids(
    cache: PrefixCache,
    endpoint: Endpoint,
    access: Access | None,
    *,
    text: str | None = None,
    messages: Sequence[Message] | None = None,
) -> list[int]:
    """The token ids that a server makes of a prompt, or of the messages of a chat, special tokens included.

    :raises NoIdsError: if it does not tell them.
    """
    if cache.tokenizes is None:
        msg = "the server has no way to ask it for the token ids of a prompt"
        raise NoIdsError(msg)
    # What decides how a chat is rendered is the user's own.
    asked: Json = {key: endpoint.body[key] for key in ("chat_template_kwargs",) if key in endpoint.body}
    if cache.tokenizes == "messages":
        said = {"prompt": text} if messages is None else {"messages": list(messages), **asked}
        return _ids(_answer(endpoint, access, "/tokenize", {"model": endpoint.model, **said}))
    if messages is not None:
        text = _answer(endpoint, access, "/apply-template", {"messages": list(messages), **asked}).get(
            "prompt"
        )
        if not isinstance(text, str):
            msg = "/apply-template does not answer with a prompt"
            raise NoIdsError(msg)
    return _ids(_answer(endpoint, access, "/tokenize", {"content": text, "add_special": True}))


def _answer(endpoint: Endpoint, access: Access | None, path: str, question: Json) -> Json:
    url = read_url(endpoint.base_url).root.at(path)
    try:
        answer = post(url, question, access, timeout=_LONG)
    except NoAnswerError as error:
        msg = f"{path} does not answer: {error}"
        raise NoIdsError(msg) from None
    told = answer.json()
    if answer.status != 200 or not isinstance(told, dict):
        msg = f"{path} answers with status {answer.status}"
        raise NoIdsError(msg)
    return told


def _ids(told: dict[str, Any]) -> list[int]:
    ids = told.get("tokens")
    if not isinstance(ids, list) or not all(whole(one, MAX_TOKENS) is not None for one in ids):
        msg = "/tokenize does not answer with token ids"
        raise NoIdsError(msg)
    return ids

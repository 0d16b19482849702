"""What does a server's prefix cache have of a prompt, and what does the server say that it had?

A request that is to be cold is kept from what others left: by a salt, or by asking the server not to look. A
conversation has a salt for each time that it is held, so that its first turn finds nothing and the next ones
find what the turns before left, and nothing else. A server that knows neither gets prompts that begin with
words of their own.

What it could have had is counted from the token ids that it gives for a prompt, apart from what it reports.
Nothing of this is done while a request is on its way.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.client.plan import RequestResult
from pytest_llmbench.measure.engine import CacheUse, Prompt
from pytest_llmbench.measure.load import RunningServer
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.servers.endpoint import Endpoint, takes
from pytest_llmbench.servers.prompt_ids import Blocks, NoIdsError
from pytest_llmbench.workloads.messages import Message
from pytest_llmbench.workloads.prompts import opening

_NUMBERS = 10**9
_SLOT = 0
"""Of a server with slots, the one that a conversation is in: every server has it."""
_COUNTED_AFTER = 2.0
"""Seconds that a server may take until it has counted a request that it has answered."""
_LOOK_EVERY = 0.01


@dataclass(frozen=True, slots=True)
class _Scope:
    """What requests share that may find each other's prompts."""

    salt: str = field(default_factory=lambda: uuid.uuid4().hex)
    number: int = field(default_factory=lambda: secrets.randbelow(_NUMBERS))
    """Of the words that stand before its prompts, where there is no other way."""


@dataclass(frozen=True, slots=True)
class _Left:
    """What one request left in the cache."""

    ids: Sequence[int]
    """Of its prompt, and of its answer but the last, where these are known: the last is never evaluated."""
    prompt: Prompt
    answer: str
    tokens: int
    """Of the answer, where its ids are not known; 0 where they are."""

    def reaches(self, ids: Sequence[int], prompt: Prompt) -> int:
        """How many of another prompt's first tokens it can have left, at most.

        Where the ids of its answer are not known, and the other prompt goes on with the answer's text, all
        but the last of its tokens can be there.
        """
        common = common_prefix(self.ids, ids)
        if self.tokens and common == len(self.ids) and _goes_on(prompt, self.prompt, self.answer):
            common = min(common + max(0, self.tokens - 1), len(ids))
        return common


class ServedCache:
    """Follows what one client's requests left in a server's prefix cache."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._scope: _Scope | None = _Scope()
        """Of the next request; None: it finds whatever is there."""
        self._kept: _Scope | None = None
        """That of the conversation which is held."""
        self._cold = True
        self._left: list[_Left] | None = None
        """What the requests of the conversation left; None where that is not known."""
        self._before: Mapping[str, float | None] = {}
        self._asked: tuple[Prompt, RequestResult] | None = None
        """The last request, of which nothing was told yet."""
        self._blocks: Blocks | None = None
        self._learns = False
        """Whether the next request's answer is to have its ids."""
        self._answers: dict[tuple[str, str], tuple[int, ...]] = {}
        """Ids of answers, by the hashes of prompt and text, as requests that were not timed had them: at
        temperature 0 the same text came of the same tokens."""

    @property
    def own_words(self) -> bool:
        """Whether a cold prompt begins with words of its own, so that its answer is another one."""
        return self._key(self._server.endpoint) is None

    @property
    def adds_words(self) -> bool:
        """Whether the next prompt begins with words of its own."""
        return self._scope is not None and self.own_words

    def prepare(self, *, cold: bool, begins: bool = False, timed: bool = True) -> None:
        """Have the next request find nothing if it is *cold*; with *begins*, warm ones after it find what it
        leaves, and nothing from before it."""
        self._cold = cold
        self._learns = not timed
        if self._asked is not None:
            # Nobody asked what it found, so what it left is not known either.
            self._asked, self._left = None, None
        if begins:
            self._kept, self._left = _Scope(), []
        if cold:
            self._scope = self._kept if begins else _Scope()
        else:
            self._scope = self._kept
        row = self._server.prefix_cache
        counts = row.counts_tokens and (not cold or self._kept is not None)
        self._before = self._server.metrics() if counts else {}

    def elsewhere(self, prompt: Prompt, endpoint: Endpoint) -> tuple[Prompt, Endpoint]:
        """A prompt and endpoint of a request that is to share nothing with any other."""
        return self._put(prompt, endpoint, _Scope(), cold=True)

    def put(self, prompt: Prompt, endpoint: Endpoint) -> tuple[Prompt, Endpoint]:
        """The next request's prompt and endpoint, with what keeps it where it belongs."""
        return self._put(prompt, endpoint, self._scope, cold=self._cold)

    def _put(
        self, prompt: Prompt, endpoint: Endpoint, scope: _Scope | None, *, cold: bool
    ) -> tuple[Prompt, Endpoint]:
        if scope is not None and self._key(endpoint) is None:
            prompt = _with_words(prompt, opening(scope.number, 0))
        if endpoint.extensions:
            endpoint = replace(endpoint, extras=self._said(scope, cold=cold) | self._asked_for(endpoint))
        return prompt, endpoint

    def asked(self, prompt: Prompt, result: RequestResult) -> None:
        """A request was answered; *prompt* as it was sent."""
        if result.answer_ids is not None and result.timeline is not None:
            key = result.timeline.prompt_hash, result.timeline.output_hash
            self._answers[key] = result.answer_ids
        self._asked = (prompt, result)

    def use(self) -> CacheUse | None:
        """What the last request found; None where nothing is known of it, or it was told already."""
        asked, self._asked = self._asked, None
        if asked is None:
            return None
        prompt, result = asked
        tokens, source, reason = self._reported(result)
        possible, break_at = self._possible(prompt, result)
        if self._cold:
            # Where the server had some all the same, it is not known what it has.
            possible, break_at = None if tokens or self.own_words else 0, None
        size = self._known_blocks.size
        return CacheUse(possible, tokens, source, reason, break_at, block=size or 1)

    def _possible(self, prompt: Prompt, result: RequestResult) -> tuple[int | None, int | None]:
        """How many tokens the server can have had, and where the prompt left what it had.

        What the request leaves is noted.
        """
        kept = self._scope is not None and self._scope == self._kept
        slots = self._server.prefix_cache.slots
        if self.own_words or not (kept or (slots and self._kept is not None)):
            return None, None
        before = self._left
        try:
            ids = self._server.prompt_ids(prompt.text, prompt.messages)
        except NoIdsError:
            ids = []
        timeline = result.timeline
        if not ids or (timeline is not None and len(ids) != timeline.prompt_tokens):
            # They are not those of the request: the server renders it otherwise.
            self._left = None
            return None, None
        tokens = 0 if timeline is None else timeline.output_tokens
        answer = None
        if timeline is not None:
            answer = self._answers.get((timeline.prompt_hash, timeline.output_hash))
        if answer is not None and len(answer) == tokens:
            left = _Left([*ids, *answer[:-1]], prompt, result.text or "", 0)
        else:
            left = _Left(ids, prompt, result.text or "", tokens)
        self._left = [left] if slots else None if before is None else [*before, left]
        if before is None:
            return None, None
        reached = [one.reaches(ids, prompt) for one in before]
        most = max(reached, default=0)
        breaks = bool(before) and all(n < len(one.ids) for n, one in zip(reached, before, strict=True))
        size = self._known_blocks.size or 1
        # The last token of a prompt is always evaluated: its logits are needed.
        return min(most, len(ids) - 1) // size * size, most if breaks else None

    def _reported(self, result: RequestResult) -> tuple[int | None, str | None, str | None]:
        """Tokens, their source, and why there is none."""
        if result.cached_tokens is not None:
            return result.cached_tokens, result.cached_source, None
        row = self._server.prefix_cache
        start = f" unless it is started with {' '.join(row.reports)}" if row.reports else ""
        silent = f"the server does not say how many tokens its cache had{start}"
        if self._known_blocks.off:
            return None, None, "the server was started without a cache of prefixes"
        if self._before.get("prefix_cache_hits") is None or result.timeline is None:
            return None, None, silent
        prompt_tokens = result.timeline.prompt_tokens
        end = time.monotonic() + _COUNTED_AFTER
        while True:
            grown = self._server.metrics_between([self._before, self._server.metrics()])
            queries, hits = grown.get("prefix_cache_queries"), grown.get("prefix_cache_hits")
            if queries is None or hits is None:
                return None, None, silent
            if queries >= prompt_tokens or time.monotonic() > end:
                break
            time.sleep(_LOOK_EVERY)
        if queries != prompt_tokens:
            return (
                None,
                None,
                f"{silent}, and its counters are of {queries:g} tokens while the prompt has {prompt_tokens}: "
                "other requests were there",
            )
        return round(hits), "counters", None

    def _key(self, endpoint: Endpoint) -> str | None:
        """The key by which the server keeps requests apart; None where it has none, or is not asked so."""
        key = self._server.prefix_cache.apart
        return key if key is not None and takes(endpoint, key) else None

    def _asked_for(self, endpoint: Endpoint) -> Json:
        key = self._server.prefix_cache.answer_ids
        return {key: True} if self._learns and key and takes(endpoint, key) else {}

    def _said(self, scope: _Scope | None, *, cold: bool) -> Json:
        row = self._server.prefix_cache
        if row.slots and self._kept is not None:
            return {"cache_prompt": not cold, "id_slot": _SLOT}
        if scope is None:
            return {}
        # What a server does not know it leaves alone, or refuses, and then it is not sent.
        both: Json = {"cache_salt": scope.salt, "cache_prompt": not cold}
        return both if row.apart is None else {row.apart: both[row.apart]}

    @property
    def _known_blocks(self) -> Blocks:
        if self._blocks is None:
            self._blocks = self._server.blocks()
        return self._blocks


def _goes_on(prompt: Prompt, before: Prompt, answer: str) -> bool:
    """Whether a prompt has, after the one before it, a beginning of that one's *answer*."""
    if prompt.messages is None or before.messages is None:
        said = (prompt.text or "").removeprefix(before.text or "")
    else:
        after: Sequence[Message] = prompt.messages[len(before.messages) :]
        said = after[0]["content"] if after and after[0]["role"] == "assistant" else ""
    said, answer = said.lstrip(), answer.lstrip()
    return bool(said and answer) and said[0] == answer[0]


def _with_words(prompt: Prompt, words: str) -> Prompt:
    """A prompt that begins with *words*."""
    if prompt.messages is None:
        return replace(prompt, text=f"{words} {prompt.text}")
    head, *others = prompt.messages
    first = Message(role=head["role"], content=f"{words} {head['content']}")
    return replace(prompt, messages=(first, *others))

"""How is a server measured one request at a time, as an engine in a worker would be?

:class:`ServedEngine` is asked the same things as an engine's process, so that every benchmark of
``llm_model`` runs on a server too; its times are the load client's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from pytest_llmbench import errors
from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.plan import LoadPlan, Request, RequestResult
from pytest_llmbench.client.process import LoadClient
from pytest_llmbench.client.stream import prompt_hash
from pytest_llmbench.client.words import advice, send
from pytest_llmbench.hardware.cpu_time import TreeTime
from pytest_llmbench.measure.engine import CacheUse, Depth, Generation, Loaded, Prompt
from pytest_llmbench.measure.load import RunningServer
from pytest_llmbench.measure.served_cache import ServedCache
from pytest_llmbench.metrics.timeline import NANO
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.servers.endpoint import Endpoint, asked_without
from pytest_llmbench.servers.prompt_ids import NoIdsError
from pytest_llmbench.workloads.messages import Message

# Requests of one token that may be spent to find a prompt of the wanted length.
_LENGTH_TRIES = 12
_WITH_TEXT = 8
"""Tokens of which one has a text, where the first one has none."""
NEEDS_CHAT = "chat messages and conversations need the chat endpoint: --llm-option server.endpoint=chat"
_NO_CHAT_AT_DEPTH = (
    "depth needs a text as its prompt and --llm-option server.endpoint=completions: a chat's template would "
    "put more between the two"
)


@dataclass(frozen=True, slots=True)
class ServedSpec:
    """A running server and how it is asked; what an ``EngineSpec`` is to a worker."""

    server: RunningServer
    model: ResolvedModel | ModelSpec
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What messages and progress call it."""
        return self.server.label

    def told(self) -> Mapping[str, object]:
        """In which words it is asked, as far as that was found out, and without what."""
        return asked_without(self.server.endpoint)

    def start(self, isolation: str, timeout: float | None, started: Callable[[int], None]) -> ServedEngine:
        """A client of its own; the server runs already, so the isolation changes nothing else."""
        del isolation
        return ServedEngine(self.server, timeout, started)


class ServedEngine:
    """One client, one request at a time."""

    def __init__(
        self, server: RunningServer, timeout: float | None, started: Callable[[int], None] = lambda _: None
    ) -> None:
        self._server = server
        self._timeout = timeout or 600.0
        self._client = LoadClient(started, self._timeout)
        self._cache = ServedCache(server)
        self._depth: Prompt | None = None
        """What lies in the cache before the prompt of a round."""
        self.loaded = Loaded(server.pid or 0, None, server.engine, server.versions)

    def prompt_of_tokens(self, tokens: int, seed: int, before: str = "") -> Prompt:
        """A made text that the server counts as *tokens* tokens, or as nearly so many as was found.

        Its true length is in every round. The server tokenizes each text that is tried, or is asked for a
        token after it. Where it does not count its prompts, the length is a guess, and a warning says so.
        """
        from pytest_llmbench.workloads.requests import (
            LEAST_TOKENS_PER_WORD,
            OWN_WORDS,
            TokenEstimator,
            words_text,
        )

        most = math.ceil(tokens / LEAST_TOKENS_PER_WORD)
        own = OWN_WORDS if self.own_words else 0

        def text(words: int) -> str:
            made = words_text(max(1, words - own), seed=seed)
            return f"{before}\n\n{made}" if before else made

        counted: dict[int, int] = {}
        words = tokens
        while words not in counted and len(counted) < _LENGTH_TRIES:
            counted[words] = found = self._count(text(words))
            if not found or len(counted) > 1:
                estimator, note = TokenEstimator.fit_or_guess([*counted.items()])
                if note is not None:
                    errors.warn(f"{self._server.label}: {note}")
                    return Prompt(text=text(estimator.words_for(tokens)))
            missing = tokens - found
            words = min(max(1, words + (round(missing * words / found) or missing)), most)
        nearest = min(counted, key=lambda words: abs(tokens - counted[words]))
        return Prompt(text=text(nearest))

    def _count(self, text: str) -> int:
        """How many tokens the server counts for a text and all that it adds; 0 where it does not tell."""
        prompt, endpoint = self._cache.elsewhere(Prompt(text=text), self._server.endpoint)
        chat = endpoint.api == "chat"
        with suppress(NoIdsError):
            return len(self._server.prompt_ids(prompt.text, _said(prompt) if chat else None))
        for tokens in (1, _WITH_TEXT):
            params = GenerationParams(max_new_tokens=tokens)
            # In a stream, not every server tells what it counted.
            found = self._send(prompt, params, replace(endpoint, stream=False), empty=True)
            if found.timeline is not None:
                return found.timeline.prompt_tokens
        return 0

    @property
    def own_words(self) -> bool:
        """Whether the server can be told in no other way to look for nothing."""
        return self._cache.own_words

    def prepare(self, *, cold: bool, begins: bool = False, timed: bool = True) -> None:
        """Have the next request find no prefix cache of its own prompt, if *cold*; and the depth, if any."""
        if self._depth is not None and cold:
            self._cache.prepare(cold=True, begins=True)
            self._fill(self._depth)
            self._cache.use()
            cold = begins = False
        self._cache.prepare(cold=cold, begins=begins, timed=timed)

    def deepen(self, tokens: int, seed: int, room: int) -> Depth | None:
        """Have each cold round find a text of about *tokens* tokens in the server's cache.

        A server keeps no state that could be put back, so it is asked for this text before each round.

        :raises errors.UsageError: if the server is asked for chats: what their template puts behind the text
            would stand between it and the prompt.
        """
        del room  # The server says itself what does not fit.
        self._depth = None
        if not tokens:
            return None
        if self._server.endpoint.api == "chat":
            msg = f"{self._server.label}: {_NO_CHAT_AT_DEPTH}"
            raise errors.UsageError(msg)
        self._depth = self.prompt_of_tokens(tokens, seed)
        counted = self._count(self._depth.text or "")
        # A round that is not cold finds it all the same, before any that was.
        self._cache.prepare(cold=True, begins=True)
        result = self._fill(self._depth)
        self._cache.use()
        return Depth(counted or tokens, None, (result.ended - result.sent) * NANO)

    def generate(self, prompt: Prompt, params: GenerationParams, *, keep_ids: bool = False) -> Generation:
        """One request; which token ids came is not known.

        :raises errors.EngineError: if it fails.
        """
        del keep_ids
        if self._depth is not None:
            if prompt.messages is not None:
                msg = f"{self._server.label}: {_NO_CHAT_AT_DEPTH}"
                raise errors.UsageError(msg)
            prompt = Prompt(text=f"{self._depth.text} {prompt.text}")
        cpu_time = TreeTime(self._server.pid)
        own_words = self._cache.adds_words
        result = self._ask(prompt, params)
        had = cpu_time.until_now()
        timeline = result.timeline
        assert timeline is not None
        if own_words:
            # They are others in each session, which is to find the same prompt in a baseline.
            asked = _request(prompt, params, self._server.endpoint)
            timeline = replace(timeline, prompt_hash=prompt_hash(asked))
        # Not told of the prefill: when it ends, only the server knows.
        answer = result.answer
        text = result.text or ""
        return Generation(timeline, text, None, cpu_time=had, own_words=own_words, answer=answer)

    def choice(
        self, prompt: Prompt, params: GenerationParams, output: Sequence[int], tokens: tuple[int, int]
    ) -> None:
        """A server tells no logits."""

    def reuse(self, generation: Generation) -> CacheUse | None:
        """What the last request found in the server's cache."""
        del generation
        return self._cache.use()

    def renew(self) -> None:
        """Ask for no depth any more; neither the server's caches nor its peak are ours to reset."""
        self._depth = None

    def close(self) -> None:
        """End the client."""
        self._client.close()

    def _fill(self, prompt: Prompt) -> RequestResult:
        """Have a prompt in the cache."""
        return self._ask(prompt, GenerationParams(max_new_tokens=1), empty=True)

    def _ask(self, prompt: Prompt, params: GenerationParams, *, empty: bool = False) -> RequestResult:
        """Send the next request of those that the cache was prepared for."""
        prompt, endpoint = self._cache.put(prompt, self._server.endpoint)
        result = self._send(prompt, params, endpoint, empty=empty)
        self._cache.asked(prompt, result)
        return result

    def _send(
        self, prompt: Prompt, params: GenerationParams, endpoint: Endpoint, *, empty: bool = False
    ) -> RequestResult:
        """Send a request; where an answer may be *empty*, one whose tokens have no text will do."""
        request = _request(prompt, params, endpoint)
        plan = LoadPlan(endpoint, (request,), params, concurrency=1, timeout=self._timeout)
        answered, words = send(self._client.run, plan)
        if words is not None:
            self._server.learn(words)
        (result,) = answered.requests
        if result.failure is not None and not (empty and result.failure.kind == "empty"):
            told = self._server.advice({result.failure.kind: result.failure.detail})
            helps = told or advice(self._server.endpoint, result)
            msg = f"{self._server.label}: {result.failure}{helps}{self._server.explain()}"
            kind = errors.EngineTimeoutError if result.failure.kind == "timeout" else errors.EngineError
            raise kind(msg)
        return result


def _request(prompt: Prompt, params: GenerationParams, endpoint: Endpoint) -> Request:
    if endpoint.api == "chat":
        return Request(params.max_new_tokens, messages=_said(prompt))
    if prompt.messages is not None:
        raise errors.UsageError(NEEDS_CHAT)
    return Request(params.max_new_tokens, prompt=prompt.text)


def _said(prompt: Prompt) -> tuple[Message, ...]:
    """A prompt as a chat."""
    return prompt.messages or ({"role": "user", "content": prompt.text or ""},)

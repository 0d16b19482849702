"""How is a server measured one request at a time, as an engine in a worker would be?

:class:`ServedEngine` is asked the same things as an engine's process, so that every benchmark of
``llm_model`` runs on a server too; its times are the load client's.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pytest_llmbench import errors
from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.client.plan import LoadPlan, Request, RequestResult
from pytest_llmbench.client.process import LoadClient
from pytest_llmbench.client.words import advice, send
from pytest_llmbench.hardware.cpu_time import TreeTime
from pytest_llmbench.measure.engine import Depth, Generation, Loaded, Prompt
from pytest_llmbench.measure.load import RunningServer
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.servers.endpoint import asked_without

# Requests of one token that may be spent to find a prompt of the wanted length.
_LENGTH_TRIES = 12


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
        self._cold = True
        self.loaded = Loaded(server.pid or 0, None, server.engine, server.versions)

    def prompt_of_tokens(self, tokens: int, seed: int) -> Prompt:
        """A made text that the server counts as *tokens* tokens, or as nearly so many as was found.

        Its true length is in every round. A request of one token is sent for each text that is tried. Where
        the server does not count its prompts, the length is a guess, and a warning says so.
        """
        from pytest_llmbench.workloads.requests import LEAST_TOKENS_PER_WORD, TokenEstimator, words_text

        most = math.ceil(tokens / LEAST_TOKENS_PER_WORD)
        counted: dict[int, int] = {}
        words = tokens
        while words not in counted and len(counted) < _LENGTH_TRIES:
            counted[words] = found = self._count(words_text(words, seed=seed))
            if not found or len(counted) > 1:
                estimator, note = TokenEstimator.fit_or_guess([*counted.items()])
                if note is not None:
                    errors.warn(f"{self._server.label}: {note}")
                    return Prompt(text=estimator.text_of(tokens, seed))
            missing = tokens - found
            words = min(max(1, words + (round(missing * words / found) or missing)), most)
        nearest = min(counted, key=lambda words: abs(tokens - counted[words]))
        return Prompt(text=words_text(nearest, seed=seed))

    def _count(self, text: str) -> int:
        """How many tokens the server counts for a text and all that it adds; 0 where it does not tell."""
        # In a stream, not every server tells what it counted.
        found = self._send(Prompt(text=text), GenerationParams(max_new_tokens=1), stream=False)
        return 0 if found.timeline is None else found.timeline.prompt_tokens

    def prepare(self, *, cold: bool) -> None:
        """Have the next request find no prefix cache of its own prompt, if *cold*."""
        self._cold = cold

    def deepen(self, tokens: int, seed: int) -> Depth | None:
        """Nothing can be put into a server's cache before.

        :raises errors.UsageError: for a depth above 0.
        """
        del seed
        if not tokens:
            return None
        msg = f"{self._server.label}: depth is for engines in a process of ours, not for servers"
        raise errors.UsageError(msg)

    def generate(self, prompt: Prompt, params: GenerationParams, *, keep_ids: bool = False) -> Generation:
        """One request; which token ids came is not known.

        :raises errors.EngineError: if it fails.
        """
        del keep_ids
        cpu_time = TreeTime(self._server.pid)
        result = self._send(prompt, params)
        had = cpu_time.until_now()
        assert result.timeline is not None
        # Not told of the prefill: when it ends, only the server knows.
        return Generation(result.timeline, result.text or "", None, cpu_time=had)

    def reset_peak(self) -> None:
        """Nothing: the server's peak is not ours to reset."""

    def close(self) -> None:
        """End the client."""
        self._client.close()

    def _send(self, prompt: Prompt, params: GenerationParams, *, stream: bool = True) -> RequestResult:
        endpoint = replace(self._server.endpoint, stream=stream)
        if self._cold and endpoint.extensions:
            # vLLM keeps prefixes apart by salt; llama-server can be told not to use its cache.
            endpoint = replace(endpoint, extras={"cache_salt": uuid.uuid4().hex, "cache_prompt": False})
        if endpoint.api == "chat":
            messages = prompt.messages or ({"role": "user", "content": prompt.text or ""},)
            request = Request(params.max_new_tokens, messages=messages)
        elif prompt.messages is None:
            request = Request(params.max_new_tokens, prompt=prompt.text)
        else:
            msg = "chat messages need the chat endpoint: --llm-option server.endpoint=chat"
            raise errors.UsageError(msg)
        plan = LoadPlan(endpoint, (request,), params, concurrency=1, timeout=self._timeout)
        answered, words = send(self._client.run, plan)
        if words is not None:
            self._server.learn(words)
        (result,) = answered.requests
        if result.failure is not None:
            told = self._server.advice({result.failure.kind: result.failure.detail})
            helps = told or advice(self._server.endpoint, result)
            msg = f"{self._server.label}: {result.failure}{helps}{self._server.explain()}"
            kind = errors.EngineTimeoutError if result.failure.kind == "timeout" else errors.EngineError
            raise kind(msg)
        return result

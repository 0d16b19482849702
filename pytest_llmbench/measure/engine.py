"""Where does the engine live, and what became of it?

:class:`EngineProcess` is a fresh worker process; :class:`LocalEngine` is the same engine in
pytest's own process, for a debugger. Both are asked the same things.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_llmbench import errors
from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.cpu_time import CPU_TIME, OF_PYTEST
from pytest_llmbench.measure.kv_cache import Choice
from pytest_llmbench.measure.worker import Host
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ResolvedModel
from pytest_llmbench.processes.child import Child
from pytest_llmbench.processes.serve import ENGINE
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.workloads.messages import Message


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a worker has to load; equal specs can share a process."""

    backend: str
    """As in ``--llm-backend``."""
    reference: str
    """``module:attribute`` of the backend, for the worker to import."""
    model: ResolvedModel
    options: Mapping[str, object]
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What messages and progress call it."""
        return f"{self.backend} {self.model.spec.label}"

    def start(self, isolation: str, timeout: float | None, started: Callable[[int], None]) -> EngineHandle:
        """A loaded engine: in a fresh process, or in this one where the isolation is ``none``."""
        kind = LocalEngine if isolation == "none" else EngineProcess
        return kind(self, timeout, started)

    def told(self) -> Mapping[str, object]:
        """Nothing: an engine in a process of ours is asked for all that the plan says."""
        return {}

    def load_request(self, *, same_process: bool) -> Json:
        """The worker's ``load`` operation."""
        model = {f.name: getattr(self.model, f.name) for f in dataclasses.fields(self.model)}
        model["spec"] = dataclasses.asdict(self.model.spec)
        model["path"] = str(self.model.path)
        # Backends of a conftest or of a src layout have to be found by the worker as well.
        share_path = not same_process and self.python == sys.executable
        return {
            "op": "load",
            "backend": self.reference,
            "model": model,
            "options": dict(self.options),
            "path": list(sys.path) if share_path else None,
        }


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the engine said when its model was ready."""

    pid: int
    load_time: float | None
    """Seconds, the import of the engine left out; None for a server that ran already."""
    engine: Mapping[str, object]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as the worker recorded it."""

    timeline: Timeline
    text: str
    peak_rss: int | None
    """Bytes, of the engine's process since its start; None without a process of its own."""
    instructions: int | None = None
    """That the engine's process ran in user space; None where nothing counts them."""
    cpu_time: float | None = None
    """Seconds of CPU that the engine's process had; None where that is not known."""
    prefill_cpu_time: float | None = None
    """Of them, those until the prompt was evaluated."""
    cpu_wait: float | None = None
    """Seconds that its threads were ready to run and had no CPU."""
    reuse: CacheUse | None = None
    """What of the prompt lay in the cache; None where nothing is known of it."""
    ids: tuple[int, ...] | None = None
    """What was generated, where it was asked for; without a token that ended it."""
    end: int | None = None
    """The token that ended it; None where none did, or where the ids are not known."""
    own_words: bool = False
    """Whether the prompt began with words of its own; see :attr:`.Round.own_words`."""
    answer: str | None = None
    """What of the text is not reasoning, as a chat goes on with it; None where that is not told apart."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What of a prompt lay in a prefix cache already."""

    possible: int | None
    """Tokens that the cache could have, by the ids; None where they are not known."""
    tokens: int | None
    """Tokens that were not evaluated again, as ``source`` reports; None where it is not reported."""
    source: str | None
    reason: str | None = None
    """Why ``tokens`` is None."""
    break_at: int | None = None
    """As :attr:`.CacheFacts.break_at`."""
    block: int = 1
    """Tokens of the blocks in which the cache keeps prompts."""
    doubt: str | None = None
    """What of the engine's own count contradicts ``tokens``."""


@dataclass(frozen=True, slots=True)
class Depth:
    """What was put into the KV cache before the prompt, once."""

    tokens: int
    size: int | None
    """Bytes of the copy that is kept of it; None on a server, which keeps none."""
    seconds: float
    """That making it took."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked: a text, or messages for its chat template."""

    text: str | None = None
    messages: tuple[Message, ...] | None = None
    answers: tuple[tuple[int, ...], ...] = ()
    """Token ids of the assistant's messages, the first of them first, where they are known: they stand in
    the prompt as they are, and their texts are not tokenized again."""

    @classmethod
    def of(cls, value: str | Sequence[Message]) -> Prompt:
        """A prompt from what a user passes.

        :raises errors.UsageError: for anything but a text or messages with role and content.
        """
        if isinstance(value, str):
            return cls(text=value)
        for index, message in enumerate(value):
            if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
                msg = (
                    f"message {index} of the prompt is {message!r}; each message needs 'role' and 'content', "
                    "as in {'role': 'user', 'content': 'Hello'}"
                )
                raise errors.UsageError(msg)
        return cls(messages=tuple(value))

    def to_json(self) -> Json:
        if self.messages is None:
            return {"text": self.text}
        known = {"answers": [list(one) for one in self.answers]} if self.answers else {}
        return {"messages": list(self.messages), **known}


class EngineHandle(Protocol):
    """A loaded engine, wherever it lives."""

    loaded: Loaded

    @property
    def own_words(self) -> bool:
        """Whether a cold prompt begins with words of its own, so that a warm one has another answer, and
        leaves something else in the cache."""

    def prompt_of_tokens(self, tokens: int, seed: int, before: str = "") -> Prompt: ...

    def deepen(self, tokens: int, seed: int, room: int) -> Depth | None: ...

    def prepare(self, *, cold: bool, begins: bool = False, timed: bool = True) -> None:
        """Do what must not happen in a round: it finds nothing in the cache if it is *cold*.

        :param begins: it is the first of several that are to find what each before it left, and nothing that
            was there before it.
        :param timed: whether it is a round; more may be asked in one that is not.
        """

    def reuse(self, generation: Generation) -> CacheUse | None:
        """What the last *generation* found in the cache; asked when the round is over, at most once."""

    def generate(self, prompt: Prompt, params: GenerationParams, *, keep_ids: bool = False) -> Generation: ...

    def choice(
        self, prompt: Prompt, params: GenerationParams, output: Sequence[int], tokens: tuple[int, int]
    ) -> Choice | None:
        """How near two *tokens* are after *prompt* and *output*, beside the engine's rounding.

        None where that is not known. The cache is empty afterwards.
        """

    def renew(self) -> None: ...

    def close(self) -> None: ...


_EVALUATIONS = 4
"""As how many generations comparing logits may take at most: two, with more tokens one by one."""
_COUNTED = ("instructions", "cpu_time", "prefill_cpu_time", "cpu_wait")
"""What of a generation the worker counts beside its times, if it can."""


class _Operations(ABC):
    """The requests, spelled once for both kinds of engine."""

    _own_peak = True
    """Whether the peak of the process's memory is the engine's."""

    @abstractmethod
    def _ask(self, request: Json, doing: str, generations: int = 1) -> Json:
        """Ask the worker.

        :param generations: how many it may take the time of.
        """

    def prompt_of_tokens(self, tokens: int, seed: int, before: str = "") -> Prompt:
        """A prompt of exactly *tokens* tokens, which begins with the text *before*."""
        request = {"op": "prompt", "tokens": tokens, "seed": seed, **({"before": before} if before else {})}
        response = self._ask(request, "making a prompt")
        return Prompt(text=response["text"])

    def deepen(self, tokens: int, seed: int, room: int) -> Depth | None:
        """Have each cold round find a text of *tokens* tokens in the KV cache; 0 takes it back.

        :param room: tokens that have to fit into the context behind them.
        :raises errors.EngineError: if the engine cannot keep the state of its cache.
        :raises errors.PromptTooLongError: if they do not fit.
        """
        request = {"op": "deepen", "tokens": tokens, "seed": seed, "room": room}
        response = self._ask(request, "filling its cache")
        return Depth(**response) if response else None

    @property
    def own_words(self) -> bool:
        """A cold prompt is the very same: the cache is emptied."""
        return False

    def prepare(self, *, cold: bool, begins: bool = False, timed: bool = True) -> None:
        """Empty the caches if *cold*, and do what must not happen in a round."""
        del begins, timed  # No other cache is left, once this one is empty.
        self._ask({"op": "prepare", "cold": cold}, "emptying its caches")

    def generate(self, prompt: Prompt, params: GenerationParams, *, keep_ids: bool = False) -> Generation:
        """One recorded generation."""
        request = {"op": "generate", "params": dataclasses.asdict(params), **prompt.to_json()}
        response = self._ask(request | ({"keep_ids": True} if keep_ids else {}), "generating")
        timeline = Timeline.from_json(response["timeline"])
        # Another environment may have a version that does not count.
        counted: dict[str, Any] = {name: response.get(name) for name in _COUNTED}
        reuse, ids = response.get("reuse"), response.get("ids")
        return Generation(
            timeline,
            response["text"],
            response["peak_rss"],
            **counted,
            reuse=None if reuse is None else CacheUse(**reuse),
            ids=None if ids is None else tuple(ids),
            end=response.get("end"),
        )

    def choice(
        self, prompt: Prompt, params: GenerationParams, output: Sequence[int], tokens: tuple[int, int]
    ) -> Choice | None:
        """How near two *tokens* are after *prompt* and *output*; None where the engine gives no logits."""
        request = {
            "op": "choice",
            "params": dataclasses.asdict(params),
            **prompt.to_json(),
            "output": list(output),
            "tokens": list(tokens),
        }
        response = self._ask(request, "comparing its logits", generations=_EVALUATIONS)
        return Choice(**response) if response else None

    def reuse(self, generation: Generation) -> CacheUse | None:
        """What it found in the cache: the engine's process has told it."""
        return generation.reuse

    def renew(self) -> None:
        """Leave nothing of the case before in an engine that several share."""
        self._ask({"op": "renew", "peak": self._own_peak}, "emptying its caches")


class LocalEngine(_Operations):
    """The engine in this process: a debugger sees it, and a crash takes the session along."""

    _own_peak = False

    def __init__(
        self, spec: EngineSpec, timeout: float | None = None, started: Callable[[int], None] = lambda _: None
    ) -> None:
        del timeout  # No process is left to end a hang in this process; the documentation says so.
        started(os.getpid())
        self._host = Host()
        response = self._ask(spec.load_request(same_process=True), "loading")
        engine = {**response["engine"], CPU_TIME: OF_PYTEST}
        self.loaded = Loaded(os.getpid(), response["load_time"], engine, response["versions"])

    def _ask(self, request: Json, doing: str, generations: int = 1) -> Json:
        del doing, generations
        return self._host.handle(request)

    def generate(self, prompt: Prompt, params: GenerationParams, *, keep_ids: bool = False) -> Generation:
        """One recorded generation; peak memory and CPU time of pytest's process are not the engine's."""
        generation = super().generate(prompt, params, keep_ids=keep_ids)
        return dataclasses.replace(
            generation, peak_rss=None, cpu_time=None, prefill_cpu_time=None, cpu_wait=None
        )

    def close(self) -> None:
        """Free the model."""
        self._host.close()


class EngineProcess(_Operations):
    """A fresh process with one engine in it.

    :param timeout: seconds that one load or one generation may take; None waits forever.
    :param started: called with the process's id before it does anything, so that a monitor sees all of it.
    :raises errors.EngineError: and its kinds, whenever the engine fails; the process is gone then.
    """

    def __init__(
        self, spec: EngineSpec, timeout: float | None = None, started: Callable[[int], None] = lambda _: None
    ) -> None:
        self._timeout = timeout
        self._child = Child(
            "pytest_llmbench.measure.worker",
            label=spec.label,
            kind=ENGINE,
            python=spec.python,
            environment=spec.environment,
            timeout=timeout,
            started=started,
        )
        try:
            response = self._ask(spec.load_request(same_process=False), "loading the model")
        except BaseException:
            self._child.kill()
            raise
        self.loaded = Loaded(self.pid, response["load_time"], response["engine"], response["versions"])

    @property
    def pid(self) -> int:
        return self._child.pid

    def close(self) -> None:
        """Let the worker free its model; end it if it does not."""
        self._child.close()

    def kill(self) -> None:
        """End the worker and whatever it started, at once."""
        self._child.kill()

    def _ask(self, request: Json, doing: str, generations: int = 1) -> Json:
        timeout = None if self._timeout is None else self._timeout * generations
        return self._child.ask(request, doing, timeout)

"""What happens in the engine's own process?

``python -m pytest_llmbench.measure.worker FD`` answers requests over the socket FD until it is
closed. :class:`Host` does the work and is used without a process too (``--llm-isolation=none``).
The interpreter may belong to another environment, so only the standard library is imported here.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench import errors
from pytest_llmbench.backends.base import Backend, Engine, GenerationParams
from pytest_llmbench.backends.cpu_time import CPU_TIME, told_of_cpu_time
from pytest_llmbench.backends.registry import from_reference
from pytest_llmbench.hardware.cpu_time import read_cpu
from pytest_llmbench.hardware.instructions import InstructionCounter, open_counter
from pytest_llmbench.measure.kv_cache import CacheWatch
from pytest_llmbench.metrics.timeline import NANO, Recorder, Timeline, hash_tokens
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel
from pytest_llmbench.processes.serve import peak_rss, prefer_for_oom_kill, serve
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.workloads.prompts import prompt_of_tokens

if TYPE_CHECKING:
    from pytest_llmbench.workloads.messages import Message


class Host:
    """One engine and what can be asked of it; every request and response is JSON-able.

    :param counter: of the instructions of this process, opened before any engine's threads.
    :param uncounted: why there is none.
    """

    def __init__(self, counter: InstructionCounter | None = None, uncounted: str | None = None) -> None:
        self._engine: Engine | None = None
        self._cache: CacheWatch | None = None
        self._counter = counter
        self._uncounted = uncounted
        self._operations: dict[str, Callable[..., Json]] = {
            "load": self.load,
            "prompt": self.prompt,
            "deepen": self.deepen,
            "prepare": self.prepare,
            "generate": self.generate,
            "choice": self.choice,
            "renew": self.renew,
            "close": self.close,
        }

    def handle(self, request: Json) -> Json:
        """Answer one request ``{"op": NAME, ...}``."""
        arguments = {key: value for key, value in request.items() if key != "op"}
        return self._operations[request["op"]](**arguments)

    def load(self, *, backend: str, model: Json, options: Json, path: list[str] | None = None) -> Json:
        """Import the engine, then load the model; only the latter is ``load_time``."""
        if path is not None:
            sys.path[:] = path
        described: Backend = from_reference(backend)
        for name in described.modules:
            importlib.import_module(name)
        resolved = ResolvedModel(
            **{**model, "spec": ModelSpec(**model["spec"]), "path": Path(model["path"])},
        )
        started = time.perf_counter_ns()
        self._engine = described.load(resolved, options)
        load_time = (time.perf_counter_ns() - started) * NANO
        self._cache = CacheWatch(self._engine)
        # What the import and the load left is never garbage: the collector need not walk it in a round.
        gc.collect()
        gc.freeze()
        return {
            "load_time": load_time,
            "engine": {
                **self._engine.info,
                "context_length": self._engine.context_length,
                "python": platform.python_version(),
                CPU_TIME: told_of_cpu_time(self._engine.info),
                "instructions": "counted" if self._counter is not None else self._uncounted,
            },
            "versions": dict(described.versions()),
            "peak_rss": peak_rss(),
        }

    def prompt(self, *, tokens: int, seed: int, before: str = "") -> Json:
        """A text of exactly *tokens* tokens: special tokens included, unless a depth has them already.

        :param before: what it begins with.
        """
        engine, tokenize = self._loaded(), self._watched().tokenize
        return {"text": prompt_of_tokens(tokens, tokenize, engine.detokenize, seed=seed, before=before)}

    def deepen(self, *, tokens: int, seed: int, room: int) -> Json:
        """Have each cold round find a text of *tokens* tokens in the KV cache; 0 for nothing.

        :param room: tokens of a prompt and an answer that have to fit into the context behind them.
        """
        cache = self._watched()
        cache.shallow()
        if not tokens:
            return {}
        text = self.prompt(tokens=tokens, seed=seed)["text"]
        ids = cache.tokenize(text)
        started = time.perf_counter_ns()
        state = cache.deepen(ids, room)
        seconds = (time.perf_counter_ns() - started) * NANO
        return {"tokens": len(state.tokens), "size": state.size, "seconds": seconds}

    def prepare(self, *, cold: bool) -> Json:
        """What has to be done before a round and must not be in it."""
        cache = self._watched()
        if cold:
            cache.empty()
        gc.collect()
        return {}

    def generate(
        self,
        *,
        params: Json,
        text: str | None = None,
        messages: list[Message] | None = None,
        answers: list[list[int]] | None = None,
        keep_ids: bool = False,
    ) -> Json:
        """One generation, recorded.

        :param answers: the ids of the assistant's messages, where they are known.
        :param keep_ids: whether the response has the ids of what was generated, and apart from them one that
            ended it.
        """
        engine, cache = self._loaded(), self._watched()
        parameters = GenerationParams(**params)
        recorder = Recorder()
        clock = time.perf_counter_ns
        before = None if self._counter is None else self._counter.read()
        cpu_before = read_cpu()
        sent = clock()
        prompt = cache.prompt_of(text or "", messages, answers or ())
        tokenized = clock()
        try:
            finish_reason = engine.generate(prompt, parameters, recorder)
        except BaseException:
            cache.lost()
            raise
        done = clock()
        cpu_time, cpu_wait = cpu_before.until(read_cpu())
        prefill_cpu = recorder.prefill_cpu
        after = None if self._counter is None else self._counter.read()
        ended = 1 if finish_reason == "stop" else 0
        timeline = Timeline(
            sent=sent,
            tokenized=tokenized,
            prefilled=recorder.prefill_time,
            token_times=tuple(recorder.times),
            done=done,
            prompt_tokens=len(prompt),
            output_tokens=len(recorder.tokens),
            output_hash=hash_tokens(recorder.tokens),
            prompt_hash=hash_tokens(prompt),
            finish_reason=finish_reason,
        )
        return {
            "timeline": timeline.to_json(),
            "text": engine.detokenize(recorder.tokens),
            "peak_rss": peak_rss(),
            "instructions": None if before is None else before.until(after),
            "cpu_time": cpu_time,
            "prefill_cpu_time": None if prefill_cpu is None else (prefill_cpu - cpu_before.used) * NANO,
            "cpu_wait": cpu_wait,
            "reuse": cache.after(prompt, recorder.tokens),
            # A token that ended the sequence is the template's to write, and was not evaluated.
            "ids": recorder.tokens[: len(recorder.tokens) - ended] if keep_ids else None,
            "end": recorder.tokens[-1] if keep_ids and ended else None,
        }

    def choice(
        self,
        *,
        params: Json,
        output: list[int],
        tokens: list[int],
        text: str | None = None,
        messages: list[Message] | None = None,
        answers: list[list[int]] | None = None,
    ) -> Json:
        """How near two *tokens* are after a prompt and *output*, and how much the engine rounds there; empty
        where it does not tell."""
        cache = self._watched()
        prompt = cache.prompt_of(text or "", messages, answers or ())
        found = cache.choice(prompt, output, tokens, GenerationParams(**params))
        return {} if found is None else asdict(found)

    def renew(self, *, peak: bool) -> Json:
        """Leave nothing of the case before, for a process that several share: no depth, and empty caches.

        :param peak: whether the peak of the resident set starts anew as well.
        """
        self._watched().shallow()
        gc.collect()
        if peak:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")
        return {}

    def close(self) -> Json:
        """Free the engine."""
        engine, self._engine, self._cache = self._engine, None, None
        if engine is not None:
            engine.close()
        gc.unfreeze()
        gc.collect()
        return {}

    def _watched(self) -> CacheWatch:
        self._loaded()
        assert self._cache is not None
        return self._cache

    def _loaded(self) -> Engine:
        if self._engine is None:
            msg = "the worker was asked to work before a model was loaded"
            raise errors.EngineError(msg)
        return self._engine


def main() -> None:
    """Be an engine's process."""
    prefer_for_oom_kill()
    host = Host(*open_counter())
    serve(int(sys.argv[1]), lambda request, _: host.handle(request))


if __name__ == "__main__":
    main()

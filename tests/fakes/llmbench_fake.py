"""An engine for tests of the plugin: no weights, a token a character, and failures on request.

``LLMBENCH_FAKE_SECONDS`` makes a token take longer, as a slower build of the same engine would.
A prompt that contains ``!segfault``, ``!killed``, ``!exit``, ``!hang``, ``!raise`` or ``!oom`` makes
it fail that way when it generates; ``!after=N`` lets N generations pass first.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmbench.backends.base import Availability, GenerationParams, OptionSpec, Sink
from pytest_llmbench.errors import EngineError, PromptTooLongError
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.workloads.messages import Message


class FakeEngine:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.context_length = options["context"]
        self.options = dict(options)
        self.generations = 0
        self.cached: list[int] = []

    @property
    def info(self) -> Mapping[str, Any]:
        return {"engine": "fake", **self.options}

    def tokenize(self, text: str) -> list[int]:
        return [1, *map(ord, text)]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, (token for token in tokens if token != 1)))

    def render_chat(self, messages: Sequence[Message]) -> str:
        return "".join(f"<{m['role']}>{m['content']}" for m in messages)

    def tokenize_rendered(self, text: str) -> list[int]:
        return self.tokenize(text)

    def reset(self) -> None:
        self.cached = []

    def generate(self, prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
        text = self.detokenize(prompt)
        if len(prompt) + params.max_new_tokens > self.context_length:
            wanted = f"{len(prompt)} prompt tokens and {params.max_new_tokens} more"
            msg = f"{wanted} do not fit {self.context_length}"
            raise PromptTooLongError(msg)
        self.generations += 1
        after = re.search(r"!after=(\d+)", text)
        if after is None or self.generations > int(after[1]):
            self._fail(text)
        self.cached = list(prompt)
        sink.prefilled()
        for index in range(params.max_new_tokens):
            time.sleep(self.options["seconds_per_token"] + float(os.environ.get("LLMBENCH_FAKE_SECONDS", 0)))
            sink.token(ord("a") + index % 26)
        return "length"

    def close(self) -> None:
        pass

    def _fail(self, text: str) -> None:
        if "!segfault" in text:
            print("about to touch page zero", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if "!killed" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "!exit" in text:
            os._exit(3)
        if "!hang" in text:
            time.sleep(3600)
        if "!raise" in text:
            msg = "tensor of the wrong shape"
            raise RuntimeError(msg)
        if "!oom" in text:
            raise MemoryError


class FakeBackend:
    name = "fake"
    extra = "fake"
    form: Form = "hf"
    quantizations: tuple[str, ...] = ("f16", "q8_0")
    modules: tuple[str, ...] = ()
    options = (
        OptionSpec("context", int, 4096, "Tokens of context"),
        OptionSpec("seconds_per_token", float, 0.0, "Time a token takes"),
        OptionSpec("load", str, "", "How loading fails", choices=("", "raise", "segfault", "hang")),
    )

    def availability(self) -> Availability:
        return Availability(True)

    def versions(self) -> Mapping[str, str]:
        return {"fake": "1.0"}

    def load(self, model: ResolvedModel, options: Mapping[str, Any]) -> FakeEngine:
        if options["load"] == "raise":
            msg = "these weights are of another model"
            raise EngineError(msg)
        if options["load"] == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if options["load"] == "hang":
            time.sleep(3600)
        return FakeEngine(options)


backend = FakeBackend()

"""An engine for tests of the plugin: no weights, a token a character, and failures on request.

``LLMBENCH_FAKE_SECONDS`` makes a token take longer, as a slower build of the same engine would.
A prompt that contains ``!segfault``, ``!killed``, ``!exit``, ``!hang``, ``!raise`` or ``!oom`` makes
it fail that way when it generates; ``!after=N`` lets N generations pass first. ``LLMBENCH_FAKE_HANGS`` names
a file that is there once it hangs.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from pytest_llmbench.backends.base import Availability, GenerationParams, OptionSpec, Sink
from pytest_llmbench.backends.checks import check_length
from pytest_llmbench.errors import EngineError
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.workloads.messages import Message

BEGIN = "<s>"


class FakeEngine:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.context_length = options["context"]
        self.options = dict(options)
        self.generations = 0
        self.cached: list[int] = []
        self.evaluated: list[int] = []
        self.template: str | None = BEGIN + "{chat}"
        self.end: int | None = None

    @property
    def info(self) -> Mapping[str, Any]:
        return {"engine": "fake", **self.options}

    def tokenize(self, text: str) -> list[int]:
        return [1, *map(ord, text)]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, (token for token in tokens if token != 1)))

    def render_chat(self, messages: Sequence[Message]) -> str:
        if self.template is None:
            msg = "the model has no chat template"
            raise EngineError(msg)
        return self.template.format(chat="".join(f"<{m['role']}>{m['content']}" for m in messages))

    def tokenize_rendered(self, text: str) -> list[int]:
        return self.tokenize(text.removeprefix(BEGIN))

    def reset(self) -> None:
        self.cached = []

    def generate(self, prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
        text = self.detokenize(prompt)
        output, context = params.max_new_tokens, self.context_length
        check_length(prompt=len(prompt), output=output, context=context, trained=None, option="fake.context")
        self.generations += 1
        after = re.search(r"!after=(\d+)", text)
        if after is None or self.generations > int(after[1]):
            self._fail(text)
        known = list(takewhile(lambda pair: pair[0] == pair[1], zip(self.cached, prompt, strict=False)))
        self.evaluated.append(max(1, len(prompt) - len(known)))
        self.cached = list(prompt)
        sink.prefilled()
        draw = random.Random(params.seed)
        for index in range(output):
            if index > 0:
                self.evaluated.append(1)
            time.sleep(self.options["seconds_per_token"] + float(os.environ.get("LLMBENCH_FAKE_SECONDS", 0)))
            sampled = draw.randrange(26) if params.temperature > 0.1 else index % 26
            token = ord("a") + sampled
            if token == self.end and params.ignore_eos:
                token = ord("A")
            sink.token(token)
            if token == self.end:
                return "stop"
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
            Path(os.environ.get("LLMBENCH_FAKE_HANGS", os.devnull)).touch()
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
        OptionSpec("context", int, 4096, "Tokens of context", context=True, default_context=4096),
        OptionSpec("seconds_per_token", float, 0.0, "Time a token takes"),
        OptionSpec("load", str, "", "How loading fails", choices=("", "raise", "segfault", "hang")),
    )

    def availability(self) -> Availability:
        return Availability(True)

    def versions(self) -> Mapping[str, str]:
        return {"fake": "1.0"}

    def kv_bits(self, outline: object, quantization: str | None, options: object) -> tuple[float, float]:
        return 16.0, 16.0

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

"""An engine for tests of the plugin: no weights, a token a character, and failures on request.

``LLMBENCH_FAKE_SECONDS`` makes a token take longer, as a slower build of the same engine would.
A prompt that contains ``!segfault``, ``!killed``, ``!exit``, ``!hang``, ``!raise`` or ``!oom`` makes
it fail that way when it generates; ``!after=N`` lets N generations pass first. ``LLMBENCH_FAKE_HANGS`` names
a file that is there once it hangs.

It keeps what it generated in a cache, and says what it reuses of it. ``!differs`` in a prompt makes the last
tokens others where a part of it was reused, ``!ties`` does so where they are nearly as likely, and
``!overclaims`` has it say that it reused more than it can. ``!doubts`` has it doubt what it says.
``!ends`` has it end after three tokens, with an end token, where it may.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmbench.backends.base import (
    Availability,
    GenerationParams,
    OptionSpec,
    Reuse,
    SavedState,
    Sink,
)
from pytest_llmbench.backends.checks import check_depth, check_length
from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.errors import EngineError
from pytest_llmbench.models.spec import Form, ResolvedModel
from pytest_llmbench.workloads.messages import Message

BEGIN = "<s>"
END = 2
"""The token that ends an answer; it is no text."""


class FakeEngine:
    def __init__(self, options: Mapping[str, Any]) -> None:
        self.context_length = options["context"]
        self.options = dict(options)
        self.generations = 0
        self.cached: list[int] = []
        self.reuse = Reuse(None, "cut", "no prompt was evaluated")
        self.evaluated: list[int] = []
        self.template: str | None = BEGIN + "{chat}"
        self.end: int | None = None

    @property
    def info(self) -> Mapping[str, Any]:
        return {"engine": "fake", **self.options}

    def tokenize(self, text: str) -> list[int]:
        return [1, *map(ord, text)]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, (token for token in tokens if token not in (1, END))))

    def render_chat(self, messages: Sequence[Message]) -> str:
        if self.template is None:
            msg = "the model has no chat template"
            raise EngineError(msg)
        said = "".join(f"<{m['role']}>{m['content']}" for m in messages)
        return self.template.format(chat=f"{said}<assistant>")

    def tokenize_rendered(self, text: str) -> list[int]:
        return [1, *self.tokenize_part(text.removeprefix(BEGIN))]

    def tokenize_part(self, text: str) -> list[int]:
        return [*map(ord, text.replace(BEGIN, chr(1)))]

    def reset(self) -> None:
        self.cached = []

    def reused(self) -> Reuse:
        return self.reuse

    def evaluate(self, tokens: Sequence[int], room: int = 1) -> None:
        context = self.context_length
        check_depth(tokens=len(tokens), room=room, context=context, trained=None, option="fake.context")
        self.evaluated.append(len(tokens))
        self.cached = list(tokens)

    def save_state(self) -> SavedState:
        return SavedState(tuple(self.cached), 8 * len(self.cached), None)

    def restore_state(self, state: SavedState) -> None:
        self.cached = list(state.tokens)

    def generate(self, prompt: Sequence[int], params: GenerationParams, sink: Sink) -> str:
        text = self.detokenize(prompt)
        output, context = params.max_new_tokens, self.context_length
        check_length(prompt=len(prompt), output=output, context=context, trained=None, option="fake.context")
        self.generations += 1
        after = re.search(r"!after=(\d+)", text)
        if after is None or self.generations > int(after[1]):
            self._fail(text)
        known = min(common_prefix(self.cached, prompt), len(prompt) - 1)
        self.evaluated.append(len(prompt) - known)
        said = known + 1000 * ("!overclaims" in text and known > 0)
        self.reuse = Reuse(said, "cut", doubt="its count differs" if "!doubts" in text else None)
        self.cached = []
        sink.prefilled()
        generated: list[int] = []
        draw = random.Random(params.seed)
        for index in range(output):
            if index > 0:
                self.evaluated.append(1)
            time.sleep(self.options["seconds_per_token"] + float(os.environ.get("LLMBENCH_FAKE_SECONDS", 0)))
            sampled = draw.randrange(26) if params.temperature > 0.1 else index % 26
            token = ord("a") + sampled
            if index > 1 and known and ("!differs" in text or "!ties" in text):
                token = ord("#")
            if index == 3 and "!ends" in text:
                token = END
            if token in (self.end, END) and params.ignore_eos:
                token = ord("A")
            self.cached = [*prompt, *generated]
            generated.append(token)
            sink.token(token)
            if token in (self.end, END):
                return "stop"
        return "length"

    def logits(self, tokens: Sequence[int], at_once: int, params: GenerationParams) -> Sequence[float]:
        self.evaluated += [at_once, *[1] * (len(tokens) - at_once)]
        self.cached = []
        found = [0.0 if at_once > 1 else 0.001] * 128
        found[ord("a") : ord("z") + 1] = [4.9] * 26
        # How much of an answer is there already: it goes through the alphabet.
        said = next(n for n in range(25, -1, -1) if list(tokens[len(tokens) - n :]) == [*range(97, 97 + n)])
        found[ord("a") + said] = 5.0
        found[ord("#")] = 4.999 if "!ties" in self.detokenize(tokens) else 4.0
        for end in (self.end, END):
            if end is not None and params.ignore_eos:
                found[end] = float("-inf")
        return found

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

    def load_vocabulary(self, spec: object, path: object, options: Mapping[str, Any]) -> FakeEngine:
        return FakeEngine(options)

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

"""How does an engine run here: as the plugin runs it, and bare?"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pairs import NotMeasuredError

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.registry import Registry, reference_of
from pytest_llmbench.errors import BackendUnavailableError
from pytest_llmbench.measure.engine import EngineHandle, EngineSpec, Prompt
from pytest_llmbench.measure.loop import Bench, EnginePool, Plan
from pytest_llmbench.measure.run import Round
from pytest_llmbench.models.resolve import resolve
from pytest_llmbench.models.spec import ModelSpec

PROMPT = "Explain what a benchmark is in three sentences."
LARGE = "synthetic/llama-82m"
_TIMEOUT = 300.0


class NoProgress:
    """Shows nothing."""

    def loading(self, label: str) -> None: ...

    def asking(self, label: str, what: str) -> None: ...

    def round(self, *_: object, **__: object) -> None: ...

    def done(self) -> None: ...


def spec_of(backend: str, model: str, quantization: str, options: Mapping[str, Any]) -> EngineSpec:
    """What a process of an engine has to load.

    :raises BackendUnavailableError: if the engine is not installed.
    """
    described = Registry().get(backend)
    availability = described.availability()
    if not availability.available:
        raise BackendUnavailableError(availability.reason)
    return EngineSpec(
        backend=backend,
        reference=reference_of(described),
        model=resolve(ModelSpec(model, quantization), described.form),
        options=option_values(described, options),
    )


@contextmanager
def handle(backend: str, model: str, quantization: str, options: Mapping[str, Any]) -> Iterator[EngineHandle]:
    """A loaded engine in a process of its own, asked without the measuring loop.

    :raises BackendUnavailableError: if the engine is not installed.
    """
    engine = spec_of(backend, model, quantization, options).start("test", _TIMEOUT, lambda _: None)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def bench(backend: str, model: str, quantization: str, tokens: int) -> Iterator[Bench]:
    """A loaded engine in a process of its own, its rounds done by the plugin's own code.

    :raises BackendUnavailableError: if the engine is not installed.
    """
    spec = spec_of(backend, model, quantization, {})
    plan = Plan(spec, GenerationParams(tokens), timeout=_TIMEOUT, prompt=Prompt.of(PROMPT))
    ours = Bench(plan, EnginePool(), None, NoProgress())
    try:
        yield ours
    finally:
        ours.close()


def decode_speed(measured: Round) -> float:
    """Tokens a second from the first token to the last, as the metric table has it."""
    speed = measured.value("decode_throughput")
    if speed is None:
        msg = f"a generation of {measured.timeline.output_tokens} tokens has no decode speed"
        raise NotMeasuredError(msg)
    return speed


class Bare:
    """A process that runs ``bare.py`` with *setup*."""

    def __init__(self, engine: str, setup: Mapping[str, Any]) -> None:
        script = Path(__file__).with_name("bare.py")
        # Engines warn of much that is not for here; it is shown if the process fails.
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # lives as long as this
        self._process = subprocess.Popen(
            [sys.executable, str(script), engine, json.dumps(setup)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def decode_speed(self, tokens: int, same_as: Round) -> float:
        """Tokens a second of one generation; it must have the output of *same_as*.

        :raises NotMeasuredError: as :meth:`ask` and :func:`check_same`.
        """
        seconds, output_hash = self.ask(PROMPT, tokens)
        check_same(output_hash, same_as)
        return (tokens - 1) / seconds

    def ask(self, prompt: str, tokens: int, **more: object) -> tuple[float, str]:
        """What ``bare.py`` times of one generation, in seconds, and the hash of its output.

        :raises NotMeasuredError: if the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"prompt": prompt, "tokens": tokens, **more}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait(20)
            self._said.seek(0)
            msg = f"the bare engine's process ended with status {status}: {self._said.read()[-1000:]}"
            raise NotMeasuredError(msg)
        answer = json.loads(line)
        return float(answer["seconds"]), str(answer["output_hash"])


def check_same(output_hash: str, same_as: Round) -> None:
    """Hold the output of the bare engine against that of a round of ours.

    :raises NotMeasuredError: if it did other work.
    """
    if output_hash != same_as.timeline.output_hash:
        msg = "the bare engine generated other tokens than the plugin's: the two did not do the same work"
        raise NotMeasuredError(msg)

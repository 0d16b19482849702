"""What can be set for a case, and which values can it have?

One table, :data:`SETTINGS`: each row is a marker key, a command line option and an ini option of
the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.settings.values import (
    AT_ONCE,
    FAST,
    LONG,
    above,
    arrivals,
    backend_options,
    failures,
    flag,
    fraction,
    isolation,
    length,
    names,
    real,
    says_nothing,
    several,
    slo,
    text,
    thresholds,
    time_unit,
    whole,
)

if TYPE_CHECKING:
    import pytest

AUTO = "auto"
IniType = Literal["string", "int", "float", "bool", "args", "linelist"]


KINDS = {
    "model": "what llm_model measures",
    "engine": "models in a process of their own",
    "sampled": "a temperature above 0",
    "running": "servers that run already (--llm-base-url)",
    "started": "servers that are started (--llm-serve)",
    "docker": "servers in a container (--llm-serve=docker:ENGINE)",
    "https": "servers behind https://",
    "load": "load levels (llm_load)",
    "closed": "load levels of a concurrency",
    "open": "load levels at a request rate",
    "made": "load levels with made prompts",
}
"""What a case can be, in words; a setting or an option of a backend may be for some of them only."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: ``key`` is the marker key, ``llm_KEY`` the ini option, ``flag`` the command line's.

    Without a flag it is a marker key only.
    """

    key: str
    flag: str
    parse: Callable[[Any], Any]
    default: Any
    help: str
    metavar: str = "N"
    many: bool = False
    ini_type: IniType = "string"
    path: bool = False
    """Whether it is a file's or a folder's path; see :mod:`pytest_llmbench.models.paths`."""
    only: tuple[str, ...] = ()
    """The kinds of cases (:data:`KINDS`) for which it does anything; empty is all."""
    also: tuple[str, ...] = ()
    """What other tools call it, as an option without its dashes: known in messages, not taken."""

    @property
    def ini(self) -> str:
        return f"llm_{self.key}"

    def read(self, value: Any, where: str) -> Any:
        """The parsed value.

        :raises UsageError: saying where it stands and what it must be.
        """
        # A marker's empty list or table takes back what stands elsewhere, if none is what holds by default.
        if says_nothing(value) and (isinstance(value, str) or len(value) or self.default not in ((), {})):
            msg = f"{where} names nothing: give {self.parse.__doc__}, or leave it out"
            raise UsageError(msg)
        try:
            return self.parse(value)
        except (ValueError, TypeError, OverflowError):
            msg = f"{where}: {value!r} is not {self.parse.__doc__}"
            raise UsageError(msg) from None


SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(
            "models",
            "--llm-model",
            names,
            ("tiny",),
            "Model to run: tiny, synthetic/NAME, a path, a hub id ORG/NAME[@REVISION] or an alias",
            "NAME",
            many=True,
            ini_type="args",
            also=("model",),
        ),
        Setting(
            "backends",
            "--llm-backend",
            names,
            (AUTO,),
            "Backend to run on; auto runs every in-process engine that is installed",
            "NAME",
            many=True,
            ini_type="args",
            also=("backend",),
        ),
        Setting(
            "quantizations",
            "--llm-quantization",
            names,
            (),
            "Quantization to run, such as f16 or q4_k_m",
            "NAME",
            many=True,
            ini_type="args",
            only=("engine", "started"),
            also=("quant", "quantize"),
        ),
        Setting(
            "backend_options",
            "--llm-option",
            backend_options,
            {},
            "Option of a backend, such as llamacpp.n_threads=2",
            "BACKEND.NAME=VALUE",
            many=True,
            ini_type="linelist",
        ),
        Setting(
            "max_new_tokens",
            "--llm-max-new-tokens",
            whole(1),
            64,
            "Tokens to generate in a round",
            also=("max-tokens", "n-predict", "n-gen", "output-len"),
        ),
        Setting(
            "rounds",
            "--llm-rounds",
            whole(1),
            5,
            "Measured rounds in each process",
            only=("model",),
            also=("repetitions", "benchmark-min-rounds", "num-iters"),
        ),
        Setting(
            "warmup_rounds",
            "--llm-warmup-rounds",
            whole(0),
            1,
            "Rounds before them that are not measured",
            only=("model",),
            also=("benchmark-warmup-iterations", "num-iters-warmup"),
        ),
        Setting("processes", "--llm-processes", whole(1), 1, "Fresh engine processes for each case"),
        Setting(
            "timeout",
            "--llm-timeout",
            real(0.001),
            600.0,
            "Seconds that one load or one round may take",
            "SECONDS",
        ),
        Setting(
            "isolation",
            "--llm-isolation",
            isolation,
            "test",
            "test: a fresh process for each test; model: one shared by consecutive tests of a model; "
            "none: pytest's own process, for a debugger",
            "KIND",
            only=("engine",),
        ),
        Setting(
            "seed",
            "--llm-seed",
            whole(0, 2**63 - 1),
            0,
            "Seed of sampling and of made prompts",
            also=("random-seed",),
        ),
        Setting("temperature", "--llm-temperature", real(0), 0.0, "0 is greedy decoding", "X"),
        Setting(
            "top_k",
            "--llm-top-k",
            whole(0, 2**31 - 1),
            0,
            "Sample among so many tokens; 0 is all",
            only=("sampled",),
        ),
        Setting(
            "top_p",
            "--llm-top-p",
            fraction,
            1.0,
            "Sample within this probability mass; 1 is all",
            "X",
            only=("sampled",),
        ),
        Setting(
            "ignore_eos",
            "--llm-ignore-eos",
            flag,
            True,
            "Generate exactly max_new_tokens, past an end of sequence",
            "BOOL",
        ),
        Setting(
            "prefix_cache",
            "--llm-prefix-cache",
            flag,
            False,
            "Leave the KV cache of the round before",
            "BOOL",
        ),
        Setting(
            "base_url",
            "--llm-base-url",
            names,
            (),
            "OpenAI-compatible server that runs already, such as http://localhost:8000/v1",
            "URL",
            many=True,
            ini_type="args",
            only=("running",),
            also=("target", "url"),
        ),
        Setting(
            "serve",
            "--llm-serve",
            names,
            (),
            "Server to start for the tests: vllm, llamacpp-server, ... or docker:vllm",
            "ENGINE",
            many=True,
            ini_type="args",
            only=("started",),
        ),
        Setting(
            "concurrency",
            "--llm-concurrency",
            several(whole(1, AT_ONCE)),
            (),
            "Requests at once, one load level each: the next is sent when one has ended",
            many=True,
            ini_type="args",
            only=("closed",),
            also=("max-concurrency",),
        ),
        Setting(
            "request_rate",
            "--llm-request-rate",
            several(above(FAST)),
            (),
            "Requests a second, one load level each, sent whether or not earlier ones have ended",
            "X",
            many=True,
            ini_type="args",
            only=("open",),
            also=("rate", "rps", "qps"),
        ),
        Setting(
            "arrivals",
            "--llm-arrivals",
            arrivals,
            "poisson",
            "How requests at a rate come: poisson, constant, burst[:SIZE], ramp[:START]; or trace, at a data "
            "set's times",
            "KIND",
            only=("open",),
            also=("arrival-pattern", "burstiness", "rate-type", "profile"),
        ),
        Setting(
            "requests",
            "--llm-requests",
            whole(1),
            None,
            "Measured requests of a load level; default: 4 times the concurrency and at least 64, or 30 "
            "seconds at the rate and at least 125",
            only=("load",),
            also=("num-prompts", "request-count", "max-requests", "num-requests"),
        ),
        Setting(
            "duration",
            "--llm-duration",
            above(LONG),
            None,
            "Seconds after which a load level sends no more, instead of a number of requests",
            "SECONDS",
            only=("load",),
            also=("max-seconds", "benchmark-duration"),
        ),
        Setting(
            "warmup_requests",
            "--llm-warmup-requests",
            whole(0),
            None,
            "Requests of a load level that come first and are not measured; default: the concurrency",
            only=("load",),
            also=("num-warmups", "warmup-request-count"),
        ),
        Setting(
            "slo",
            "--llm-slo",
            slo,
            {},
            "What a good request stays within, for goodput: ttft:500ms, tpot:50ms, e2e_latency:10s",
            "METRIC:TIME",
            many=True,
            ini_type="linelist",
            only=("load",),
            also=("goodput",),
        ),
        Setting(
            "failures",
            "--llm-max-failures",
            failures,
            "1%",
            "How many requests of a load level may fail: a share such as 1%, or a number",
            "SHARE",
            only=("load",),
        ),
        Setting(
            "prompt_length",
            "--llm-prompt-length",
            length,
            "128",
            "Tokens of a made prompt under load: 128, uniform:64:256 or lognormal:128:0.5",
            "TOKENS",
            only=("made",),
            also=("random-input-len", "input-len", "isl", "synthetic-input-tokens-mean", "n-prompt"),
        ),
        Setting(
            "output_length",
            "--llm-output-length",
            length,
            None,
            "Tokens of an answer under load, likewise; default: max_new_tokens",
            "TOKENS",
            only=("load",),
            also=("random-output-len", "osl", "output-tokens-mean"),
        ),
        Setting(
            "dataset",
            "--llm-dataset",
            text,
            None,
            "File with the prompts of a load: JSON Lines, ShareGPT, or a trace with time stamps",
            "FILE",
            path=True,
            only=("load",),
            also=("dataset-path", "dataset-name", "input-file", "data"),
        ),
        Setting(
            "time_unit",
            "--llm-time-unit",
            time_unit,
            None,
            "Unit of a data set's time stamps: s, ms, us or ns; default: as its form has them",
            "UNIT",
            only=("open",),
        ),
        Setting(
            "shared_prefix",
            "--llm-shared-prefix",
            whole(0),
            0,
            "Tokens at the beginning that all made prompts of a load have in common",
            "TOKENS",
            only=("made",),
            also=("random-prefix-len", "prefix-len"),
        ),
        Setting(
            "thresholds",
            "",
            thresholds,
            {},
            "What the gate allows",
        ),
    )
}


def other_names() -> dict[str, str]:
    """What other tools call a setting to its key."""
    return {name: setting.key for setting in SETTINGS.values() for name in setting.also}


def read_marker(marks: Iterable[pytest.Mark], where: str) -> dict[str, Any]:
    """The settings of ``@pytest.mark.llm(...)``; of several, the first (the closest) holds.

    :raises UsageError: for a positional argument, an unknown key or a value that cannot be.
    """
    values: dict[str, Any] = {}
    for mark in reversed(list(marks)):
        if mark.args:
            msg = f"{where}: @pytest.mark.llm takes keywords only, as in llm(models=[{mark.args[0]!r}])"
            raise UsageError(msg)
        for key, value in mark.kwargs.items():
            if key not in SETTINGS:
                hint = suggest(key, list(SETTINGS), other_names()) or "."
                msg = f"{where}: @pytest.mark.llm has no key {key!r}{hint} It has {', '.join(SETTINGS)}"
                raise UsageError(msg)
            values[key] = SETTINGS[key].read(value, f"{where}: @pytest.mark.llm({key}=...)")
    return values

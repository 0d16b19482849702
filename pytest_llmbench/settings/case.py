"""What can be set for a case, and which values can it have?

One table, :class:`CaseSettings`: each field is a marker key, a command line option, an ini option and a key
of suites, and most are arguments of a call of ``measure()`` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings import values as read
from pytest_llmbench.settings.kinds import NEVER, Fixture
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.rows import Setting, rows_of, setting
from pytest_llmbench.workloads.lengths import LONGEST
from pytest_llmbench.workloads.scenarios.conversation import HISTORIES, PLACEMENTS, History, Placement

if TYPE_CHECKING:
    from pytest_llmbench.backends.base import GenerationParams
    from pytest_llmbench.gate.thresholds import ClockChoice, Threshold

AUTO = "auto"
Isolation = Literal["test", "model", "none"]
CacheMode = Literal["cold", "warm", "paired"]
TimeUnit = Literal["s", "ms", "us", "ns"]

NO_PRESET = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSettings:
    """Every setting of a case, as it holds or as one place says it."""

    models: tuple[str, ...] = setting(
        ("tiny",),
        read.names,
        "--llm-model",
        "Model to run: tiny, synthetic/NAME, a path, a hub id ORG/NAME[@REVISION] or an alias",
        role="cases",
        metavar="NAME",
        many=True,
        ini_type="args",
        also=("model",),
        short=("model",),
    )
    backends: tuple[str, ...] = setting(
        (AUTO,),
        read.backends,
        "--llm-backend",
        "Backend to run on, or server; auto runs on the servers that are named, or else on every "
        "in-process engine that is installed",
        role="cases",
        metavar="NAME",
        many=True,
        ini_type="args",
        also=("backend",),
        short=("backend",),
    )
    quantizations: tuple[str, ...] = setting(
        (),
        read.names,
        "--llm-quantization",
        "Quantization to run, such as f16 or q4_k_m",
        role="cases",
        metavar="NAME",
        many=True,
        ini_type="args",
        only=("engine", "started"),
        also=("quant", "quantize"),
    )
    backend_options: BackendOptions = setting(
        BackendOptions(),
        read.backend_options,
        "--llm-option",
        "Option of a backend or of servers, such as llamacpp.n_threads=2 or server.endpoint=chat",
        role="test",
        metavar="BACKEND.NAME=VALUE",
        many=True,
        ini_type="linelist",
    )
    max_new_tokens: int = setting(
        64,
        read.whole(1),
        "--llm-max-new-tokens",
        "Tokens to generate in a round",
        role="work",
        also=("max-tokens", "n-predict", "n-gen", "output-len"),
        short=("new_tokens",),
    )
    rounds: int = setting(
        5,
        read.whole(1),
        "--llm-rounds",
        "Measured rounds in each process; of a conversation, how often it is held",
        role="repeats",
        only=("model", "chat"),
        also=("repetitions", "benchmark-min-rounds", "num-iters"),
        short=("repeats",),
    )
    warmup_rounds: int = setting(
        1,
        read.whole(0),
        "--llm-warmup-rounds",
        "Rounds before them that are not measured",
        role="repeats",
        only=("model", "chat"),
        also=("benchmark-warmup-iterations", "num-iters-warmup"),
        short=("warmup",),
    )
    processes: int = setting(
        1,
        read.whole(1),
        "--llm-processes",
        "Fresh engine processes for each case",
        role="repeats",
    )
    timeout: float = setting(
        600.0,
        read.real(0.001),
        "--llm-timeout",
        "Seconds that one load or one round may take",
        role="repeats",
        metavar="SECONDS",
    )
    isolation: Isolation = setting(
        "test",
        read.one_of("test", "model", "none"),
        "--llm-isolation",
        "test: a fresh process for each test; model: one shared by consecutive tests of a model; "
        "none: pytest's own process, for a debugger",
        role="test",
        metavar="KIND",
        only=("engine",),
    )
    seed: int = setting(
        0,
        read.whole(0, 2**63 - 1),
        "--llm-seed",
        "Seed of sampling and of made prompts",
        role="work",
        also=("random-seed",),
    )
    temperature: float = setting(
        0.0, read.real(0), "--llm-temperature", "0 is greedy decoding", role="work", metavar="X"
    )
    top_k: int = setting(
        0,
        read.whole(0, 2**31 - 1),
        "--llm-top-k",
        "Sample among so many tokens; 0 is all",
        role="work",
        only=("sampled",),
    )
    top_p: float = setting(
        1.0,
        read.fraction,
        "--llm-top-p",
        "Sample within this probability mass; 1 is all",
        role="work",
        metavar="X",
        only=("sampled",),
    )
    ignore_eos: bool = setting(
        True,
        read.yes_or_no,
        "--llm-ignore-eos",
        "Generate exactly max_new_tokens, past an end of sequence",
        role="work",
        metavar="BOOL",
    )
    prefix_cache: bool = setting(
        False,
        read.yes_or_no,
        "--llm-prefix-cache",
        "Leave the KV cache of the round before",
        role="work",
        metavar="BOOL",
        only=("model", "load"),
    )
    depth: int = setting(
        0,
        read.whole(0, LONGEST),
        "--llm-depth",
        "Tokens that lie in the KV cache before the prompt, made once and put back before each round",
        role="work",
        metavar="TOKENS",
        only=("model",),
        also=("n-depth",),
    )
    needle: float | None = setting(
        None,
        read.share,
        "--llm-needle",
        "Place of a fact in the made text of prompt_tokens, from 0, its beginning, to 1, its end: the model "
        "is asked for it, and needle_recall says whether it found it",
        role="work",
        metavar="PLACE",
        only=("model",),
    )
    cache: CacheMode = setting(
        "warm",
        read.one_of("cold", "warm", "paired"),
        "--llm-cache",
        "What a turn finds in the KV cache: cold, nothing; warm, what the turn before left; paired, each "
        "turn both ways, one after the other",
        role="work",
        metavar="KIND",
        only=("chat",),
    )
    history: History | None = setting(
        None,
        read.one_of(*HISTORIES),
        "--llm-history",
        "Answers that later turns have before them: live, the model's own, or recorded, those that the "
        "conversation gives; default: as the conversation says, under load recorded",
        role="work",
        metavar="KIND",
        only=("chat", "conversations"),
    )
    placement: Placement | None = setting(
        None,
        read.one_of(*PLACEMENTS),
        "--llm-placement",
        "Where retrieved documents stand: system, inline (in the turn that added them) or last (before the "
        "last question); default: as the conversation says",
        role="work",
        metavar="PLACE",
        only=("chat", "conversations"),
    )
    same_output: bool = setting(
        True,
        read.yes_or_no,
        "--llm-same-output",
        "Fail where a turn generates something else with a warm cache than with a cold one, at temperature 0",
        role="test",
        metavar="BOOL",
        only=("chat",),
    )
    base_url: tuple[str, ...] = setting(
        (),
        read.names,
        "--llm-base-url",
        "OpenAI-compatible server that runs already, such as http://localhost:8000/v1",
        role="cases",
        metavar="URL",
        many=True,
        ini_type="args",
        only=("running",),
        also=("target", "url"),
    )
    serve: tuple[str, ...] = setting(
        (),
        read.names,
        "--llm-serve",
        "Server to start for the tests: vllm, llamacpp-server, ..., docker:vllm, or with a preset "
        "vllm:single-user",
        role="cases",
        metavar="ENGINE[:PRESET]",
        many=True,
        ini_type="args",
        only=("started",),
    )
    concurrency: tuple[int, ...] = setting(
        (),
        read.several(read.whole(1, read.AT_ONCE)),
        "--llm-concurrency",
        "Requests at once, one load level each: the next is sent when one has ended",
        role="cases",
        many=True,
        ini_type="args",
        only=("closed",),
        also=("max-concurrency",),
    )
    conversations: tuple[int, ...] = setting(
        (),
        read.several(read.whole(1, read.AT_ONCE)),
        "--llm-conversations",
        "Conversations of a load at once, one load level each, with as many requests on their way at a time "
        "as concurrency says, or else as they send",
        role="cases",
        many=True,
        ini_type="args",
        only=("conversations",),
        also=("num-clients", "num-conversations"),
    )
    turns: str = setting(
        "4",
        read.length,
        "--llm-turns",
        "Turns of a made conversation under load, at most 1000: 4, uniform:3:7 or normal:5:2",
        role="work",
        only=("conversations",),
        also=("num-turns", "turns-mean"),
    )
    think_time: float | None = setting(
        None,
        read.real(0),
        "--llm-think-time",
        "Seconds from an answer to the next turn of a conversation under load; default: as the conversation "
        "says, or 0",
        role="work",
        metavar="SECONDS",
        only=("conversations",),
        also=("turn-delay-mean",),
    )
    request_rate: tuple[float, ...] = setting(
        (),
        read.several(read.above(read.FAST)),
        "--llm-request-rate",
        "Requests a second, one load level each, sent whether or not earlier ones have ended",
        role="cases",
        metavar="X",
        many=True,
        ini_type="args",
        only=("open",),
        also=("rate", "rps", "qps"),
    )
    arrivals: str = setting(
        "poisson",
        read.arrivals,
        "--llm-arrivals",
        "How requests at a rate come: poisson, constant, burst[:SIZE], ramp[:START]; or trace, at a data "
        "set's times",
        role="work",
        metavar="KIND",
        only=("open",),
        also=("arrival-pattern", "burstiness", "rate-type", "profile"),
    )
    requests: int | None = setting(
        None,
        read.whole(1),
        "--llm-requests",
        "Measured requests of a load level; default: 4 times the concurrency and at least 64, or 30 seconds "
        "at the rate and at least 125",
        role="repeats",
        only=("load",),
        also=("num-prompts", "request-count", "max-requests", "num-requests"),
    )
    duration: float | None = setting(
        None,
        read.above(read.LONG),
        "--llm-duration",
        "Seconds after which a load level sends no more, instead of a number of requests",
        role="repeats",
        metavar="SECONDS",
        only=("load",),
        also=("max-seconds", "benchmark-duration"),
    )
    warmup_requests: int | None = setting(
        None,
        read.whole(0),
        "--llm-warmup-requests",
        "Requests of a load level that come first and are not measured; default: the concurrency",
        role="repeats",
        only=("load",),
        also=("num-warmups", "warmup-request-count"),
    )
    slo: Mapping[str, float] = setting(
        {},
        read.slo,
        "--llm-slo",
        "What a good request stays within, for goodput: ttft:500ms, tpot:50ms, e2e_latency:10s",
        role="work",
        metavar="METRIC:TIME",
        many=True,
        ini_type="linelist",
        only=("load",),
        also=("goodput",),
    )
    failures: str = setting(
        "1%",
        read.failures,
        "--llm-max-failures",
        "How many requests of a load level may fail: a share such as 1%, or a number",
        role="test",
        metavar="SHARE",
        only=("load",),
    )
    prompt_length: str = setting(
        "128",
        read.length,
        "--llm-prompt-length",
        "Tokens of a made prompt under load: 128, uniform:64:256, normal:512:128 or lognormal:128:0.5",
        role="work",
        metavar="TOKENS",
        only=("made",),
        also=("random-input-len", "input-len", "isl", "synthetic-input-tokens-mean", "n-prompt"),
    )
    output_length: str | None = setting(
        None,
        read.length,
        "--llm-output-length",
        "Tokens of an answer under load, in the same forms; default: max_new_tokens",
        role="work",
        metavar="TOKENS",
        only=("load",),
        also=("random-output-len", "osl", "output-tokens-mean"),
        instead_of="max_new_tokens",
    )
    dataset: str | None = setting(
        None,
        read.text,
        "--llm-dataset",
        "File with the prompts of a load: JSON Lines, ShareGPT, or a trace with time stamps",
        role="work",
        metavar="FILE",
        path="file",
        only=("load",),
        also=("dataset-path", "dataset-name", "input-file", "data"),
    )
    time_unit: TimeUnit | None = setting(
        None,
        read.one_of("s", "ms", "us", "ns"),
        "--llm-time-unit",
        "Unit of a data set's time stamps: s, ms, us or ns; default: as its form has them",
        role="work",
        metavar="UNIT",
        only=("open",),
    )
    block_size: int | None = setting(
        None,
        read.whole(1),
        "--llm-block-size",
        "Tokens for which each of a trace's hash_ids stands; default: as its form has them, 512, 16 or 64",
        role="work",
        metavar="TOKENS",
        only=("load",),
        also=("isl-block-size", "prompt-input-tokens-block-size"),
    )
    shared_prefix: int = setting(
        0,
        read.whole(0),
        "--llm-shared-prefix",
        "Tokens at the beginning that all made prompts of a load have in common",
        role="work",
        metavar="TOKENS",
        only=("made",),
        also=("random-prefix-len", "prefix-len"),
    )
    thresholds: tuple[Threshold, ...] = setting(
        (), read.thresholds, "", "What the gate allows", role="test", ini_type=None
    )
    clock: ClockChoice = setting(
        "auto",
        read.one_of("auto", "wall", "cpu"),
        "--llm-clock",
        "What the gate judges by: wall, times; cpu, CPU times, of one thread unless the engine's option says "
        "otherwise; auto, times, and CPU times where noise keeps those from a verdict",
        role="test",
        metavar="CLOCK",
    )
    preset: str = setting(
        NO_PRESET,
        read.text,
        "--llm-preset",
        "Settings under a name, which hold where the same place does not say otherwise: chatbot, rag, ... "
        "(see llmbench presets); none takes back a marker's or the ini file's",
        role="test",
        metavar="NAME",
        also=("preset",),
    )

    @property
    def params(self) -> GenerationParams:
        """What of it an engine needs for a generation: what has the same name there."""
        from pytest_llmbench.backends.base import GenerationParams

        return GenerationParams(**{one.name: getattr(self, one.name) for one in fields(GenerationParams)})

    def check(self) -> None:
        """Refuse settings that contradict each other.

        :raises UsageError: saying which, and what to do.
        """
        if self.isolation != "test" and self.processes != 1:
            msg = (
                f"isolation={self.isolation!r} keeps one process, so processes={self.processes} fresh ones "
                "are not possible; set processes=1 or isolation='test'"
            )
            raise UsageError(msg)


CONTRADICTING = ("isolation", "processes")
"""What :meth:`CaseSettings.check` looks at."""
SETTINGS: Mapping[str, Setting] = rows_of(CaseSettings)
"""The rows, by key."""


def does_for(row: Setting, fixture: Fixture) -> bool:
    """Whether a setting does anything for a case of the fixture."""
    return not row.only or bool(set(row.only).difference(NEVER[fixture]))


def call_keys(fixture: Fixture) -> list[str]:
    """What a call of the fixture's ``measure()`` can set: what is measured, then how often."""
    for_it = [row for row in SETTINGS.values() if does_for(row, fixture)]
    return [row.key for role in ("work", "repeats") for row in for_it if row.role == role]

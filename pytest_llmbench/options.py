"""What can a user set, where, and what holds when several places say something?

One table, :data:`SETTINGS`: each row is a marker key, a command line option and an ini option of
the same name. The command line beats the marker, the marker beats the ini file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.errors import UsageError, suggest

if TYPE_CHECKING:
    import pytest

AUTO = "auto"
TRACE = "trace"
"""Arrivals at the times of a data set."""
IniType = Literal["string", "int", "float", "bool", "args", "linelist"]


def _whole(minimum: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError
        number = int(value)
        if number < minimum:
            raise ValueError
        return number

    parse.__doc__ = f"a whole number of at least {minimum}"
    return parse


def _real(minimum: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not minimum <= number < float("inf"):
            raise ValueError
        return number

    parse.__doc__ = f"a number of at least {minimum:g}"
    return parse


def _fraction(value: Any) -> float:
    """a number above 0, at most 1"""
    number = _real(0)(value)
    if not 0 < number <= 1:
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    """True or False"""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError
    return word in ("true", "yes", "on", "1")


def _isolation(value: Any) -> str:
    """one of test, model, none"""
    if value not in ("test", "model", "none"):
        raise ValueError
    return str(value)


def _names(value: Any) -> tuple[str, ...]:
    """a name or a list of names"""
    values = [value] if isinstance(value, str) else list(value)
    if not all(isinstance(v, str) for v in values):
        raise ValueError
    return tuple(name for v in values for part in v.split(",") if (name := part.strip()))


def _backend_options(value: Any) -> dict[str, dict[str, Any]]:
    """{"BACKEND": {"NAME": VALUE}}, or BACKEND.NAME=VALUE once or several times"""
    if isinstance(value, Mapping):
        if not all(isinstance(options, Mapping) for options in value.values()):
            raise ValueError
        return {str(backend): dict(options) for backend, options in value.items()}
    from pytest_llmbench.backends.options import parse_option

    merged: dict[str, dict[str, Any]] = {}
    for line in [value] if isinstance(value, str) else value:
        backend, name, text = parse_option(line)
        merged.setdefault(backend, {})[name] = text
    return merged


def _several(one: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def parse(value: Any) -> tuple[Any, ...]:
        values = [value] if isinstance(value, int | float | str) else list(value)
        parts = [part for v in values for part in (v.split(",") if isinstance(v, str) else [v])]
        return tuple(one(part) for part in parts)

    parse.__doc__ = f"{one.__doc__}, or a list of such"
    return parse


def _above_zero(value: Any) -> float:
    """a number above 0"""
    number = _real(0)(value)
    if not number:
        raise ValueError
    return number


def _length(value: Any) -> str:
    """a number of tokens, uniform:MIN:MAX or lognormal:MEDIAN:SIGMA[:MAX]"""
    from pytest_llmbench.workloads.lengths import parse_length

    return str(parse_length(value))


def _arrivals(value: Any) -> str:
    """one of constant, poisson, burst[:SIZE], ramp[:START], trace"""
    from pytest_llmbench.workloads.arrivals import parse_arrivals

    return TRACE if value == TRACE else str(parse_arrivals(value))


def _text(value: Any) -> str:
    """a text"""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


SLO_METRICS = ("ttft", "tpot", "e2e_latency")


def _slo(value: Any) -> dict[str, float]:
    """{"ttft": 0.5} in seconds, or METRIC:TIME such as ttft:500ms; the metrics are ttft, tpot, e2e_latency"""
    if not isinstance(value, Mapping):
        texts = [value] if isinstance(value, str) else list(value)
        value = dict(text.split(":") for part in texts for text in part.split(","))
    found = {}
    for metric, limit in value.items():
        name = metric.strip()
        if name not in SLO_METRICS:
            raise ValueError
        scale = 1.0
        if isinstance(limit, str):
            limit = limit.strip()
            scale = 1e-3 if limit.endswith("ms") else 1.0
            limit = limit.removesuffix("ms").removesuffix("s")
        found[name] = _above_zero(limit) * scale
    return found


def _thresholds(value: Any) -> Mapping[str, Any]:
    """{"METRIC": "5%"}, with limits such as "<300ms"; one or a list of them"""
    if not isinstance(value, Mapping):
        raise ValueError
    from pytest_llmbench.gate.thresholds import read_thresholds

    read_thresholds(value, "thresholds")
    return value


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

    @property
    def ini(self) -> str:
        return f"llm_{self.key}"

    def read(self, value: Any, where: str) -> Any:
        """The parsed value.

        :raises UsageError: saying where it stands and what it must be.
        """
        try:
            return self.parse(value)
        except (ValueError, TypeError):
            msg = f"{where}: {value!r} is not {self.parse.__doc__}"
            raise UsageError(msg) from None


SETTINGS: dict[str, Setting] = {
    setting.key: setting
    for setting in (
        Setting(
            "models",
            "--llm-model",
            _names,
            ("tiny",),
            "Model to run: tiny, synthetic/NAME, a path, a hub id ORG/NAME[@REVISION] or an alias",
            "NAME",
            many=True,
            ini_type="args",
        ),
        Setting(
            "backends",
            "--llm-backend",
            _names,
            (AUTO,),
            "Backend to run on; auto runs every in-process engine that is installed",
            "NAME",
            many=True,
            ini_type="args",
        ),
        Setting(
            "quantizations",
            "--llm-quantization",
            _names,
            (),
            "Quantisation to run, such as f16 or q4_k_m",
            "NAME",
            many=True,
            ini_type="args",
        ),
        Setting(
            "backend_options",
            "--llm-option",
            _backend_options,
            {},
            "Option of a backend, such as llamacpp.n_threads=2",
            "BACKEND.NAME=VALUE",
            many=True,
            ini_type="linelist",
        ),
        Setting("max_new_tokens", "--llm-max-new-tokens", _whole(1), 64, "Tokens to generate in a round"),
        Setting("rounds", "--llm-rounds", _whole(1), 5, "Measured rounds in each process"),
        Setting(
            "warmup_rounds", "--llm-warmup-rounds", _whole(0), 1, "Rounds before them that are not measured"
        ),
        Setting("processes", "--llm-processes", _whole(1), 1, "Fresh engine processes for each case"),
        Setting(
            "timeout",
            "--llm-timeout",
            _real(0.001),
            600.0,
            "Seconds that one load or one round may take",
            "SECONDS",
        ),
        Setting(
            "isolation",
            "--llm-isolation",
            _isolation,
            "test",
            "test: a fresh process for each test; model: one shared by consecutive tests of a model; "
            "none: pytest's own process, for a debugger",
            "KIND",
        ),
        Setting("seed", "--llm-seed", _whole(0), 0, "Seed of sampling and of made prompts"),
        Setting("temperature", "--llm-temperature", _real(0), 0.0, "0 is greedy decoding", "X"),
        Setting("top_k", "--llm-top-k", _whole(0), 0, "Sample among so many tokens; 0 is all"),
        Setting("top_p", "--llm-top-p", _fraction, 1.0, "Sample within this probability mass; 1 is all", "X"),
        Setting(
            "ignore_eos",
            "--llm-ignore-eos",
            _flag,
            True,
            "Generate exactly max_new_tokens, past an end of sequence",
            "BOOL",
        ),
        Setting(
            "prefix_cache",
            "--llm-prefix-cache",
            _flag,
            False,
            "Leave the KV cache of the round before",
            "BOOL",
        ),
        Setting(
            "base_url",
            "--llm-base-url",
            _names,
            (),
            "OpenAI-compatible server that runs already, such as http://localhost:8000/v1",
            "URL",
            many=True,
            ini_type="args",
        ),
        Setting(
            "serve",
            "--llm-serve",
            _names,
            (),
            "Server to start for the tests: vllm, llamacpp-server, ... or docker:vllm",
            "ENGINE",
            many=True,
            ini_type="args",
        ),
        Setting(
            "concurrency",
            "--llm-concurrency",
            _several(_whole(1)),
            (),
            "Requests at once, one load level each: the next is sent when one has ended",
            many=True,
            ini_type="args",
        ),
        Setting(
            "request_rate",
            "--llm-request-rate",
            _several(_above_zero),
            (),
            "Requests a second, one load level each, sent whether or not earlier ones have ended",
            "X",
            many=True,
            ini_type="args",
        ),
        Setting(
            "arrivals",
            "--llm-arrivals",
            _arrivals,
            "poisson",
            "How requests at a rate come: poisson, constant, burst[:SIZE], ramp[:START]; or trace, at a data "
            "set's times",
            "KIND",
        ),
        Setting(
            "requests",
            "--llm-requests",
            _whole(1),
            None,
            "Measured requests of a load level; default: 4 times the concurrency, or 30 seconds at the "
            "rate, and at least 64",
        ),
        Setting(
            "duration",
            "--llm-duration",
            _above_zero,
            None,
            "Seconds after which a load level sends no more, instead of a number of requests",
            "SECONDS",
        ),
        Setting(
            "warmup_requests",
            "--llm-warmup-requests",
            _whole(0),
            None,
            "Requests of a load level that come first and are not measured; default: the concurrency",
        ),
        Setting(
            "slo",
            "--llm-slo",
            _slo,
            {},
            "What a good request stays within, for goodput: ttft:500ms, tpot:50ms, e2e_latency:10s",
            "METRIC:TIME",
            many=True,
            ini_type="linelist",
        ),
        Setting(
            "prompt_length",
            "--llm-prompt-length",
            _length,
            "128",
            "Tokens of a made prompt under load: 128, uniform:64:256 or lognormal:128:0.5",
            "TOKENS",
        ),
        Setting(
            "output_length",
            "--llm-output-length",
            _length,
            None,
            "Tokens of an answer under load, likewise; default: max_new_tokens",
            "TOKENS",
        ),
        Setting(
            "dataset",
            "--llm-dataset",
            _text,
            None,
            "File with the prompts of a load: JSON Lines, ShareGPT, or a trace with time stamps",
            "FILE",
        ),
        Setting(
            "shared_prefix",
            "--llm-shared-prefix",
            _whole(0),
            0,
            "Tokens at the beginning that all made prompts of a load have in common",
            "TOKENS",
        ),
        Setting(
            "thresholds",
            "",
            _thresholds,
            {},
            "What the gate allows",
        ),
    )
}


def add_options(parser: pytest.Parser) -> None:
    """Register the table and the session's own options."""
    group = parser.getgroup("llmbench", "LLM inference benchmarks")
    for setting in SETTINGS.values():
        if not setting.flag:
            continue
        repeatable = " (repeatable)" if setting.many else ""
        group.addoption(
            setting.flag,
            action="append" if setting.many else "store",
            default=None,
            metavar=setting.metavar,
            dest=setting.ini,
            help=f"{setting.help}{repeatable}."
            + ("" if setting.default is None else f" Default: {_shown(setting.default)}"),
        )
        parser.addini(setting.ini, f"{setting.help}.", type=setting.ini_type, default=None)
    group.addoption(
        "--llm-models-file", metavar="FILE", default=None, help="YAML file with aliases of models"
    )
    parser.addini("llm_models_file", "YAML file with aliases of models.", default=None)
    group.addoption(
        "--llm-python",
        metavar="PATH",
        default=None,
        help="Interpreter of the engine's process, so of another environment. Default: pytest's own",
    )
    group.addoption(
        "--llm-monitor-rate",
        metavar="HZ",
        default=None,
        help="Hardware samples a second; 0 turns the monitor off. Default: 10",
    )
    parser.addini("llm_monitor_rate", "Hardware samples a second; 0 turns the monitor off.", default=None)
    group.addoption(
        "--llm-json", metavar="PATH", default=None, help="Write the results document here as well"
    )
    group.addoption(
        "--llm-store", metavar="DIR", default=None, help="Folder of all results documents. Default: .llmbench"
    )
    parser.addini("llm_store", "Folder of all results documents.", default=None)
    _add_gate_options(parser, group)
    group.addoption(
        "--llm-disable", action="store_true", help="Run each benchmark once, without measuring or keeping it"
    )
    group.addoption("--llm-only", action="store_true", help="Run LLM benchmarks and no other test")
    group.addoption("--llm-skip", action="store_true", help="Skip LLM benchmarks")


def _add_gate_options(parser: pytest.Parser, group: pytest.OptionGroup) -> None:
    group.addoption(
        "--llm-compare",
        metavar="REF",
        action="append",
        default=None,
        help="Fail what got slower than this baseline: a document, a folder, a baseline's name, latest, "
        "commit:REV, branch:NAME (repeatable)",
    )
    group.addoption(
        "--llm-ab",
        metavar="'KEY=VALUE ...'",
        default=None,
        help="Fail what is slower than a base side that differs in python, model, quantization, base_url, "
        "BACKEND.OPTION or env.NAME, measured in pairs in this session",
    )
    group.addoption(
        "--llm-budget",
        metavar="N",
        default=None,
        help="What a case of an A/B session may cost: 20 (pairs) or 10min. Default: until decided, "
        "at most 32 pairs",
    )
    group.addoption(
        "--llm-threshold",
        metavar="METRIC:VALUE",
        action="append",
        default=None,
        help="What is allowed: tpot:5%%, or a limit: ttft:<300ms, ttft.p99:<1s (repeatable)",
    )
    parser.addini(
        "llm_threshold", "What the gate allows, METRIC:VALUE a line.", type="linelist", default=None
    )
    group.addoption(
        "--llm-gate",
        metavar="METRICS",
        default=None,
        help="Metrics that gate. Default: ttft,tpot,decode_throughput,peak_rss",
    )
    parser.addini("llm_gate", "Metrics that gate.", type="args", default=None)
    for name, values, text in (
        (
            "missing",
            "fail|warn",
            "What has no counterpart in the baseline. Default: warn, fail under CI",
        ),
        ("inconclusive", "warn|fail|pass", "A verdict that the data cannot give. Default: warn"),
    ):
        group.addoption(f"--llm-{name}", metavar=values, default=None, help=text)
        parser.addini(f"llm_{name}", f"{text}.", default=None)
    group.addoption(
        "--llm-fail-on-improvement",
        action="store_true",
        help="Fail what got faster beyond its threshold: the baseline is stale",
    )
    group.addoption(
        "--llm-save", metavar="NAME", default=None, help="Add this session to the baseline NAME of the store"
    )
    group.addoption(
        "--llm-update-baseline",
        action="store_true",
        help="Replace the baseline that --llm-compare names (in the store, or a document) by this session; "
        "refused if a case failed or was disturbed, or one of the baseline was not measured",
    )


def _shown(default: Any) -> str:
    if isinstance(default, tuple | dict):
        return ", ".join(default) or "none"
    return str(default)


@dataclass(frozen=True, slots=True)
class Session:
    """What the command line and the ini file say, parsed once."""

    command_line: Mapping[str, Any]
    ini: Mapping[str, Any]

    def given(self, key: str, marker: Mapping[str, Any]) -> bool:
        """Whether anybody set it."""
        return any(key in source for source in (self.command_line, marker, self.ini))

    def setting(self, key: str, marker: Mapping[str, Any]) -> Any:
        """The value that holds: command line, then marker, then ini, then the default."""
        for source in (self.command_line, marker, self.ini):
            if key in source:
                return source[key]
        return SETTINGS[key].default

    def all(self, marker: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting; the options of backends are merged key by key."""
        values = {key: self.setting(key, marker) for key in SETTINGS}
        merged: dict[str, dict[str, Any]] = {}
        for source in (self.ini, marker, self.command_line):
            for backend, options in source.get("backend_options", {}).items():
                merged.setdefault(backend, {}).update(options)
        values["backend_options"] = merged
        return values


def read_session(config: pytest.Config) -> Session:
    """Parse what the command line and the ini file say.

    :raises UsageError: naming the option and what it must be.
    """
    command_line: dict[str, Any] = {}
    ini: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        if not setting.flag:
            continue
        if (value := config.getoption(setting.ini)) is not None:
            command_line[key] = setting.read(value, setting.flag)
        if (value := config.getini(setting.ini)) not in (None, "", []):
            ini[key] = setting.read(value, f"ini option {setting.ini}")
    return Session(command_line, ini)


def monitor_rate(config: pytest.Config) -> float:
    """Hardware samples a second, 0 for none.

    :raises UsageError: for anything but a number from 0 to 1000.
    """
    for value, where in (
        (config.getoption("llm_monitor_rate"), "--llm-monitor-rate"),
        (config.getini("llm_monitor_rate"), "ini option llm_monitor_rate"),
    ):
        if value in (None, ""):
            continue
        try:
            rate = float(value)
        except ValueError:
            rate = -1.0
        if not 0 <= rate <= 1000:
            msg = f"{where}: {value!r} is not a number of samples a second from 0 to 1000"
            raise UsageError(msg)
        return rate
    return 10.0


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
                hint = suggest(key, list(SETTINGS)) or "."
                msg = f"{where}: @pytest.mark.llm has no key {key!r}{hint} It has {', '.join(SETTINGS)}"
                raise UsageError(msg)
            values[key] = SETTINGS[key].read(value, f"{where}: @pytest.mark.llm({key}=...)")
    return values

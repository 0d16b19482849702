"""How does pytest know the settings, and what do its command line and its ini file say of them?"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from typing import TYPE_CHECKING, Any

from pytest_llmbench.errors import UsageError
from pytest_llmbench.plugin.paths import command_line_folder, ini_folder, session_python
from pytest_llmbench.secrets import learn_command, learn_environment
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.rows import says_nothing
from pytest_llmbench.settings.sources import Precedence, Source

if TYPE_CHECKING:
    import pytest

    from pytest_llmbench.backends.registry import Registry


_FLAGS: dict[str, str] = {}
"""Our options that take a value: what ``config.option`` calls them, to what the command line does."""


class _Group:
    """pytest's group of options, which notes those that take a value."""

    def __init__(self, group: pytest.OptionGroup) -> None:
        self._group = group

    def addoption(self, flag: str, **attributes: Any) -> None:
        if attributes.get("action") != "store_true":
            _FLAGS[attributes.get("dest") or flag.lstrip("-").replace("-", "_")] = flag
        self._group.addoption(flag, **attributes)


def add_options(parser: pytest.Parser) -> None:
    """Register the table and the session's own options."""
    group = _Group(parser.getgroup("llmbench", "LLM inference benchmarks"))
    for setting in SETTINGS.values():
        if not setting.flag:
            continue
        repeatable = " (repeatable)" if setting.many else ""
        group.addoption(
            setting.flag,
            action="append" if setting.many else "store",
            default=None,
            metavar=setting.metavar,
            dest=setting.name,
            help=_escaped(
                f"{setting.help}{repeatable}."
                + (f" Default: {setting.default_text}" if setting.default_text else "")
            ),
        )
        parser.addini(setting.name, f"{setting.help}.", type=setting.ini_type, default=None)
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
    group.addoption(
        "--llm-columns",
        metavar="NAMES",
        default=None,
        help="Further columns of the table: size (of the model's files), or any metric, such as load_time",
    )
    parser.addini("llm_columns", "Further columns of the table.", type="args", default=None)
    _add_gate_options(parser, group)
    group.addoption(
        "--llm-disable", action="store_true", help="Run each benchmark once, without measuring or keeping it"
    )
    group.addoption("--llm-only", action="store_true", help="Run LLM benchmarks and no other test")
    group.addoption("--llm-skip", action="store_true", help="Skip LLM benchmarks")


def marker_help() -> str:
    """What ``pytest --markers`` says of ours."""
    alone = ", ".join(f"{key} is a key of the marker only" for key, row in SETTINGS.items() if not row.flag)
    return (
        f"llm({', '.join(f'{key}=' for key in SETTINGS)}): an LLM inference benchmark; every key is also a "
        f"command line option --llm-... and an ini option llm_...; {alone}"
    )


def _add_gate_options(parser: pytest.Parser, group: _Group) -> None:
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
        help="What is allowed: tpot:5%% worse than a base side, or a limit, which holds in every session: "
        "ttft:<300ms, ttft.p99:<1s (repeatable)",
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


def _escaped(text: str) -> str:
    """As argparse takes it."""
    return text.replace("%", "%%")


def learn_secrets(config: pytest.Config) -> None:
    """Learn the keys and passwords of the environment and of the command line."""
    learn_environment(os.environ)
    learn_command(str(argument) for argument in config.invocation_params.args)
    for words in (os.environ.get("PYTEST_ADDOPTS", ""), config.getini("addopts")):
        with contextlib.suppress(ValueError):
            learn_command(shlex.split(words) if isinstance(words, str) else words)


def read_session(config: pytest.Config, registry: Registry) -> Precedence:
    """Parse what the command line and the ini file say of cases.

    :raises UsageError: naming the option and what it must be.
    """
    refuse_empty(config)
    command_line: dict[str, Any] = {}
    ini: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        if setting.flag and (value := config.getoption(setting.name)) is not None:
            command_line[key] = setting.read(value, setting.flag)
        if setting.ini_type and (value := config.getini(setting.name)) not in (None, "", []):
            ini[key] = setting.read(value, f"ini option {setting.name}")
    return Precedence(
        Source.of(command_line, command_line_folder(config)).located(registry),
        Source.of(ini, ini_folder(config)).located(registry),
        once=config.getoption("llm_disable"),
    )


def table_columns(config: pytest.Config) -> tuple[str, ...]:
    """The further columns of the table.

    :raises UsageError: for one that there is not.
    """
    given: str | None = config.getoption("llm_columns")
    names = (config.getini("llm_columns") or []) if given is None else [given]
    columns = tuple(part for name in names for part in name.replace(",", " ").split())
    if columns:
        from pytest_llmbench.report.rows import requested

        try:
            requested(columns)
        except UsageError as error:
            msg = f"{'ini option llm_columns' if given is None else '--llm-columns'}: {error}"
            raise UsageError(msg) from None
    return columns


def refuse_empty(config: pytest.Config) -> None:
    """Refuse every option of ours that the command line gives and that names nothing.

    In an ini file an empty value is the way to take one back: there it counts as not set.

    :raises UsageError: naming the option.
    """
    for name, flag in _FLAGS.items():
        if says_nothing(config.getoption(name)):
            msg = f"{flag} names nothing: give it a value, or leave it out"
            raise UsageError(msg)


def refuse_impossible(config: pytest.Config) -> None:
    """Refuse what only the end of a session, or each of its cases, would find out.

    :raises UsageError: naming the option.
    """
    if (name := config.getoption("llm_save")) is not None:
        from pytest_llmbench.results.baselines import check_name

        try:
            check_name(name)
        except UsageError as error:
            msg = f"--llm-save={name}: {error}"
            raise UsageError(msg) from None
    if (python := session_python(config)) is not None:
        check_program(python, "--llm-python")


def check_program(path: str, where: str) -> None:
    """Refuse an interpreter that cannot be run.

    :raises UsageError: saying where it stands.
    """
    if shutil.which(path) is None:
        msg = f"{where}={path}: there is no such program, or it may not be run"
        raise UsageError(msg)


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

"""What can be set for a whole session?

One table, :class:`SessionSettings`: each field is an option of the command line, and many an ini option too.
The command line beats the ini file. What holds for single cases is in :mod:`pytest_llmbench.settings.case`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.paths import from_folder, interpreter
from pytest_llmbench.results import DEFAULT_STORE
from pytest_llmbench.settings import values as read
from pytest_llmbench.settings.options import BackendOptions
from pytest_llmbench.settings.rows import Setting, Values, rows_of, setting
from pytest_llmbench.workloads.lengths import LONGEST

if TYPE_CHECKING:
    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.gate.ab import BaseSide
    from pytest_llmbench.gate.budget import Budget
    from pytest_llmbench.gate.noise import OnDisturbed
    from pytest_llmbench.gate.thresholds import Threshold
    from pytest_llmbench.servers.starts import Starts


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """Every setting of a session, as it holds."""

    models_file: Path | None = setting(
        None,
        read.file,
        "--llm-models-file",
        "YAML file with aliases of models",
        role="session",
        metavar="FILE",
        path="file",
    )
    presets: tuple[str, ...] = setting(
        (),
        read.texts,
        "",
        "Presets of your own, and other values for those that there are: mine.extends=chatbot, "
        "chatbot.duration=30",
        role="session",
        metavar="NAME.KEY=VALUE",
        many=True,
        ini_type="linelist",
    )
    serve_presets: Starts | None = setting(
        None,
        read.starts,
        "",
        "Presets of your own for the starts of servers, and other values for those that there are: "
        "vllm:mine.extends=single-user, vllm:mine.max-num-seqs=4",
        role="session",
        metavar="ENGINE:PRESET.OPTION=VALUE",
        many=True,
        ini_type="linelist",
    )
    python: str | None = setting(
        None,
        read.text,
        "--llm-python",
        "Interpreter of the engine's process, so of another environment; default: pytest's own",
        role="session",
        metavar="PATH",
        ini_type=None,
        path="program",
        only=("engine", "started"),
    )
    monitor_rate: float = setting(
        10.0,
        read.sampling_rate,
        "--llm-monitor-rate",
        "Hardware samples a second; 0 turns the monitor off",
        role="session",
        metavar="HZ",
    )
    progress_every: float = setting(
        300.0,
        read.real(minimum=0),
        "--llm-progress-every",
        "Seconds between the lines that say how far the session is, where output is not a terminal; 0: none",
        role="session",
        metavar="SECONDS",
    )
    json: Path | None = setting(
        None,
        read.file,
        "--llm-json",
        "Write the results document here as well",
        role="session",
        metavar="PATH",
        ini_type=None,
        path="file",
        also=("benchmark-json", "output-path", "output-file", "save-result", "result-filename"),
    )
    report: Path | None = setting(
        None,
        read.file,
        "--llm-report",
        "Write a report here as well: a page (.html), a PDF (.pdf) or Markdown (.md)",
        role="session",
        metavar="FILE",
        ini_type=None,
        path="file",
    )
    store: Path = setting(
        Path(DEFAULT_STORE),
        read.file,
        "--llm-store",
        "Folder of all results documents",
        role="session",
        metavar="DIR",
        path="file",
        also=("benchmark-storage", "result-dir", "output-dir", "output-artifact-dir"),
    )
    resume: str | None = setting(
        None,
        read.text,
        "--llm-resume",
        "Go on with a session that was killed: what it has measured is not measured again, and the document "
        "has both. Its id, enough of it to be the only one, or latest",
        role="session",
        metavar="SESSION",
        ini_type=None,
    )
    columns: tuple[str, ...] = setting(
        (),
        read.columns,
        "--llm-columns",
        "Further columns of the table: size (of the model's files), or any metric, such as load_time",
        role="session",
        metavar="NAMES",
        ini_type="args",
    )
    compare: tuple[str, ...] = setting(
        (),
        read.texts,
        "--llm-compare",
        "Fail what got slower than this baseline: a document, a folder, a baseline's name, latest, "
        "commit:REV, branch:NAME",
        role="session",
        metavar="REF",
        many=True,
        ini_type=None,
        also=("benchmark-compare",),
    )
    ab: BaseSide | None = setting(
        None,
        read.base_side,
        "--llm-ab",
        "Fail what is slower than a base side that differs in python, model, quantization, base_url, "
        "BACKEND.OPTION or env.NAME, measured in pairs in this session",
        role="session",
        metavar="'KEY=VALUE ...'",
        ini_type=None,
    )
    budget: Budget | None = setting(
        None,
        read.budget,
        "--llm-budget",
        "What a case of an A/B session may cost: 20 (pairs), 10min or 2h; default: until decided, at most 32 "
        "pairs. More are possible, and the report says where they would decide: 128",
        role="session",
        ini_type=None,
    )
    threshold: tuple[Threshold, ...] = setting(
        (),
        read.threshold_lines,
        "--llm-threshold",
        "What is allowed: tpot:5% worse than a base side, or a limit, which holds in every session: "
        "ttft:<300ms, ttft.p99:<1s",
        role="session",
        metavar="METRIC:VALUE",
        many=True,
        ini_type="linelist",
        also=("benchmark-compare-fail",),
    )
    gate: tuple[str, ...] | None = setting(
        None,
        read.gated,
        "--llm-gate",
        "Metrics that gate; default: ttft, tpot, decode_throughput, peak_rss",
        role="session",
        metavar="METRICS",
        ini_type="args",
    )
    missing: Literal["fail", "warn"] | None = setting(
        None,
        read.one_of("fail", "warn"),
        "--llm-missing",
        "What follows for a case that the baseline does not have; default: warn, fail under CI",
        role="session",
        metavar="fail|warn",
    )
    inconclusive: Literal["warn", "fail", "pass"] = setting(
        "warn",
        read.one_of("warn", "fail", "pass"),
        "--llm-inconclusive",
        "What follows where the data is not enough for a verdict",
        role="session",
        metavar="warn|fail|pass",
    )
    fail_on_improvement: bool = setting(
        False,
        read.yes_or_no,
        "--llm-fail-on-improvement",
        "Fail what got faster beyond its threshold: the baseline is stale",
        role="session",
        switch=True,
        ini_type=None,
    )
    disturbed: OnDisturbed = setting(
        "auto",
        read.one_of("auto", "drop", "keep"),
        "--llm-disturbed",
        "What is done with pairs of an A/B session that other load disturbed: drop replaces them; keep uses "
        "them, and marks the verdict noisy; auto replaces them unless most are disturbed",
        role="session",
        metavar="auto|drop|keep",
    )
    save: str | None = setting(
        None,
        read.baseline,
        "--llm-save",
        "Add this session to the baseline NAME of the store",
        role="session",
        metavar="NAME",
        ini_type=None,
        also=("benchmark-save", "benchmark-autosave"),
    )
    update_baseline: bool = setting(
        False,
        read.yes_or_no,
        "--llm-update-baseline",
        "Replace the baseline that --llm-compare names (in the store, or a document) by this session; "
        "refused if a case failed or was disturbed, or one of the baseline was not measured",
        role="session",
        switch=True,
        ini_type=None,
    )
    disable: bool = setting(
        False,
        read.yes_or_no,
        "--llm-disable",
        "Run each benchmark once, without measuring or keeping it",
        role="session",
        switch=True,
        ini_type=None,
        also=("benchmark-disable",),
    )
    only: bool = setting(
        False,
        read.yes_or_no,
        "--llm-only",
        "Run LLM benchmarks and no other test",
        role="session",
        switch=True,
        ini_type=None,
        also=("benchmark-only",),
    )
    skip: bool = setting(
        False,
        read.yes_or_no,
        "--llm-skip",
        "Skip LLM benchmarks",
        role="session",
        switch=True,
        ini_type=None,
        also=("benchmark-skip",),
    )
    context: int | None = setting(
        None,
        read.whole(1, LONGEST),
        "--llm-context",
        "Leave out benchmarks that need a longer context than so many tokens, prompts and answers together",
        role="session",
        metavar="TOKENS",
        ini_type=None,
        also=("context-size",),
    )
    tags: tuple[str, ...] = setting(
        (),
        read.names,
        "--llm-tags",
        "Leave out the benchmarks that have none of these tags: a suite's, a conversation's, or markers",
        role="session",
        metavar="TAGS",
        many=True,
        ini_type=None,
        also=("include-tags",),
    )
    exclude_tags: tuple[str, ...] = setting(
        (),
        read.names,
        "--llm-exclude-tags",
        "Leave out the benchmarks that have one of these tags",
        role="session",
        metavar="TAGS",
        many=True,
        ini_type=None,
        also=("exclude-tags",),
    )
    max_conversations: int | None = setting(
        None,
        read.whole(1),
        "--llm-max-conversations",
        "Hold the first so many conversations, each on every model that it is for",
        role="session",
        ini_type=None,
        also=("max-conversations",),
    )
    listing: Literal["text", "json"] | None = setting(
        None,
        read.listing,
        "--llm-list",
        "Instead of running: list the benchmarks that would run, with the tokens of prompts and answers, "
        "counted by the model's own template and tokenizer, and the memory; as text, or as lines of JSON",
        role="session",
        metavar="text|json",
        ini_type=None,
        alone="text",
        also=("list-conversations",),
    )

    @property
    def chooses(self) -> bool:
        """Whether benchmarks are chosen by more than pytest's own options."""
        some = self.context is not None or self.max_conversations is not None
        return some or bool(self.tags or self.exclude_tags)


SESSION_SETTINGS: Mapping[str, Setting] = rows_of(SessionSettings)
"""The rows, by key."""


def session_settings(
    command_line: Values,
    ini: Values,
    registry: Registry,
    *,
    here: Path,
    ini_folder: Path,
    root: Path,
) -> SessionSettings:
    """The settings of a session, with every path absolute.

    :param command_line: what it says, by key, as texts; likewise *ini*.
    :param here: from where paths of the command line are meant; *ini_folder*, those of the ini file;
        *root*, those that hold by default.
    :raises UsageError: for a value that cannot be, or two that cannot hold together.
    """
    held: dict[str, Any] = {}
    for key, row in SESSION_SETTINGS.items():
        if key in command_line:
            held[key] = located(row, row.read(command_line[key], row.flag), here)
        elif key in ini:
            held[key] = located(row, row.read(ini[key], f"ini option {row.name}"), ini_folder)
        elif row.path and row.default is not None:
            held[key] = located(row, row.default, root)
    settings = SessionSettings(**held)
    if settings.ab is not None:
        options = BackendOptions(settings.ab.options).located(registry, here).given
        base = replace(settings.ab, python=interpreter(settings.ab.python, here), options=options)
        settings = replace(settings, ab=base)
    if settings.python is not None:
        check_program(settings.python, SESSION_SETTINGS["python"].flag)
    _check(settings)
    return settings


def located(row: Setting, value: Any, folder: Path | None) -> Any:
    """The *value* of a setting, absolute where it is a path that is meant from *folder*."""
    if row.path == "program":
        return interpreter(value, folder or Path())
    return type(value)(from_folder(value, folder)) if row.path else value


def check_program(path: str, where: str) -> None:
    """Refuse an interpreter that cannot be run.

    :raises UsageError: saying where it stands.
    """
    if shutil.which(path) is None:
        msg = f"{where}={path}: there is no such program, or it may not be run"
        raise UsageError(msg)


def _check(settings: SessionSettings) -> None:
    """Refuse what cannot hold together.

    :raises UsageError: saying what to do.
    """
    msg = None
    if settings.compare and settings.ab is not None:
        msg = "--llm-compare and --llm-ab are two ways to have a base side; give one of them"
    elif settings.update_baseline and len(settings.compare) != 1:
        what = "several are compared" if settings.compare else "none is compared"
        msg = f"--llm-update-baseline replaces the baseline of --llm-compare, and {what}: give it one"
    elif settings.ab is None and settings.budget is not None:
        msg = "--llm-budget bounds the pairs of an A/B session: give --llm-ab too"
    elif settings.only and settings.skip:
        msg = "--llm-only and --llm-skip leave no test; give one of them"
    elif both := [tag for tag in settings.tags if tag in settings.exclude_tags]:
        msg = f"--llm-tags and --llm-exclude-tags both name {both[0]}; give it to one of them"
    if msg is not None:
        raise UsageError(msg)

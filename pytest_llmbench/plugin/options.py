"""How does pytest know the settings, and what do its command line and its ini file say of them?"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.errors import UsageError
from pytest_llmbench.secrets import learn_command, learn_environment
from pytest_llmbench.settings.case import SETTINGS
from pytest_llmbench.settings.rows import Setting, says_nothing
from pytest_llmbench.settings.session import SESSION_SETTINGS, SessionSettings, session_settings
from pytest_llmbench.settings.sources import Precedence, Source

if TYPE_CHECKING:
    import pytest

    from pytest_llmbench.backends.registry import Registry
    from pytest_llmbench.settings.presets import Presets

OPTIONS: Mapping[str, Setting] = {
    row.name: row for table in (SETTINGS, SESSION_SETTINGS) for row in table.values()
}
"""The rows, by what ``config.option`` and the ini file call them."""


@dataclass(frozen=True, slots=True)
class Said:
    """What pytest was told: of the session, and of cases beside their markers."""

    session: SessionSettings
    cases: Precedence
    presets: Presets | None
    """None where they are not needed so far, and are those that come with the package."""


def add_options(parser: pytest.Parser) -> None:
    """Register both tables."""
    group = parser.getgroup("llmbench", "LLM inference benchmarks")
    for name, row in OPTIONS.items():
        default = f" Default: {row.default_text}" if row.default_text else ""
        told = f"{row.help}{' (repeatable)' if row.many else ''}.{default}".replace("%", "%%")
        if row.switch:
            group.addoption(row.flag, action="store_true", dest=name, help=told)
        elif row.alone:
            group.addoption(
                row.flag, nargs="?", const=row.alone, default=None, metavar=row.metavar, dest=name, help=told
            )
        elif row.flag:
            action = "append" if row.many else "store"
            group.addoption(row.flag, action=action, default=None, metavar=row.metavar, dest=name, help=told)
        if row.ini_type is not None:
            parser.addini(name, f"{row.help}.", type=row.ini_type, default=None)


def marker_help() -> str:
    """What ``pytest --markers`` says of ours."""
    alone = ", ".join(f"{key} is a key of the marker only" for key, row in SETTINGS.items() if not row.flag)
    return (
        f"llm({', '.join(f'{key}=' for key in SETTINGS)}): an LLM inference benchmark; every key is also a "
        f"command line option --llm-... and an ini option llm_...; {alone}"
    )


def learn_secrets(config: pytest.Config) -> None:
    """Learn the keys and passwords of the environment and of the command line."""
    learn_environment(os.environ)
    learn_command(str(argument) for argument in config.invocation_params.args)
    for words in (os.environ.get("PYTEST_ADDOPTS", ""), config.getini("addopts")):
        with contextlib.suppress(ValueError):
            learn_command(shlex.split(words) if isinstance(words, str) else words)


def read_settings(config: pytest.Config, registry: Registry) -> Said:
    """Parse what the command line and the ini file say.

    :raises UsageError: naming the option and what it must be.
    """
    refuse_empty(config)
    typed, written = _given(config, SETTINGS)
    here, ini_folder = config.invocation_params.dir, _ini_folder(config)
    session = session_settings(
        *_given(config, SESSION_SETTINGS), registry, here=here, ini_folder=ini_folder, root=config.rootpath
    )
    command_line = {key: SETTINGS[key].read(value, SETTINGS[key].flag) for key, value in typed.items()}
    ini = {
        key: SETTINGS[key].read(value, f"ini option {SETTINGS[key].name}") for key, value in written.items()
    }
    typed_source = Source.of(command_line, here).located(registry)
    ini_source = Source.of(ini, ini_folder).located(registry)
    presets = None
    if session.presets or "preset" in typed_source or "preset" in ini_source:
        presets = _presets(session.presets, registry, ini_folder)
        row = SETTINGS["preset"]
        typed_source = presets.attached(typed_source, row.flag)
        ini_source = presets.attached(ini_source, f"ini option {row.name}")
    cases = Precedence(typed_source, ini_source, once=session.disable)
    return Said(session, cases, presets)


def _presets(lines: Sequence[str], registry: Registry, ini_folder: Path) -> Presets:
    """Those that come with the package, and those of the ini file."""
    from pytest_llmbench.settings.presets import ini_presets

    option = SESSION_SETTINGS["presets"].name
    return ini_presets(lines, registry, folder=ini_folder, option=option)


def _given(
    config: pytest.Config, table: Mapping[str, Setting]
) -> tuple[dict[str, object], dict[str, object]]:
    """What the command line and the ini file say of the rows of *table*, by key and as it is written."""
    typed = {
        key: value
        for key, row in table.items()
        if row.flag and (value := config.getoption(row.name)) is not None and not (row.switch and not value)
    }
    # In an ini file an empty value is the way to take one back: there it counts as not set.
    written = {
        key: value
        for key, row in table.items()
        if row.ini_type is not None and (value := config.getini(row.name)) not in (None, "", [])
    }
    return typed, written


def _ini_folder(config: pytest.Config) -> Path:
    """Where the ini file is; also of what ``-o`` says in its place."""
    return config.rootpath if config.inipath is None else config.inipath.parent


def refuse_empty(config: pytest.Config) -> None:
    """Refuse every option of ours that is empty on the command line.

    :raises UsageError: naming the option.
    """
    for name, row in OPTIONS.items():
        if row.flag and not row.switch and says_nothing(config.getoption(name)):
            msg = f"{row.flag} is empty: give it a value, or leave it out"
            raise UsageError(msg)

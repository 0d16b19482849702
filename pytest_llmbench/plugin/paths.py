"""Which paths do the options of a session name? See :mod:`pytest_llmbench.models.paths`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmbench.models.paths import from_folder, interpreter

if TYPE_CHECKING:
    import pytest


def command_line_folder(config: pytest.Config) -> Path:
    """Where pytest was called; also of options in ``addopts``, as pytest takes its own."""
    return config.invocation_params.dir


def ini_folder(config: pytest.Config) -> Path:
    """Where the ini file is; also of what ``-o`` says in its place."""
    return config.rootpath if config.inipath is None else config.inipath.parent


def session_path(config: pytest.Config, name: str) -> Path | None:
    """The path that the option *name* of the session gives, or else the ini option of that name, if any."""
    typed: str | None = config.getoption(name)
    if typed is not None:
        return from_folder(typed, command_line_folder(config))
    try:
        written: str | None = config.getini(name)
    except ValueError:  # it has no ini option
        return None
    return from_folder(written, ini_folder(config)) if written else None


def session_python(config: pytest.Config) -> str | None:
    """The interpreter of ``--llm-python``; a name alone is one on the PATH."""
    return interpreter(config.getoption("llm_python"), command_line_folder(config))

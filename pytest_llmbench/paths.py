"""From where is a relative path meant?

What was typed, from where it was typed; what an ini file says, from that file's folder; and what a test's
marker or call says, from the folder of the test's file. A ``~`` is the user's home everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest


class Source(dict[str, Any]):
    """What one place says of the settings, by key, and from where its paths are meant."""

    folder: Path | None = None
    """None: from the working directory."""


def folder_of(settings: object) -> Path | None:
    """From where the paths in *settings* are meant; None where they say nothing of it."""
    return getattr(settings, "folder", None)


def from_folder(path: str | Path, folder: Path | None) -> Path:
    """The absolute path of what *folder* has at *path*."""
    try:
        path = Path(path).expanduser()
    except RuntimeError:  # nobody of that name has a home here
        path = Path(path)
    # Links stay as they are: the interpreter of a virtual environment is one.
    return (folder or Path()).absolute() / path


def is_path(text: str) -> bool:
    """True for what is written as a path: absolute, or with ``./``, ``../`` or ``~`` before it."""
    return text.startswith(("/", "./", "../", "~", ".\\", "..\\")) or Path(text).is_absolute()


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


def interpreter(path: str | None, folder: Path) -> str | None:
    """An interpreter's absolute path, where it is written as a path."""
    return str(from_folder(path, folder)) if path and ("/" in path or is_path(path)) else path

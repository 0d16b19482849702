"""Did pytest take a path of ours for a test's when it looked for its rootdir?

It looks before any plugin has said which options it has. So of ``--llm-compare ../else/base.json`` it sees an
option that it does not know and a path, and may find another rootdir and no ini file: other settings, other
node ids, and nothing that could be compared. With ``--llm-compare=../else/base.json`` it sees no path.

How it looks: https://docs.pytest.org/en/stable/reference/customize.html#finding-the-rootdir
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# What settings of pytest begin with in each of its files, by precedence; empty where the file is enough.
_FILES = {
    "pytest.toml": "",
    ".pytest.toml": "",
    "pytest.ini": "",
    ".pytest.ini": "",
    "pyproject.toml": "[tool.pytest",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}

Found = tuple[Path, Path | None]
"""A rootdir, and the ini file, if any."""


def misled(config: pytest.Config, parser: pytest.Parser) -> str | None:
    """What to say where a value of an option of ours has led pytest to another rootdir; else None."""
    typed = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(str, config.invocation_params.args)]
    here = config.invocation_params.dir
    spaced = [(flag, value) for flag, value in _spaced(typed, parser) if _folder(value, here) is not None]
    if not spaced:
        return None
    known = parser.parse_known_args(typed)
    if known.inifilename:
        return None
    tests = [str(argument) for argument in known.file_or_dir]
    meant = find(here, _folders(tests, here))
    taken = find(here, _folders([*tests, *(value for _, value in spaced)], here))
    if known.rootdir:
        meant, taken = (config.rootpath, meant[1]), (config.rootpath, taken[1])
    # Where pytest found what this module does not expect of it, it knows better.
    if taken == meant or taken != (config.rootpath, config.inipath):
        return None
    which = " and ".join(f"{flag} {value}" for flag, value in spaced)
    instead = " ".join(f"{flag}={value}" for flag, value in spaced)
    return (
        f"{which}: pytest takes what follows a space for a path of tests when it looks for its rootdir. It "
        f"found {_told(taken)}, and would have found {_told(meant)} without it. Write {instead}"
    )


def find(here: Path, folders: Sequence[Path]) -> Found:
    """What pytest finds for the *folders* of its arguments, called from *here*."""
    ancestor = Path(os.path.commonpath(folders)) if folders else here
    if (found := _settings([ancestor])) is not None:
        return found
    for folder in (ancestor, *ancestor.parents):
        if (folder / "setup.py").is_file():
            return folder, None
    if (found := _settings(folders)) is not None:
        return found
    common = Path(os.path.commonpath([here, ancestor]))
    return (ancestor if common == common.parent else common), None


def _settings(folders: Iterable[Path]) -> Found | None:
    """The first folder with settings of pytest, from each of *folders* up; else with a pyproject.toml."""
    project: Path | None = None
    for folder in (above for start in folders for above in (start, *start.parents)):
        for name, begin in _FILES.items():
            file = folder / name
            if file.is_file():
                if not begin or any(line.startswith(begin) for line in _lines(file)):
                    return folder, file
                if name == "pyproject.toml":
                    project = project or file
    return None if project is None else (project.parent, project)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _spaced(arguments: Sequence[str], parser: pytest.Parser) -> Iterator[tuple[str, str]]:
    """Each option of ours that has its value after a space, and the value."""
    flags = {
        name
        for option in parser.getgroup("llmbench").options
        if option.attrs().get("action") != "store_true"
        for name in option.names()
    }
    for flag, value in pairwise(arguments):
        if flag in flags and not value.startswith("-"):
            yield flag, value


def _folders(arguments: Iterable[str], here: Path) -> list[Path]:
    return [folder for argument in arguments if (folder := _folder(argument, here)) is not None]


def _folder(argument: str, here: Path) -> Path | None:
    """The folder that an argument names, as a path or as a test's id; None if there is no such path."""
    path = Path(os.path.abspath(here / argument.partition("::")[0]))  # noqa: PTH100  # as pytest does
    try:
        if not path.exists():
            return None
    except OSError:  # too long a name
        return None
    return path if path.is_dir() else path.parent


def _told(found: Found) -> str:
    root, ini = found
    return f"rootdir {root} and {'no ini file' if ini is None else f'the ini file {ini}'}"

"""What does pytest's ini file say, for commands that pytest does not run?"""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

from pytest_llmbench.errors import UsageError


def ini_file(named: Path | None = None) -> Path | None:
    """The ini file that is *named*, or else the one that pytest finds from the working directory, if any."""
    if named is not None:
        return named.expanduser().absolute()
    from pytest_llmbench.plugin.rootdir import find

    return find(Path.cwd(), [])[1]


def ini_option(file: Path | None, name: str) -> list[str]:
    """The lines of an ini option in one of pytest's files; none where it is not said.

    :raises UsageError: if the file cannot be read.
    """
    if file is None:
        return []
    try:
        if file.suffix == ".toml":
            said = tomllib.loads(file.read_text("utf-8"))
            tool = said.get("tool", {}).get("pytest", {})
            tables = (said.get("pytest", {}), tool.get("ini_options", {}), tool)
            value: object = next((table[name] for table in tables if name in table), [])
        else:
            parser = configparser.ConfigParser(interpolation=None, strict=False)
            parser.read_string(file.read_text("utf-8"))
            section = "tool:pytest" if file.name == "setup.cfg" else "pytest"
            value = parser.get(section, name, fallback="")
    except (OSError, ValueError, configparser.Error, AttributeError) as error:
        msg = f"the ini file {file} cannot be read: {error}"
        raise UsageError(msg) from error
    lines = value.splitlines() if isinstance(value, str) else value if isinstance(value, list) else []
    return [line.strip() for line in map(str, lines) if line.strip()]

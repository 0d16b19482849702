"""How does mkdocs get the pages that are made from the tables, and docstrings that it can read?"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import generate

_ROLE = re.compile(r":[a-z]+:`([^`]*)`")
_CODE_BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n((?:\1 +.*\n?|\n)*)", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for path, make in generate.PAGES.items():
        files.append(File.generated(config, path, content=make()))
    return files


def as_markdown(text: str) -> str:
    """A docstring without the markup of Sphinx: ``:class:`~a.B``` becomes ```B```."""

    def role(match: re.Match[str]) -> str:
        name = match[1].removeprefix("pytest_llmbench.")
        return f"`{name.rsplit('.', 1)[-1] if name.startswith('~') else name.lstrip('.')}`"

    def block(match: re.Match[str]) -> str:
        lines = [line.removeprefix(f"{match[1]}    ") for line in match[3].strip("\n").split("\n")]
        return "\n".join([f"```{match[2]}", *lines, "```", ""])

    return _ROLE.sub(role, _CODE_BLOCK.sub(block, text))


class PlainDocstrings(griffe.Extension):  # type: ignore[misc] # Any, where mkdocs is not installed
    """Hands every docstring to mkdocstrings as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)

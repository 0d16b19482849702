"""Which blocks of code have the README and the pages of docs/, and what is said of each?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIRECTIVES = ("not run", "may fail", "run with")
"""What an HTML comment before a block of commands may say, with a reason or a thing behind a colon."""

_BLOCK = re.compile(
    r"(?:^<!-- (?P<comment>[^\n]*) -->\n)?^(?P<indent> *)```(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
_TITLE = re.compile(r'\btitle="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block: ``bash`` is run, a block with a title is a file."""

    where: str
    language: str
    title: str | None
    directive: str | None
    reason: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands, each in one line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def read_blocks(name: str, text: str) -> Iterator[Block]:
    """Every block of a page.

    :raises ValueError: for one of which it is not said what it is, or whether it is run.
    """
    for match in _BLOCK.finditer(text):
        where = f"{name}:{text[: match.start('info')].count(chr(10)) + 1}"
        language, _, info = match["info"].partition(" ")
        if not language:
            msg = f"{where}: the block has no language; commands are bash, other text is text"
            raise ValueError(msg)
        directive, colon, reason = (match["comment"] or "").partition(":")
        if match["comment"] and (not colon or not reason.strip() or directive not in DIRECTIVES):
            known = f"{', '.join(DIRECTIVES)}, with a reason after a colon"
            msg = f"{where}: {match['comment']!r} is not one of {known}"
            raise ValueError(msg)
        title = _TITLE.search(info)
        yield Block(where, language, title and title[1], directive or None, reason.strip(), match["text"])


@pytest.fixture(scope="session")
def pages() -> dict[str, str]:
    """Every page that a person wrote, by its path in the repository."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


@pytest.fixture(scope="session")
def blocks() -> Callable[[str, str], list[Block]]:
    """Reads the blocks of a page's text."""
    return lambda name, text: list(read_blocks(name, text))

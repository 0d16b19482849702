"""Is what a user reads written in English that is plain?"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_llmbench

FOLDER = Path(pytest_llmbench.__file__).parent

ODD = {
    r"(?<![Tt]here )\b(is|are|was|were) no (?!longer|more\b|less\b|further|\w+er\b)": "'is not a', 'has no'",
    r"\b[Nn]obody\b": "'not', or who it is",
    r"\bcannot be meant\b": "'is not valid'",
    r"\b(dear|dearer)\b": "'expensive'",
    r"\b(has|have|says|say|does) it not\b": "'does not have it', 'does not say it'",
    r"\b(names|says|tells) nothing\b": "what is missing, and what to write",
    r"\bwho asks\b": "'the user', 'the client'",
    r"\bis told (?!apart)": "'is given', 'is called with', 'is asked for'",
    r"\bfor ever\b": "'forever'",
    r"\ball else\b": "'everything else'",
    r"\bsay --": "'use --'",
    r"\bmend\b": "'fix'",
    r"\b(not be|be) had\b": "'is not available', 'is possible'",
}
"""What is not plain, and what to write instead."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module with their lines, docstrings too; the parts of an f-string are one text."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, " ".join("".join(map(str, parts)).split())
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, " ".join(node.value.split())


def oddities(path: Path) -> Iterator[str]:
    """What is not plain in a module, with its line and what to write instead."""
    for line, text in texts(path):
        for odd, instead in ODD.items():
            for match in re.finditer(odd, text):
                around = text[max(0, match.start() - 40) : match.end() + 40]
                yield f"{path.relative_to(FOLDER)}:{line}: {match[0]!r} in {around!r}; write {instead}"


def test_every_text_is_in_plain_english() -> None:
    paths = sorted(FOLDER.rglob("*.py"))
    assert len(paths) > 100
    found = [oddity for path in paths for oddity in oddities(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    ["'x' is no length", "Nobody knows", "a key that cannot be meant", "as dear as before", "it has it not"],
)
def test_what_is_not_plain_is_found(text: str) -> None:
    assert any(re.search(odd, text) for odd in ODD)


@pytest.mark.parametrize(
    "text", ["there is no model 'x'", "it is no longer there", "the chunks are no more than"]
)
def test_plain_words_pass(text: str) -> None:
    assert not any(re.search(odd, text) for odd in ODD)

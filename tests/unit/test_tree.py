"""Is the tree what a reader can take in?"""

from __future__ import annotations

from pathlib import Path

import pytest_llmbench

FOLDER = Path(pytest_llmbench.__file__).parent
CEILING = 500
"""Lines; a module that needs more answers two questions."""


def test_no_module_is_longer_than_one_question_takes() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in FOLDER.rglob("*.py")}
    assert len(lengths) > 100
    assert {str(path.relative_to(FOLDER)): n for path, n in lengths.items() if n > CEILING} == {}

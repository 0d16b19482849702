"""Does advice fit what happened?"""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError
from pytest_llmbench.results import session as recording
from pytest_llmbench.results.journal import Journal
from tests.plugin.conftest import Run

TWO = """
def test_one(llm_model):
    llm_model.measure("a", rounds=1, max_new_tokens=1)

def test_two(llm_model):
    llm_model.measure("b", rounds=1, max_new_tokens=1)
"""


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes no document any more."""

    def refuse(*_: Any) -> Any:
        msg = "cannot write it: the disk is full"
        raise ResultsError(msg)

    monkeypatch.setattr(recording, "finish", refuse)


@pytest.mark.usefixtures("full")
def test_the_journal_is_named_where_it_has_the_cases(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile(TWO)
    result = run()
    result.stdout.fnmatch_lines(
        [
            "Results: cannot write it*",
            "Every finished case is in *.jsonl; when the store can be written*",
        ]
    )


@pytest.mark.usefixtures("full")
def test_the_journal_is_not_named_where_nothing_was_measured(bench: pytest.Pytester, run: Run) -> None:
    bench.makepyfile("def test_one(llm_model): pass")
    result = run()
    result.stdout.fnmatch_lines(["Results: cannot write it*"])
    result.stdout.no_fnmatch_line("*recover*")


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(("fail", "told"), [("test_one", True), ("test_", False)])
def test_a_journal_that_lacks_cases_is_not_said_to_have_them_all(
    bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch, fail: str, told: bool
) -> None:
    append = Journal.append

    def refuse(journal: Journal, case: Any) -> None:
        if fail in case.nodeid:
            msg = "cannot write the journal: the disk is full"
            raise ResultsError(msg)
        append(journal, case)

    monkeypatch.setattr(Journal, "append", refuse)
    bench.makepyfile(test_it=TWO)
    result = run()
    assert ("1 of 2 cases are in " in result.stdout.str()) is told
    result.stdout.no_fnmatch_line("*Every finished case*")

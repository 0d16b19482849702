"""Is every form of a document one row, which says all that is needed to write it?"""

from __future__ import annotations

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.report.exports import EXPORTS, Wanted, export
from pytest_llmbench.results.records import ResultsDocument, Session


@pytest.fixture
def empty() -> ResultsDocument:
    return ResultsDocument(session=Session(id="20260102T030405Z-0a1b2c3d", started="2026-01-02T03:04:05Z"))


@pytest.mark.parametrize("name", EXPORTS)
def test_a_document_without_cases_has_every_form(name: str, empty: ResultsDocument) -> None:
    kinds = {"text": str, "bytes": bytes, "folder": dict}
    assert isinstance(export(empty, name), kinds[EXPORTS[name].gives])


def test_an_unknown_form_says_what_there_is(empty: ResultsDocument) -> None:
    with pytest.raises(UsageError, match=r"'cvs'; did you mean 'csv'\? There are .*jsonl"):
        export(empty, "cvs")


@pytest.mark.parametrize(
    ("wanted", "its"),
    [(Wanted(metric="ttft"), "pytest-benchmark"), (Wanted(columns=["load_time"]), "markdown")],
)
def test_an_option_of_another_form_is_refused(wanted: Wanted, its: str, empty: ResultsDocument) -> None:
    with pytest.raises(UsageError, match=f"is for --format {its}"):
        export(empty, "csv", wanted)

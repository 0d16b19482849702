"""Is what a report says of its cases what they are?"""

from __future__ import annotations

from pathlib import Path

from pytest_llmbench.report.charts.cases import entries
from pytest_llmbench.report.page import view
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import ResultsDocument
from tests.unit.report.conftest import MakeCase

DOCUMENTS = Path(__file__).parents[2] / "results" / "documents"


def _of(*cases: object) -> ResultsDocument:
    document = read_document(DOCUMENTS / "engine-1.0.json")
    document.cases = list(cases)  # type: ignore[arg-type]
    return document


def test_a_case_that_failed_is_told_with_its_error(make_case: MakeCase) -> None:
    failed = make_case("a.py::t[bad]", outcome="failed", error="boom\nmore", params={"size": "bad"})
    document = _of(failed, make_case("a.py::t[good]", params={"size": "good"}))
    told = view.verdicts([document], entries([document]))
    assert [(one.chip, one.text) for one in told.told] == [("failed", "boom")]
    assert dict(told.chips) == {"passed": 1, "failed": 1}


def test_a_choice_is_offered_where_there_is_one(make_case: MakeCase) -> None:
    cases = [make_case(f"a.py::t[{n}]", backend=n) for n in ("llamacpp", "transformers")]
    (table,) = view.tables(entries([_of(*cases)]), sessions=False)
    assert table.choices == (("backend", ("llamacpp", "transformers")),)
    assert [len(texts) for _, _, texts in table.rows] == [len(table.heads)] * 2


def test_the_protocol_says_every_value_of_a_setting(make_case: MakeCase) -> None:
    document = read_document(DOCUMENTS / "engine-1.0.json")
    told = dict(view.protocol(entries([document])))
    assert told["max_new_tokens"] == "8"
    assert told["ignore_eos"] == "yes"
    assert "options.context" in told

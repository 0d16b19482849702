"""Is what a report says of its cases what they are?"""

from __future__ import annotations

from pathlib import Path

from pytest_llmbench.report.page import view
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import ResultsDocument
from tests.unit.report.conftest import MakeCase

DOCUMENTS = Path(__file__).parents[2] / "results" / "documents"


def _of(*cases: object) -> ResultsDocument:
    document = read_document(DOCUMENTS / "engine-1.0.json")
    document.cases = list(cases)  # type: ignore[arg-type]
    return document


def test_the_best_is_the_lowest_or_the_highest_as_its_metric_says(make_case: MakeCase) -> None:
    slow = make_case("a.py::t[slow]", values={"ttft": [0.2] * 5, "decode_throughput": [10.0] * 5})
    fast = make_case("a.py::t[fast]", values={"ttft": [0.1] * 5, "decode_throughput": [90.0] * 5})
    found = {one.metric.name: one for one in view.best(view.all_entries([_of(slow, fast)]))}
    assert (found["ttft"].label, found["ttft"].value, found["ttft"].of) == ("fast", "100 ms", 2)
    assert found["decode_throughput"].label == "fast"


def test_a_case_that_failed_is_not_the_best(make_case: MakeCase) -> None:
    failed = make_case("a.py::t[failed]", values={"ttft": [0.01] * 5}, outcome="failed", error="boom\nmore")
    document = _of(failed, make_case("a.py::t[good]"))
    found = view.all_entries([document])
    assert {one.label for one in view.best(found)} == {"good"}
    told = view.verdicts([document], found)
    assert [(one.chip, one.label, one.text) for one in told.told] == [("failed", "failed", "boom")]
    assert dict(told.chips) == {"passed": 1, "failed": 1}


def test_a_choice_is_offered_where_there_is_one(make_case: MakeCase) -> None:
    cases = [make_case(f"a.py::t[{n}]", backend=n) for n in ("llamacpp", "transformers")]
    (table,) = view.tables(view.all_entries([_of(*cases)]), sessions=False)
    assert table.choices == (("backend", ("llamacpp", "transformers")),)
    assert [len(texts) for _, _, texts in table.rows] == [len(table.heads)] * 2


def test_the_protocol_says_every_value_of_a_setting(make_case: MakeCase) -> None:
    document = read_document(DOCUMENTS / "engine-1.0.json")
    told = dict(view.protocol(view.all_entries([document])))
    assert told["max_new_tokens"] == "8"
    assert told["ignore_eos"] == "yes"
    assert "options.context" in told

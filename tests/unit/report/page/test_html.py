"""Does a report hold what its documents do, and nothing that acts?"""

from __future__ import annotations

import re
from pathlib import Path

from pytest_llmbench.report.page.html import embedded, html_report
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.records import ResultsDocument
from tests.unit.report.conftest import MakeCase

DOCUMENTS = Path(__file__).parents[2] / "results" / "documents"


def _document() -> ResultsDocument:
    return read_document(DOCUMENTS / "engine-1.0.json")


def test_embedded_json_cannot_end_its_element_and_hides_nothing() -> None:
    assert embedded({"a": ["</script>&\x1b"]}) == '{"a":["\\u003c/script\\u003e\\u0026\\\\x1b"]}'


def test_verdicts_come_first_and_each_section_once() -> None:
    places = [
        html_report([_document()]).find(f'id="{name}"')
        for name in ("verdicts", "cases", "charts", "machine", "metrics")
    ]
    assert places == sorted(places)
    assert places[0] > 0


def test_a_report_refers_to_nothing_outside() -> None:
    page = re.sub(r"<script.*?</script>", "", html_report([_document()]), flags=re.DOTALL)
    found = re.findall(r"(?:src|href|action)\s*=\s*[\"']?([^\"'>\s]+)|url\(([^)]*)\)|@import", page)
    assert all(link.startswith(("#", "data:")) for link, _ in found)


def test_a_report_of_a_session_without_cases_says_so() -> None:
    document = _document()
    document.cases = []
    page = html_report([document])
    assert "No benchmark was measured in this session" in page
    assert "charts-data" not in page


def test_what_is_damaged_is_named() -> None:
    assert "x.json is damaged" in html_report([], ["x.json is damaged"])


def test_a_thousand_cases_take_less_than_a_megabyte(make_case: MakeCase) -> None:
    document = _document()
    document.cases = [
        make_case(f"benchmarks/test_a.py::test_short_answer[llamacpp-synthetic/llama-82m-q8_0-{n}]")
        for n in range(1000)
    ]
    assert len(html_report([document]).encode()) < 1_000_000


def test_several_sessions_stand_side_by_side() -> None:
    page = html_report([_document(), _document()])
    assert page.count("<h3>Session ") == 2
    assert 'data-key="session"' in page

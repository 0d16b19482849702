"""Is what was measured found again, and as it was?"""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.service.state import Service

Measured = list[ResultsDocument]


def test_sessions_are_listed_the_newest_first_page_by_page(client: TestClient, measured: Measured) -> None:
    first, second = (document.session.id for document in measured)
    page = client.get("/results", params={"limit": 1}).json()
    assert ([one["id"] for one in page["items"]], page["next"]) == ([second], second)
    page = client.get("/results", params={"limit": 1, "after": page["next"]}).json()
    assert ([one["id"] for one in page["items"]], page["next"]) == ([first], None)


def test_sessions_are_found_by_what_a_case_of_theirs_is(client: TestClient, measured: Measured) -> None:
    case = measured[0].cases[0]
    known = {"model": case.model.name, "backend": case.model.backend}
    assert len(client.get("/results", params=known).json()["items"]) == 2
    assert client.get("/results", params={**known, "backend": "other"}).json()["items"] == []
    failed = client.get("/results", params={"verdict": "fail"}).json()["items"]
    assert [one["id"] for one in failed] == [measured[1].session.id]


def test_a_session_has_its_cases_with_their_values(client: TestClient, measured: Measured) -> None:
    document = measured[0]
    told = client.get(f"/results/{document.session.id}").json()
    (case,) = told["cases"]
    assert case["nodeid"] == document.cases[0].nodeid
    assert case["metrics"]["ttft"]["median"] == pytest.approx(document.cases[0].metrics["ttft"].median)


def test_a_document_is_what_is_kept(client: TestClient, service: Service, measured: Measured) -> None:
    session = measured[0].session.id
    answer = client.get(f"/results/{session}/document")
    assert answer.content == service.store.document_path(session).read_bytes()
    assert answer.headers["content-type"] == "application/json"


def test_a_report_is_a_page_to_be_kept_and_not_shown_here(client: TestClient, measured: Measured) -> None:
    session = measured[0].session.id
    answer = client.get(f"/results/{session}/report.html")
    assert answer.headers["content-disposition"] == f'attachment; filename="{session}.html"'
    assert "<!doctype html>" in answer.text.lower()
    assert session in answer.text


@pytest.mark.parametrize(
    "session", ["20260101T000000Z-00000009", "..%2f..%2fetc%2fpasswd", "latest", "x" * 900]
)
@pytest.mark.parametrize("more", ["", "/document", "/report.html"])
def test_what_is_no_session_is_not_found(client: TestClient, session: str, more: str) -> None:
    answer = client.get(f"/results/{session}{more}")
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_link_in_the_store_is_not_followed(
    client: TestClient, service: Service, measured: Measured
) -> None:
    path = service.store.document_path("20260109T000000Z-00000009")
    path.symlink_to("/etc/passwd")
    assert client.get(f"/results/{path.stem}/document").status_code == 404

"""Does the service say how it is, and what there is to ask?"""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from pytest_llmbench.service.app import create_app
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service


def test_a_database_that_does_not_answer_is_said_and_its_password_is_not(tmp_path: Path) -> None:
    url = "postgresql://someone:hunter2secret@127.0.0.1:1/nothing"
    service = Service(Configuration(store=tmp_path, database=url))
    with TestClient(create_app(service), base_url="http://localhost") as client:
        for path in ("/health", "/benchmarks", "/results", "/metrics"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert "hunter2" not in answer.text


def test_every_operation_is_in_the_documentation(client: TestClient) -> None:
    page = client.get("/docs").text
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"{method.upper()} {path}" in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://localhost", "")

"""Is a benchmark taken as seed users send it, followed by its address, and refused in one line?"""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from pytest_llmbench.service.state import Service

ASKED: dict[str, Any] = {
    "model_id": "tiny",
    "task": "text-generation",
    "config": {"prompt": "Explain what a benchmark is.", "max_new_tokens": 100},
    "hardware_options": {"use_gpu": False},
}


@pytest.mark.parametrize("path", ["/benchmarks/", "/benchmarks"])
def test_a_benchmark_is_accepted_and_has_an_address(client: TestClient, path: str) -> None:
    answer = client.post(path, json=ASKED)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/benchmarks/{job['job_id']}" == job["links"]["self"]
    followed = client.get(answer.headers["Location"]).json()
    assert (followed["state"], followed["result"]) == ("queued", None)
    assert [event["state"] for event in followed["events"]] == ["queued"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_id": "org/unknown"}, "GET /models"),
        ({"model_id": "tiny\0"}, "body.model_id"),
        ({"model_id": "x" * 500}, "body.model_id"),
        ({"model_id": None}, "body.model_id"),
        ({"task": "telepathy"}, "body.task"),
        ({"config": {"max_new_tokens": -1}}, "max_new_tokens"),
        ({"config": {"base_url": "http://elsewhere"}}, "base_url"),
        ({"config": {"backend_options": {"python": "/bin/sh"}}}, "backend_options"),
        ({"config": {"dataset": "/etc/passwd"}}, "dataset"),
        ({"config": []}, "body.config"),
        ({"hardware_options": {"use_gpu": True}}, "GPU"),
        ({"trust_remote_code": True}, "trust_remote_code"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    client: TestClient, change: dict[str, Any], said: str
) -> None:
    answer = client.post("/benchmarks/", json={**ASKED, **change})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.text
    assert "\n" not in answer.json()["detail"]


def test_what_a_request_held_is_not_repeated(client: TestClient) -> None:
    answer = client.post("/benchmarks/", json={**ASKED, "task": "hunter2secret"})
    assert "hunter2" not in answer.text


def test_a_request_that_is_sent_again_with_its_key_is_the_same_benchmark(client: TestClient) -> None:
    key = {"Idempotency-Key": "one"}
    first = client.post("/benchmarks/", json=ASKED, headers=key).json()["job_id"]
    assert client.post("/benchmarks/", json=ASKED, headers=key).json()["job_id"] == first
    other = client.post("/benchmarks/", json={**ASKED, "config": {}}, headers=key)
    assert other.status_code == 409
    assert client.post("/benchmarks/", json=ASKED).json()["job_id"] != first


def test_cancelling_twice_is_no_error_and_a_benchmark_that_is_over_is_a_conflict(
    client: TestClient, service: Service
) -> None:
    address = client.post("/benchmarks/", json=ASKED).headers["Location"]
    assert client.delete(address).json()["state"] == "cancelled"
    assert client.delete(address).json()["state"] == "cancelled"
    address = client.post("/benchmarks/", json=ASKED).headers["Location"]
    job = service.queue.claim("cpu")
    assert job is not None
    service.queue.finish(job, "failed", "it was too hot")
    refused = client.delete(address)
    assert refused.status_code == 409
    assert "failed" in refused.json()["detail"]
    assert client.get(address).json()["reason"] == "it was too hot"


def test_benchmarks_are_listed_page_by_page_and_by_state(client: TestClient) -> None:
    made = [client.post("/benchmarks/", json=ASKED).json()["job_id"] for _ in range(5)]
    client.delete(f"/benchmarks/{made[0]}")
    found: list[str] = []
    after = ""
    while True:
        page = client.get("/benchmarks", params={"limit": 2, **({"after": after} if after else {})}).json()
        found += [job["job_id"] for job in page["items"]]
        if (after := page["next"]) is None:
            break
    assert found == made[::-1]
    cancelled = client.get("/benchmarks/", params={"state": "cancelled"}).json()["items"]
    assert [job["job_id"] for job in cancelled] == made[:1]


@pytest.mark.parametrize("query", ["after=x", "after=%00", "limit=0", "limit=1000", "state=happy"])
def test_a_bad_query_is_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/benchmarks?{query}").status_code == 422


@pytest.mark.parametrize("job", ["0" * 16, "x", "..%2f..", "0" * 400])
def test_a_benchmark_that_is_not_there_is_not_found(client: TestClient, job: str) -> None:
    for method in ("GET", "DELETE"):
        answer = client.request(method, f"/benchmarks/{job}")
        assert answer.status_code in (404, 422)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_suite_runs_by_its_name_with_settings_over_its_own(client: TestClient) -> None:
    accepted = client.post("/suites/quick/runs", json={"overrides": {"rounds": 2}})
    assert accepted.status_code == 202
    assert accepted.json()["request"]["overrides"] == {"rounds": 2}
    assert client.post("/suites/other/runs", json={}).status_code == 404
    assert client.post("/suites/..%2Fquick/runs", json={}).status_code in (404, 422)
    assert client.post("/suites/quick/runs", json={"overrides": {"dataset": "x"}}).status_code == 422

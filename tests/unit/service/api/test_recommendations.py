"""Does a script get the configuration to take, with why?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from pytest_llmbench.catalog.answer import Answer
from pytest_llmbench.catalog.rows import Catalog
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.service.app import create_app
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service
from tests import postgres
from tests.fakes.a_matrix import cells, write_matrix


def index(service: Service) -> None:
    Index(service.store, service.database).update()


@pytest.fixture
def matrix(service: Service, copy_matrix: Callable[[Path], None]) -> None:
    """A matrix of which 81 cells are measured, and indexed."""
    copy_matrix(service.configuration.store)


def asked(client: TestClient, **question: Any) -> Any:
    answer = client.post("/recommendations", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("matrix")
def test_what_meets_the_limits_is_ranked_and_the_rest_is_counted(client: TestClient) -> None:
    found = asked(client, slo={"ttft": "p95<50ms"}, weights={"throughput": 1}, every=True, top=200)
    assert found["evaluated"] == 81
    assert found["meeting"] == len(found["ranked"]) > 1
    assert [entry["rank"] for entry in found["ranked"]] == list(range(1, found["meeting"] + 1))
    speeds = [entry["values"]["throughput"] for entry in found["ranked"]]
    assert speeds == sorted(speeds, reverse=True)
    assert all(entry["values"]["ttft"] < 0.05 for entry in found["ranked"])
    (limit,) = found["excluded"]
    assert limit["count"] == 81 - found["meeting"]
    # It leads to what measured it.
    first = found["ranked"][0]["configuration"]
    assert client.get(f"/ui/cases/{first['session']}/{first['position']}").status_code == 200


@pytest.mark.usefixtures("matrix")
@pytest.mark.parametrize("use", ["chatbot", "batch", "edge", None])
def test_an_answer_is_as_the_description_says(client: TestClient, use: str | None) -> None:
    found = asked(client, use=use, budget="5/h", market="on_demand", slo={"tpot": "p95<20ms"})
    TypeAdapter(Answer).validate_python(found, strict=False)
    assert found["ranked"]
    assert found["ranked"][0]["costs"]["price"]["source"].startswith("http")


@pytest.mark.usefixtures("matrix")
@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"budget": "cheap"}, "budget: 'cheap' is not valid"),
        ({"slo": {"ttft": "fast"}}, "'fast' is not a limit"),
        ({"slo": {"latncy": "p95<1s"}}, "there is no metric 'latncy'"),
        ({"weights": {"cost": 0}}, "all are 0"),
        ({"weights": {"cost": -1}}, "is not valid"),
        ({"weights": {"color": 1}}, "there is no criterion 'color'"),
        ({"workload": "nothing"}, "no workload 'nothing' was measured"),
        ({"use": "games"}, "body.use"),
        ({"top": 0}, "body.top"),
        ({"models": ["x"] * 101}, "body.models"),
        ({"nosuch": 1}, "body.nosuch"),
    ],
)
def test_what_cannot_be_asked_is_a_problem(client: TestClient, question: Any, said: str) -> None:
    answer = client.post("/recommendations", json=question)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_an_empty_index_says_so(client: TestClient) -> None:
    found = asked(client)
    assert (found["ranked"], found["evaluated"]) == ([], 0)
    assert "nothing was measured" in found["notes"][0]
    assert client.get("/catalog").json()["configurations"] == 0


@pytest.mark.usefixtures("matrix")
def test_what_is_measured_later_is_part_of_the_next_answer_and_nothing_is_read_twice(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []
    before = Catalog.load

    def load(database: Any) -> Catalog:
        loads.append(1)
        return before(database)

    monkeypatch.setattr(Catalog, "load", load)
    versions = [asked(client)["version"] for _ in range(3)]
    write_matrix(service.store, "more", of=cells(("another",), ("vllm",)))
    index(service)
    versions += [asked(client)["version"] for _ in range(3)]
    assert versions == [versions[0]] * 3 + [versions[3]] * 3
    assert versions[0] != versions[3]
    assert len(loads) == 2
    assert client.get("/catalog").json()["configurations"] == 99


@pytest.mark.usefixtures("matrix")
def test_many_at_once_get_the_same_answer(client: TestClient) -> None:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(asked(client, use="batch"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)


def test_prices_are_those_of_the_configured_file(tmp_path: Path, copy_matrix: Callable[[Path], None]) -> None:
    prices = tmp_path / "hardware.yaml"
    prices.write_text(
        "hardware:\n  L4:\n    date: 2026-01-01\n    prices:\n"
        "      - {provider: us, usd_per_hour: 36, date: 2026-01-01, source: our bill}\n"
    )
    copy_matrix(tmp_path / "store")
    service = Service(Configuration(store=tmp_path / "store", hardware_file=prices))
    with TestClient(create_app(service), base_url="http://localhost") as client:
        found = asked(client, hardware=["L4"], top=1)
    assert found["ranked"][0]["costs"]["price"]["usd_per_hour"] == 36
    assert found["ranked"][0]["costs"]["price"]["source"] == "our bill"


@pytest.mark.usefixtures("matrix")
def test_postgresql_gives_the_answer_that_sqlite_gives(service: Service, client: TestClient) -> None:
    with postgres.server() as url:
        other = Service(Configuration(store=service.configuration.store, database=url))
        index(other)
        with TestClient(create_app(other), base_url="http://localhost") as asks:
            assert asked(asks, use="chatbot") == asked(client, use="chatbot")
            assert asks.get("/catalog").json() == client.get("/catalog").json()

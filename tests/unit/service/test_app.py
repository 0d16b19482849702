"""Is the application one, with one shape for every error?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pytest_llmbench import __version__
from pytest_llmbench.service.app import create_app
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service

Client = Callable[..., TestClient]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    def make(token: str | None = None, hosts: tuple[str, ...] = ()) -> TestClient:
        configuration = Configuration(store=tmp_path / "store", token=token, hosts=hosts)
        return TestClient(create_app(Service(configuration)), base_url="http://localhost")

    return make


def test_it_says_that_it_is_well_and_which_version_it_is(client: Client) -> None:
    with client() as asked:
        assert asked.get("/health").json() == {"status": "ok", "version": __version__}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/health/", 404), ("DELETE", "/health", 405), ("GET", "/../x", 404)],
)
def test_an_error_is_a_problem_wherever_it_comes_from(
    client: Client, method: str, path: str, status: int
) -> None:
    answer = client().request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code == status
    assert answer.json()["type"] == "about:blank"


def test_it_is_asked_by_its_own_names_and_with_a_token_by_any(client: Client) -> None:
    other = {"Host": "bench.example:8000"}
    assert client().get("/health", headers=other).status_code == 400
    assert client(hosts=("bench.example",)).get("/health", headers=other).status_code == 200
    assert client("a-token-of-24-characters").get("/health", headers=other).status_code == 200
    assert client("a-token-of-24-characters", ("x.example",)).get("/health", headers=other).status_code == 400

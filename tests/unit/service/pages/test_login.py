"""Does a browser get in with the token, and with nothing else?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pytest_llmbench.service.app import create_app
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service

TOKEN = "a-token-of-24-characters"
OURS = {"Origin": "http://localhost"}
PAGE = {"Accept": "text/html"}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    service = Service(Configuration(store=tmp_path / "store", token=TOKEN))
    return TestClient(create_app(service), base_url="http://localhost", follow_redirects=False)


def form(client: TestClient, following: str = "") -> dict[str, str]:
    text = client.get("/login", params={"next": following}).text
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text))


def test_the_token_gets_a_cookie_that_is_not_the_token_and_leads_back(client: TestClient) -> None:
    place = client.get("/ui/jobs", headers=PAGE).headers["Location"]
    assert place == "/login?next=/ui/jobs"
    answer = client.post("/login", data={**form(client, "/ui/jobs"), "token": TOKEN}, headers=OURS)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/jobs")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/benchmarks").status_code == 200
    client.post("/logout", data=form_of_page(client), headers=OURS)
    assert client.get("/benchmarks").status_code == 401


def form_of_page(client: TestClient) -> dict[str, str]:
    return {"form_token": form(client)["form_token"]}


def test_another_token_does_not(client: TestClient) -> None:
    answer = client.post("/login", data={**form(client), "token": "hunter2secret"}, headers=OURS)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert "hunter2" not in answer.text


def test_a_form_that_is_not_ours_does_not(client: TestClient) -> None:
    assert client.post("/login", data={"token": TOKEN}, headers=OURS).status_code == 403


@pytest.mark.parametrize(
    "elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "/ui/a\r\nb"]
)
def test_a_login_leads_to_no_other_host(client: TestClient, elsewhere: str) -> None:
    answer = client.post("/login", data={**form(client), "next": elsewhere, "token": TOKEN}, headers=OURS)
    assert answer.headers["Location"] == "/"

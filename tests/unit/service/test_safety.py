"""Which requests does the guard let through, and what do browsers learn of every answer?"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from pytest_llmbench import secrets
from pytest_llmbench.service.safety import HEADERS, LOOPBACK, Guard, Limits
from pytest_llmbench.service.tokens import COOKIE, Tokens

TOKEN = "a-token-of-24-characters"
OURS = "http://localhost"


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"body": (await request.body()).decode()})


async def broken(request: Request) -> PlainTextResponse:
    secrets.learn("hunter2secret")
    msg = "the password hunter2secret is in here"
    raise ValueError(msg)


Client = Callable[..., TestClient]


@pytest.fixture
def client() -> Client:
    def make(token: str | None = None, hosts: frozenset[str] | None = LOOPBACK, **limits: Any) -> TestClient:
        paths = ("/", "/echo", "/health", "/login", "/ui/jobs", "/static/page.css")
        app = Starlette(
            routes=[
                *(Route(path, echo, methods=["GET", "POST"]) for path in paths),
                Route("/broken", broken),
            ]
        )
        app.add_middleware(Guard, tokens=Tokens(token), hosts=hosts, limits=Limits(**limits))
        return TestClient(app, base_url=OURS, follow_redirects=False)

    return make


def test_everything_that_answers_tells_a_browser_what_it_may_load(client: Client) -> None:
    for path in ("/echo", "/nothing", "/broken"):
        headers = client().get(path).headers
        assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "unsafe-inline" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST.", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("attacker.example", 400),
        ("localhost.attacker.example", 400),
        ("localhost:8000@attacker.example", 400),
        ("", 400),
        ("localhost:notaport", 400),
    ],
)
def test_a_page_cannot_reach_it_under_a_name_of_its_own(client: Client, host: str, status: int) -> None:
    answer = client().get("/echo", headers={"Host": host})
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["status"] == 400
        assert "LLMBENCH_HOSTS" in answer.json()["detail"]


def test_a_token_is_asked_for_where_there_is_one(client: Client) -> None:
    asked = client(TOKEN)
    refused = asked.get("/echo")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.headers["content-type"] == "application/problem+json"
    for given in (f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer ", f"Basic {TOKEN}", "Bearer \xe9"):
        assert asked.get("/echo", headers={"Authorization": given.encode("latin-1")}).status_code == 401
    assert asked.get("/echo", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


def test_health_login_and_what_pages_load_need_none(client: Client) -> None:
    for path in ("/health", "/login", "/static/page.css"):
        assert client(TOKEN).get(path).status_code == 200
    assert client(TOKEN).get("/healthy").status_code == 401


def test_a_browser_without_a_login_is_led_to_one_and_back(client: Client) -> None:
    page = {"Accept": "text/html,*/*"}
    assert client(TOKEN).get("/", headers=page).headers["Location"] == "/login"
    assert client(TOKEN).get("/ui/jobs", headers=page).headers["Location"] == "/login?next=/ui/jobs"
    assert (
        client(TOKEN).get("/%2Fa%0d%0ab&c", headers=page).headers["Location"] == "/login?next=//a%0D%0Ab%26c"
    )
    assert client(TOKEN).post("/ui/jobs", headers=page).status_code == 401


def test_a_login_s_cookie_stands_for_the_token(client: Client) -> None:
    asked = client(TOKEN)
    cookie = Tokens(TOKEN).cookie()
    assert TOKEN not in cookie
    assert asked.get("/echo", headers={"Cookie": f"a=b; {COOKIE}={cookie}"}).status_code == 200
    for wrong in (cookie[:-1], f"9{cookie}", TOKEN, "", "..", Tokens("another-token-of-24").cookie()):
        assert asked.get("/echo", headers={"Cookie": f"{COOKIE}={wrong}"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": OURS}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "http://localhost:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://attacker.example"}, 403),
    ],
)
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_page_of_another_site_changes_nothing(
    client: Client, headers: dict[str, str], status: int, token: str | None
) -> None:
    cookie = {} if token is None else {"Cookie": f"{COOKIE}={Tokens(token).cookie()}"}
    assert client(token).post("/echo", json={}, headers={**cookie, **headers}).status_code == status
    # It may look: the browser keeps the answer from it.
    assert client(token).get("/echo", headers={**cookie, **headers}).status_code == 200


def test_who_has_the_token_may_change_something_from_anywhere(client: Client) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "http://attacker.example"}
    assert client(TOKEN).post("/echo", json={}, headers=headers).status_code == 200


def test_a_form_says_where_it_comes_from_and_goes_to_a_page(client: Client) -> None:
    form = {"data": {"a": "b"}}
    assert client().post("/ui/jobs", **form).status_code == 403
    assert client().post("/ui/jobs", headers={"Origin": OURS}, **form).status_code == 200
    refused = client().post("/echo", headers={"Origin": OURS}, **form)
    assert refused.status_code == 415
    assert "application/json" in refused.json()["detail"]


@pytest.mark.parametrize("given", ["text/plain", "application/xml", ""])
def test_a_body_that_is_not_json_is_refused(client: Client, given: str) -> None:
    answer = client().post("/echo", content=b"{}", headers={"Content-Type": given})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b'{"a": NaN}', b"[" * 100_000, b"9" * 10_000, b'"\\ud800"', b'{"a": 1} {"b": 2}'],
)
def test_a_body_that_cannot_be_read_is_refused_in_one_line(client: Client, body: bytes) -> None:
    answer = client().post("/echo", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "not valid JSON" in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 300


def test_a_large_body_is_refused_by_what_it_says_and_by_what_comes(client: Client) -> None:
    asked = client(body=100)
    assert asked.post("/echo", json={"a": "b" * 50}).status_code == 200
    assert asked.post("/echo", json={"a": "b" * 100}).status_code == 413
    huge = {"Content-Type": "application/json", "Content-Length": "9" * 40}
    assert asked.post("/echo", content=b"{}", headers=huge).status_code == 413

    def pieces() -> Any:
        for _ in range(1000):
            yield b'["aaaaaaaa",'

    answer = asked.post("/echo", content=pieces(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["Connection"] == "close"


def test_a_body_that_never_comes_is_not_waited_for() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def never() -> Any:
        await asyncio.Event().wait()

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"10"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/echo",
        "raw_path": b"/echo",
        "query_string": b"",
        "headers": headers,
    }
    asyncio.run(Guard(app, Tokens(None), limits=Limits(body_seconds=0.01))(scope, never, send))
    assert sent[0]["status"] == 408


def test_of_more_requests_than_it_answers_at_once_the_rest_is_told_to_wait(client: Client) -> None:
    answer = client(at_once=0).get("/echo")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"


def test_a_long_address_and_one_with_nul_are_refused(client: Client) -> None:
    assert client().get("/echo?q=" + "a" * 5000).status_code == 414
    assert client().get("/echo%00").status_code == 400


def test_a_defect_is_told_with_an_id_alone_and_the_log_has_the_rest(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pytest_llmbench.service"):
        answer = client().get("/broken")
    problem = json.loads(answer.content)
    assert answer.status_code == 500
    assert "ValueError" not in answer.text
    assert problem["instance"].rpartition(":")[2] in caplog.text
    assert "ValueError" in caplog.text
    assert "hunter2" not in caplog.text + answer.text


def test_the_log_has_no_query_and_no_header(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pytest_llmbench.service"):
        client(TOKEN).get("/echo?key=hunter2secret", headers={"Authorization": f"Bearer {TOKEN}"})
    assert "GET /echo 200" in caplog.text
    assert "hunter2" not in caplog.text
    assert TOKEN not in caplog.text

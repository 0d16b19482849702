"""Does each page answer, whatever it is asked, with nothing in it that others could have written as HTML?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.records import (
    CaseRecord,
    Machine,
    MetricRecord,
    ModelRecord,
    ResultsDocument,
    Session,
)
from pytest_llmbench.results.store import Store
from pytest_llmbench.service.configuration import Configuration
from pytest_llmbench.service.state import Service

testclient = pytest.importorskip("fastapi.testclient")

HOSTILE = "<script>alert(1)</script>"
FIRST, SECOND = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"


def metric(value: float, unit: str = "s") -> MetricRecord:
    return MetricRecord(
        unit=unit, better="lower", n=1, median=value, mean=value, stddev=None, min=value, max=value,
        p50=value, p95=value, p99=value,
    )  # fmt: skip


def case(number: int, **more: object) -> CaseRecord:
    model = ModelRecord(name=HOSTILE if number == 1 else "tiny", backend="llamacpp", quantization="f16")
    values = {
        "nodeid": f"f.py::test_{number}[{HOSTILE}]",
        "name": f"test_{number}",
        "file": "f.py",
        "model": model,
        "outcome": "passed",
        "metrics": {"ttft": metric(0.1 * (number + 1)), "tpot": metric(0.01)},
        **more,
    }
    return CaseRecord.model_validate(values)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    suites = tmp_path / "suites"
    suites.mkdir()
    store = Store(tmp_path / "store")
    failed = {"outcome": "failed", "verdict": "fail", "verdict_reason": HOSTILE, "error": f"{HOSTILE}\x1b[2J"}
    for session in (FIRST, SECOND):
        document = ResultsDocument(
            session=Session(
                id=session, started=f"{session[:4]}-01-0{session[7]}T00:00:00Z", state="finished"
            ),
            machine=Machine(id="m1", cpu={"model": HOSTILE}),
            cases=[case(number, **(failed if number == 2 else {})) for number in range(60)],
        )
        store.write(document)
    made = Service(Configuration(store=store.path, suites=(suites,), models=("tiny", "other")))
    Index(store, made.database).update()
    yield made
    made.close()


@pytest.fixture
def client(service: Service) -> Iterator[object]:
    from pytest_llmbench.service.app import create_app

    app = create_app(service)
    with testclient.TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as found:
        # As a browser sends it with a form.
        found.headers["origin"] = "http://127.0.0.1"
        yield found


PAGES = [
    "/",
    "/ui/queue",
    "/ui/jobs",
    "/ui/results",
    "/ui/results?verdict=fail",
    f"/ui/sessions/{SECOND}",
    f"/ui/cases/{SECOND}/2",
    "/ui/compare",
    f"/ui/compare/{FIRST}..{SECOND}",
    f"/ui/compare/{FIRST}..{SECOND}?show=regressed",
    "/ui/trends",
    "/ui/trends?case=test_1&metric=ttft",
    "/ui/leaderboard?metric=ttft",
    "/ui/pareto?x=ttft&y=tpot",
]


@pytest.mark.parametrize("address", PAGES)
def test_a_page_is_html_without_what_others_wrote_as_such(client: object, address: str) -> None:
    answer = client.get(address)  # type: ignore[attr-defined]

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert HOSTILE not in answer.text
    assert "\x1b" not in answer.text
    # The policy of every answer forbids both, so they would not work.
    assert not re.search(r"\sstyle=|\son\w+=|<style", answer.text)
    assert all(
        " src=" in found or "application/json" in found for found in re.findall(r"<script[^>]*>", answer.text)
    )
    assert "'unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"(src|href|action|hx-get)=\"(https?:)?//", answer.text)


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/ui/jobs/none", 404, "There is no job"),
        ("/ui/jobs?after=none", 422, "the cursor is not one"),
        ("/ui/results?after=none", 422, "the cursor is not one of this query"),
        ("/ui/results?where=nothing", 422, "is not a condition"),
        ("/ui/results?where=%22", 422, "quotation mark that is not closed"),
        ("/ui/results?sort=none", 422, "there is no metric"),
        ("/ui/results?verdict=none", 422, "there is no verdict"),
        ("/ui/sessions/..%2f..%2fetc%2fpasswd", 404, "There is nothing here"),
        ("/ui/sessions/20260101T000000Z-cccccccc", 404, "There is no session"),
        (f"/ui/cases/{SECOND}/60", 503, "has no case at position 60"),
        (f"/ui/cases/{SECOND}/-1", 404, "a number from 0"),
        ("/ui/compare/a", 404, "two sessions are compared as A..B"),
        (f"/ui/compare/{FIRST}..{FIRST}", 404, "cannot be compared with itself"),
        ("/ui/trends?case=none", 404, "no session measured"),
        ("/ui/trends?case=f&metric=none", 404, "there is no metric"),
        ("/ui/leaderboard?metric=none", 422, "there is no metric"),
        ("/ui/leaderboard?test=none", 200, "no session measured the test"),
        ("/ui/pareto?x=ttft&y=ttft", 422, "choose two different metrics"),
        ("/ui/none", 404, "There is nothing here"),
    ],
)
def test_bad_input_is_said_in_a_page(client: object, address: str, status: int, said: str) -> None:
    answer = client.get(address)  # type: ignore[attr-defined]

    assert answer.status_code == status
    assert said in answer.text
    assert '<nav aria-label="Pages">' in answer.text


def test_results_come_in_pages_that_have_every_case_once(client: object) -> None:
    seen: list[str] = []
    address: str | None = "/ui/results?sort=ttft"
    while address:
        text = client.get(address).text  # type: ignore[attr-defined]
        seen += re.findall(r'<a href="(/ui/cases/[^"]+)"', text)
        following = re.search(r'<a href="([^"]+)" rel="next"', text)
        address = following[1].replace("&amp;", "&") if following else None

    assert len(seen) == len(set(seen)) == 120


def test_the_badge_of_a_case_is_there_and_can_be_copied(client: object) -> None:
    listed = client.get("/ui/results").text  # type: ignore[attr-defined]
    place = re.search(r'<a href="(/ui/cases/[^"]+)"', listed)
    assert place is not None
    text = client.get(place[1]).text  # type: ignore[attr-defined]
    shown = re.search(r'<img src="(/badge/[^"]+)"', text)
    assert shown is not None
    answer = client.get(shown[1].replace("&amp;", "&"))  # type: ignore[attr-defined]
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert f"(http://HOST:PORT{shown[1]})" in text


def token(client: object) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', client.get("/").text)  # type: ignore[attr-defined]
    assert found is not None
    return found[1]


def test_a_form_starts_a_job(client: object, service: Service) -> None:
    sent = {
        "form_token": token(client),
        "models": ["tiny", "other"],
        "backends": ["llamacpp"],
        "prompt": "Hello",
        "rounds": "2",
    }
    answer = client.post("/ui/start", data=sent)  # type: ignore[attr-defined]

    assert answer.status_code == 303
    job = service.queue.get(answer.headers["location"].rpartition("/")[2])
    assert job.request["config"] == {
        "rounds": 2,
        "backends": ["llamacpp"],
        "models": ["tiny", "other"],
        "prompt": "Hello",
    }
    page = client.get(answer.headers["location"])  # type: ignore[attr-defined]
    assert "tiny, other on llamacpp" in page.text
    assert 'hx-trigger="every 2s' in page.text


def test_a_form_that_is_not_valid_comes_back_as_it_was(client: object, service: Service) -> None:
    sent = {"form_token": token(client), "models": ["tiny"], "prompt": HOSTILE, "rounds": "many"}
    answer = client.post("/ui/start", data=sent)  # type: ignore[attr-defined]

    assert answer.status_code == 422
    assert "&lt;script&gt;alert(1)" in answer.text
    assert 'value="many"' in answer.text
    assert "choose a backend" in answer.text
    assert service.queue.page()[0] == []


def test_a_form_of_another_page_is_refused(client: object, service: Service) -> None:
    sent = {"form_token": "guessed", "models": ["tiny"], "backends": ["llamacpp"], "prompt": "Hello"}

    assert client.post("/ui/start", data=sent).status_code == 403  # type: ignore[attr-defined]
    assert service.queue.page()[0] == []


def test_a_page_asks_less_often_while_something_is_measured_and_not_when_all_is_over(
    client: object, service: Service
) -> None:
    job = service.queue.submit("model", {"model_id": "tiny"}, "cpu")
    running = service.queue.claim("cpu")
    assert running is not None
    address = f"/ui/jobs/{job.id}/live"

    assert 'hx-trigger="every 10s' in client.get(address).text  # type: ignore[attr-defined]
    service.queue.finish(running, "failed", HOSTILE)
    assert "hx-trigger" not in client.get(address).text  # type: ignore[attr-defined]
    assert "hx-trigger" not in client.get("/ui/queue").text  # type: ignore[attr-defined]


def test_cancel_goes_back_to_the_job(client: object, service: Service) -> None:
    job = service.queue.submit("model", {"model_id": "tiny"}, "cpu")
    sent = {"form_token": token(client)}
    answers = [client.post(f"/ui/jobs/{job.id}/cancel", data=sent) for _ in range(2)]  # type: ignore[attr-defined]

    assert [answer.status_code for answer in answers] == [303, 303]
    assert service.queue.get(job.id).state == "cancelled"


def test_a_database_that_does_not_answer_is_said_in_a_page(tmp_path: Path) -> None:
    from pytest_llmbench.service.app import create_app

    configuration = Configuration(store=tmp_path, database="postgresql://nobody@127.0.0.1:1/none")
    with testclient.TestClient(create_app(Service(configuration)), base_url="http://127.0.0.1") as found:
        answer = found.get("/ui/results")

    assert answer.status_code == 503
    assert "This cannot be shown" in answer.text


def test_files_of_pages_are_kept_by_a_browser_while_they_are_the_same(client: object) -> None:
    text = client.get("/").text  # type: ignore[attr-defined]
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', text)

    assert len(addresses) >= 4
    for address in addresses:
        answer = client.get(address)  # type: ignore[attr-defined]
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True)
    assert client.get("/static/htmx.LICENSE").status_code == 404  # type: ignore[attr-defined]

"""Are verdicts those of the gate, trends broken where they have to be, and regressions listed?"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from pytest_llmbench.gate.compare import compare
from pytest_llmbench.report.comparison import to_json
from pytest_llmbench.results.index.build import Index
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.service.state import Service

Measured = list[ResultsDocument]


def test_two_sessions_are_compared_as_the_gate_does(client: TestClient, measured: Measured) -> None:
    base, new = measured
    told = client.get("/compare", params={"base": base.session.id, "new": new.session.id}).json()
    assert told == json.loads(json.dumps(to_json(compare([base], new))))


def test_what_cannot_be_compared_is_refused(client: TestClient, measured: Measured) -> None:
    session = measured[0].session.id
    assert client.get("/compare", params={"base": session, "new": session}).status_code == 422
    gone = {"base": session, "new": "20260109T000000Z-00000009"}
    assert client.get("/compare", params=gone).status_code == 404
    assert client.get("/compare", params={"base": "latest", "new": session}).status_code == 422
    assert client.get("/compare", params={"new": session}).status_code == 422


def test_a_trend_has_a_line_for_each_machine(
    client: TestClient, service: Service, measured: Measured, a_session: Callable[..., ResultsDocument]
) -> None:
    service.store.write(a_session(3, machine="machine-b"))
    service.store.write(a_session(4, version="9.9"))
    Index(service.store, service.database).update()
    told = client.get("/trends", params={"case": "test_x", "metric": "tpot"}).json()
    assert told["unit"] == "s"
    lines = {line["machine"]: line["points"] for line in told["lines"]}
    assert [bool(point["broken"]) for point in lines["machine-a"]] == [False, False, True]
    assert [point["session_id"] for point in lines["machine-b"]] == ["20260103T000000Z-00000003"]
    assert client.get("/trends", params={"case": "nothing"}).status_code == 404
    assert client.get("/trends", params={"case": "test_x", "metric": "magic"}).status_code == 404


def test_a_wildcard_is_a_letter_like_others(client: TestClient, measured: Measured) -> None:
    assert client.get("/trends", params={"case": "%"}).status_code == 404


def test_what_failed_last_is_a_regression_until_it_passes(
    client: TestClient, service: Service, measured: Measured, a_session: Callable[..., ResultsDocument]
) -> None:
    (one,) = client.get("/regressions").json()["items"]
    assert (one["session_id"], one["nodeid"]) == (measured[1].session.id, measured[1].cases[0].nodeid)
    service.store.write(a_session(3))
    Index(service.store, service.database).update()
    assert client.get("/regressions").json()["items"] == []


@pytest.mark.parametrize(("form", "kind"), [("svg", "image/svg+xml"), ("json", "application/json")])
def test_a_badge_tells_the_newest_value_or_that_there_is_none(
    client: TestClient, measured: Measured, form: str, kind: str
) -> None:
    answer = client.get(f"/badge/test_x.{form}", params={"metric": "tpot"})
    assert answer.headers["content-type"] == kind
    assert "TPOT" in answer.text
    assert "unknown" in client.get(f"/badge/other.{form}").text
    assert client.get(f"/badge/test_x.{form}", params={"metric": "magic"}).status_code == 422

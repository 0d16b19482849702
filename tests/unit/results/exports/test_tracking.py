"""Does a session come to an MLflow server whole and once, whatever breaks on the way?"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.exports.tracking import WAITS, Tracking
from pytest_llmbench.results.records import ResultsDocument
from tests.fakes.mlflow_server import MLflow

Maker = Callable[..., Any]
SECRET = "s3cr3t-of-a-server"


@pytest.fixture
def server() -> Iterator[MLflow]:
    made = MLflow()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture
def document(a_case: Maker, a_session: Maker) -> ResultsDocument:
    cases = [a_case(f"test_x[{number}]", rounds=2, processes=1) for number in range(21)]
    made: ResultsDocument = a_session(cases=cases)
    return made


def tracking(server: MLflow, slept: list[float] | None = None) -> Tracking:
    return Tracking(server.url, sleep=(slept if slept is not None else []).append)


def whole(server: MLflow, document: ResultsDocument) -> bool:
    """Whether each case has one run, finished, below the session's one."""
    (parent,) = server.parents()
    found = server.children()
    return (
        sorted(run["tags"]["llmbench.nodeid"] for run in found) == sorted(c.nodeid for c in document.cases)
        and {run["status"] for run in server.runs.values()} == {"FINISHED"}
        and {run["tags"]["mlflow.parentRunId"] for run in found} == {parent["id"]}
        and all(any(one[0] == "ttft.median" for one in run["metrics"]) for run in found)
    )


def test_a_session_is_a_run_and_each_case_one_below_it(server: MLflow, document: ResultsDocument) -> None:
    sent = tracking(server).send(document, "nightly")
    assert (sent.new, sent.there) == (21, 0)
    assert list(server.experiments) == ["nightly"]
    assert whole(server, document)


def test_what_is_there_is_left_alone(server: MLflow, document: ResultsDocument) -> None:
    tracking(server).send(document)
    server.paths.clear()
    sent = tracking(server).send(document)
    assert (sent.new, sent.there) == (0, 21)
    assert set(server.paths) == {"experiments/get-by-name", "runs/search"}
    assert whole(server, document)


def test_a_part_can_be_sent_before_the_whole(server: MLflow, document: ResultsDocument) -> None:
    tracking(server).send(document.model_copy(update={"cases": document.cases[:3]}))
    sent = tracking(server).send(document)
    assert (sent.new, sent.there) == (18, 3)
    assert whole(server, document)


@pytest.mark.parametrize("path", ["runs/create", "runs/log-batch", "runs/update", "runs/search"])
def test_it_goes_on_where_it_broke_off(server: MLflow, document: ResultsDocument, path: str) -> None:
    slept: list[float] = []
    tracking(server).send(document.model_copy(update={"cases": document.cases[:3]}))
    server.faults = [(path, "every 503")]
    with pytest.raises(UsageError, match=r"^http://127\.0\.0\.1:\d+: the server answers with status 503$"):
        tracking(server, slept).send(document)
    assert tuple(slept) == WAITS
    server.faults.clear()
    tracking(server).send(document)
    assert whole(server, document)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("experiments/get-by-name", "503"),
        *product(("experiments/create", "runs/create", "runs/log-batch", "runs/update"), ("503", "lost")),
    ],
)
def test_a_try_that_failed_is_made_once_more(
    server: MLflow, document: ResultsDocument, path: str, fault: str
) -> None:
    server.faults = [(path, fault)]
    slept: list[float] = []
    tracking(server, slept).send(document)
    assert tuple(slept) == WAITS[:1]
    assert not server.faults
    assert whole(server, document)


def test_no_second_run_is_made_where_an_answer_was_lost(server: MLflow, document: ResultsDocument) -> None:
    server.faults = [("runs/create", "lost")] * 6
    tracking(server).send(document)
    assert len(server.runs) == 22
    assert whole(server, document)


def test_of_two_runs_of_a_case_the_finished_one_holds(server: MLflow, document: ResultsDocument) -> None:
    tracking(server).send(document)
    for run in [*server.children()]:
        twin = {**run, "id": f"{run['id']}-twin", "status": "RUNNING"}
        server.runs = {twin["id"]: twin, **server.runs, f"{run['id']}-third": {**twin, "id": "third"}}
    sent = tracking(server).send(document)
    assert (sent.new, sent.there) == (0, 21)


def test_an_answer_without_end_is_one_line(
    server: MLflow, document: ResultsDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.results.exports.tracking.MAX_PAGES", 1)
    tracking(server).send(document)
    with pytest.raises(UsageError, match=r"it has more than 20 runs of session 20260101T.*; remove them"):
        tracking(server).send(document)


def test_an_experiment_that_is_deleted_there_is_one_line(server: MLflow, document: ResultsDocument) -> None:
    server.experiments["old"] = {"experiment_id": "7", "lifecycle_stage": "deleted"}
    with pytest.raises(UsageError, match=r"^--experiment old: it is deleted on .*another name with"):
        tracking(server).send(document, "old")


def test_what_the_server_refuses_is_in_its_own_words(server: MLflow, document: ResultsDocument) -> None:
    tracking(server).send(document)
    (run, *_) = server.children()
    run["status"], run["params"]["model"] = "RUNNING", "another"
    with pytest.raises(
        UsageError, match=r"refuses it: INVALID_PARAMETER_VALUE: Changing param values.*run run1 anew"
    ):
        tracking(server).send(document)


def test_a_server_that_is_not_there_is_said_at_once(server: MLflow, document: ResultsDocument) -> None:
    server.close()
    slept: list[float] = []
    with pytest.raises(UsageError, match="nothing listens there"):
        tracking(server, slept).send(document)
    assert not slept


@pytest.mark.parametrize("url", ["ftp://x", "localhost:5000", "http://"])
def test_a_bad_url_is_one_line(url: str) -> None:
    with pytest.raises(UsageError, match=r"^--to mlflow=.*write http://HOST:PORT"):
        Tracking(url)


@pytest.mark.parametrize("name", ["", " ", "x" * 501])
def test_a_bad_name_of_an_experiment_is_one_line(
    server: MLflow, document: ResultsDocument, name: str
) -> None:
    with pytest.raises(UsageError, match=r"^--experiment: a name has 1 to 500 characters$"):
        tracking(server).send(document, name)
    assert not server.paths


def test_another_server_is_told_apart(server: MLflow, document: ResultsDocument) -> None:
    wrong = Tracking(f"{server.url}/other", sleep=[].append)
    with pytest.raises(UsageError, match="this is not an MLflow server"):
        wrong.send(document)


@pytest.mark.parametrize(
    ("environment", "user", "header"),
    [
        ({}, "", None),
        ({"TOKEN": SECRET}, "", f"Bearer {SECRET}"),
        ({"TOKEN": SECRET, "USERNAME": "u", "PASSWORD": "p"}, "", f"Bearer {SECRET}"),
        ({"USERNAME": "u@x", "PASSWORD": SECRET}, "", "u@x"),
        ({}, f"u%40x:{SECRET}@", "u@x"),
    ],
)
def test_a_login_is_sent_and_never_shown(
    server: MLflow,
    document: ResultsDocument,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    user: str,
    header: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    if header == "u@x":
        header = "Basic " + base64.b64encode(f"u@x:{SECRET}".encode()).decode()
    made = Tracking(server.url.replace("://", f"://{user}"), sleep=[].append)
    made.send(document)
    assert server.authorizations == {header}
    assert SECRET not in made.shown
    server.faults = [("runs/search", "every 503")]
    with pytest.raises(UsageError) as caught:
        made.send(document)
    assert SECRET not in str(caught.value)

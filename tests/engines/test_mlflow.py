"""Does a real MLflow server take a session, once, and show what was measured?

It lives in an environment of its own: ``LLMBENCH_MLFLOW_PYTHON`` names its interpreter
(``tox run -e mlflow,tracking`` makes one and runs these tests).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.results.exports.mlflow import session_run
from pytest_llmbench.results.exports.tracking import Tracking
from pytest_llmbench.results.records import ResultsDocument
from pytest_llmbench.servers.ask import NoAnswerError, get, post
from tests.unit.conftest import _case as a_case
from tests.unit.conftest import _session as a_session
from tests.waiting import until

VARIABLE = "LLMBENCH_MLFLOW_PYTHON"
API = "/api/2.0/mlflow/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server of its own answers."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} does not name an interpreter that has MLflow")
    folder: Path = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [python, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", port]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    with (folder / "log").open("wb") as log:
        # Its workers outlive it, so that the whole group has to be ended.
        started = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert started.poll() is None, (folder / "log").read_text(errors="replace")[-4000:]
        try:
            return get(f"{url}/health").status == 200
        except NoAnswerError:
            return False

    try:
        until(answers, 120)
        yield url
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            started.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


@pytest.fixture
def document(request: pytest.FixtureRequest) -> ResultsDocument:
    """A session of its own for each test, with 23 cases."""
    odd: dict[str, object] = {"a|b": "1", "long": "x" * 9000, "empty": "", "é ü": "\N{SNOWMAN}"}
    cases = [
        a_case("test_x[fine]", rounds=100, processes=3),
        a_case("test_x[odd]", params=odd, options={"n|m": "", "flag": True}),
        a_case("test_x[failed]", outcome="failed"),
        *(a_case(f"test_y[{number}]", rounds=1, processes=1) for number in range(20)),
    ]
    made: ResultsDocument = a_session(cases=cases)
    made.session.id = f"20260102T030405Z-{crc32(request.node.name.encode()):08x}"
    return made


def runs(url: str, experiment: str, document: ResultsDocument) -> list[Any]:
    question = {
        "experiment_ids": [experiment],
        "filter": f'tags.`llmbench.session` = "{document.session.id}"',
        "max_results": 100,
    }
    found: list[Any] = post(f"{url}{API}runs/search", question).json()["runs"]
    return found


def by_key(run: Any, what: str) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in run["data"][what]}


def test_a_session_is_there_once_with_what_was_measured(server: str, document: ResultsDocument) -> None:
    first = Tracking(server).send(document, "a new one")
    second = Tracking(server).send(document, "a new one")
    assert (first.new, first.there, second.new, second.there) == (23, 0, 0, 23)
    found = runs(server, first.experiment, document)
    assert len(found) == 24
    named = {by_key(run, "tags").get("llmbench.nodeid"): run for run in found}
    assert named[document.cases[2].nodeid]["info"]["status"] == "FAILED"
    fine, case = named[document.cases[0].nodeid], document.cases[0]
    assert by_key(fine, "metrics")["ttft.p95"] == pytest.approx(case.metrics["ttft"].p95)
    assert by_key(fine, "tags")["mlflow.parentRunId"] == named[None]["info"]["run_id"]
    query = f"run_id={fine['info']['run_id']}&metric_key=ttft&max_results=1000"
    history = get(f"{server}{API}metrics/get-history?{query}").json()["metrics"]
    steps = {one.get("step", 0): one["value"] for one in history}
    assert len(history) == len(steps) == 300
    assert steps == pytest.approx({step: one.values["ttft"] for step, one in enumerate(case.rounds)})


def test_it_goes_on_where_it_broke_off(
    server: str, document: ResultsDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = Tracking(server)
    end, left = Tracking._end, [3]

    def breaks(self: Tracking, *given: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        end(self, *given)

    monkeypatch.setattr(Tracking, "_end", breaks)
    with pytest.raises(KeyboardInterrupt):
        tracking.send(document)
    monkeypatch.undo()
    sent = tracking.send(document)
    assert (sent.new, sent.there) == (20, 3)
    found = runs(server, sent.experiment, document)
    assert len(found) == 24
    assert "RUNNING" not in {run["info"]["status"] for run in found}


def test_an_experiment_that_is_deleted_is_one_line(server: str, document: ResultsDocument) -> None:
    made = post(f"{server}{API}experiments/create", {"name": "old"}).json()["experiment_id"]
    assert post(f"{server}{API}experiments/delete", {"experiment_id": made}).status == 200
    with pytest.raises(UsageError, match=r"^--experiment old: it is deleted on "):
        Tracking(server).send(document, "old")


def test_a_path_without_its_api_is_one_line(server: str, document: ResultsDocument) -> None:
    with pytest.raises(UsageError, match="is not an MLflow server"):
        Tracking(f"{server}/elsewhere").send(document)


def test_the_session_has_its_machine(server: str, document: ResultsDocument) -> None:
    sent = Tracking(server).send(document, "machines")
    (parent,) = (
        run for run in runs(server, sent.experiment, document) if "llmbench.nodeid" not in by_key(run, "tags")
    )
    assert by_key(parent, "params") == session_run(document).params

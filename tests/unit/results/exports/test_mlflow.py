"""Does what an MLflow server gets say everything of a case, within what the server takes?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pytest_llmbench.results.exports.mlflow import (
    MAX_ENTITIES,
    MAX_FEW,
    MAX_KEY,
    MAX_PARAM,
    MAX_TAG,
    Run,
    batches,
    case_run,
    session_run,
)
from pytest_llmbench.times import read_iso

Maker = Callable[..., Any]


def made(params: int = 0, metrics: int = 0, length: int = 1) -> Run:
    return Run(
        name="x",
        status="FINISHED",
        start=0,
        end=1,
        tags={},
        params={f"p{number}": "x" * length for number in range(params)},
        metrics=tuple({"key": "m", "value": 0.5, "timestamp": 1, "step": step} for step in range(metrics)),
    )


def test_a_case_has_its_rounds_as_steps_and_its_summaries(a_session: Maker) -> None:
    document = a_session()
    (case,) = document.cases
    run = case_run(document, case)
    steps = {one["step"]: one["value"] for one in run.metrics if one["key"] == "ttft"}
    assert steps == {step: one.values["ttft"] for step, one in enumerate(case.rounds)}
    summary = {one["key"]: one["value"] for one in run.metrics if one["key"].startswith("ttft.")}
    assert summary["ttft.median"] == case.metrics["ttft"].median
    assert summary["ttft.p95"] == case.metrics["ttft"].p95
    assert run.tags["llmbench.session"] == document.session.id
    assert run.tags["llmbench.nodeid"] == case.nodeid
    assert run.params["max_new_tokens"] == "8"
    assert run.params["model"] == "tiny"


def test_a_round_that_does_not_count_leaves_its_step_out(a_session: Maker) -> None:
    document = a_session()
    (case,) = document.cases
    first, *others = case.processes[0].rounds
    process = case.processes[0].model_copy(
        update={"rounds": [first.model_copy(update={"counted": False}), *others]}
    )
    case = case.model_copy(update={"processes": [process]})
    steps = [one["step"] for one in case_run(document, case).metrics if one["key"] == "ttft"]
    assert steps == list(range(1, len(process.rounds)))


def test_what_is_made_twice_is_the_same(a_session: Maker) -> None:
    document = a_session()
    ended = document.model_copy(
        update={"session": document.session.model_copy(update={"ended": "2026-02-01T00:00:00Z"})}
    )
    assert case_run(document, document.cases[0]) == case_run(ended, document.cases[0])


def test_the_session_has_the_machine_and_the_commit(a_session: Maker) -> None:
    run = session_run(a_session())
    assert run.params["id"] == "machine-a"
    assert run.params["commit.branch"] == "main"
    assert run.tags["mlflow.source.git.commit"] == "a" * 40
    assert run.start == 1000 * read_iso("2026-01-01T00:00:00Z")


def test_how_a_case_ended_is_how_its_run_did(a_session: Maker) -> None:
    for outcome, status in (("passed", "FINISHED"), ("failed", "FAILED"), ("skipped", "KILLED")):
        document = a_session(outcome=outcome)
        assert case_run(document, document.cases[0]).status == status


def test_names_and_values_keep_to_what_the_server_takes(a_session: Maker) -> None:
    params: dict[str, object] = {"a|b": "1", "a/b": "2", "é": "3", "l" * 300: "4", "long": "x" * 9000}
    document = a_session(params=params, name=f"test_x[{'n' * 9000}]")
    run = case_run(document, document.cases[0])
    own = {key: value for key, value in run.params.items() if key.startswith("param.")}
    assert len(own) == len(params)
    assert all(len(key) <= MAX_KEY and key.isascii() and "|" not in key and "/" not in key for key in own)
    assert len(run.params["param.long"]) == MAX_PARAM
    assert len(run.tags["llmbench.nodeid"]) == MAX_TAG
    assert len(run.name) == MAX_KEY
    other = document.cases[0].model_copy(update={"nodeid": document.cases[0].nodeid + "x"})
    assert case_run(document, other).key != run.key


def test_a_request_has_no_more_than_the_server_takes() -> None:
    for run in (made(250, 2500), made(1000, length=6000), made(100, 900), made(99, 902)):
        found = list(batches(run))
        assert [one for batch in found for one in batch["params"]] == [
            {"key": key, "value": value} for key, value in run.params.items()
        ]
        assert [one for batch in found for one in batch["metrics"]] == list(run.metrics)
        for batch in found:
            assert len(batch["params"]) <= MAX_FEW
            assert len(batch["params"]) + len(batch["metrics"]) <= MAX_ENTITIES
            assert len(json.dumps({"run_id": "x" * 32, **batch})) < 10**6


def test_a_run_of_nothing_needs_no_request() -> None:
    assert not list(batches(made()))

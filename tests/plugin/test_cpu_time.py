"""Is the CPU time of a server measured, kept, shown and exported, and is it said why it has none?"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from tests.fakes.openai_server import fake_server
from tests.plugin.conftest import Run

Document = Callable[[], dict[str, Any]]

BENCH = """
import pytest

@pytest.mark.llm(concurrency=[2], requests=8, processes=2, prompt_length=20, max_new_tokens=4)
def test_load(llm_load):
    run = llm_load.measure()
    assert run.cpu_time_per_token.n == 2
    assert run.cpu_time_per_token.median > 0

@pytest.mark.llm(rounds=3, max_new_tokens=4)
def test_alone(llm_model):
    run = llm_model.measure("A benchmark is")
    assert run.cpu_time_per_token.n == 3
    assert run.prefill_cpu_time.n == 0
"""


def test_a_level_has_one_value_and_a_server_that_is_asked_alone_one_a_round(
    bench: pytest.Pytester, run: Run, document: Document, engine: str
) -> None:
    bench.makepyfile(BENCH)
    result = run(f"--llm-serve={engine}", "--llm-columns=cpu_time_per_token", backend=None)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*req/s*cpu_time_per_token*"])
    load, alone = document()["cases"]
    values = [process["values"]["cpu_time_per_token"] for process in load["processes"]]
    assert load["metrics"]["cpu_time_per_token"]["n"] == 2
    assert load["metrics"]["cpu_time_per_token"]["min"] == min(values) > 0
    told = {process["engine"]["cpu_time"] for case in (load, alone) for process in case["processes"]}
    assert told == {"not comparable beside other load: a server has several threads"}
    (process,) = alone["processes"]
    assert "cpu_time_per_token" not in process["values"]
    assert all(one["values"]["cpu_time_per_token"] > 0 for one in process["rounds"])

    def export(form: str) -> str:
        done = CliRunner().invoke(app, ["export", "out.json", "-f", form])
        assert done.exit_code == 0, done.output
        return done.stdout

    row, _ = csv.DictReader(io.StringIO(export("csv")))
    assert float(row["cpu_time_per_token_median_s"]) == load["metrics"]["cpu_time_per_token"]["median"]
    assert row["cpu_time_per_token_n"] == "2"
    lines = [json.loads(line) for line in export("jsonl").splitlines()]
    assert {one["cpu_time_per_token"] for one in lines if one["name"] == load["name"]} == set(values)


def test_a_server_in_pytests_own_process_has_none_and_says_why(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile("def test_alone(llm_model): assert llm_model.measure('a').cpu_time_per_token.n == 0")
    with fake_server() as server:
        result = run(f"--llm-base-url={server.url}", backend=None)
    result.assert_outcomes(passed=1)
    (case,) = document()["cases"]
    told = case["processes"][0]["engine"]["cpu_time"]
    assert told == (
        "not measured: the server's processes cannot be read, or this session runs in one of them"
    )


def test_an_engine_without_isolation_has_none_and_says_why(
    bench: pytest.Pytester, run: Run, document: Document
) -> None:
    bench.makepyfile("def test_alone(llm_model): assert llm_model.measure('a').cpu_time_per_token.n == 0")
    run("--llm-isolation=none", "--llm-model=tiny").assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert case["processes"][0]["engine"]["cpu_time"].startswith("not measured: with --llm-isolation=none")

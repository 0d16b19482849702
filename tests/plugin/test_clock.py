"""Which clock judges, on the real engine?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.hardware.monitor import HardwareMonitor
from tests.plugin.conftest import Run

pytest.importorskip("llama_cpp")

Document = Callable[[], dict[str, Any]]

BENCH = """
import pytest

@pytest.mark.llm(models=["tiny"], rounds=2, max_new_tokens=2{more})
def test_speed(llm_model):
    llm_model.measure("hello")
"""
EQUAL = ("--llm-ab=env.LLMBENCH_NOTHING=1", "--llm-budget=1")


def metrics_judged(document: Document) -> set[str]:
    (now,) = [case for case in document()["cases"] if not case["measurement"].endswith("@base")]
    return {one["metric"] for one in now["judgments"]}


@pytest.fixture
def on_llamacpp(run: Run) -> Run:
    def run_it(*args: str) -> pytest.RunResult:
        return run(*args, backend="llamacpp")

    return run_it


def test_every_round_has_the_cpu_time_of_its_engine(
    bench: pytest.Pytester, on_llamacpp: Run, document: Document
) -> None:
    bench.makepyfile(BENCH.format(more=""))
    on_llamacpp("--llm-option=llamacpp.n_threads=1", "--llm-columns=cpu_time_per_token").assert_outcomes(
        passed=1
    )
    (case,) = document()["cases"]
    (process,) = case["processes"]
    assert process["engine"]["cpu_time"] == "comparable"
    for one in process["rounds"]:
        values = one["values"]
        whole = values["cpu_time_per_token"] * one["output_tokens"]
        assert 0 < values["prefill_cpu_time"] < whole
    assert document()["metrics"]["cpu_time_per_token"]["clock"] == "cpu"
    assert case["metrics"]["cpu_time_per_token"]["n"] == 2


def test_the_cpu_clock_judges_cpu_times_of_one_thread_and_the_header_says_so(
    bench: pytest.Pytester, on_llamacpp: Run, document: Document
) -> None:
    bench.makepyfile(BENCH.format(more=""))
    result = on_llamacpp(*EQUAL, "--llm-clock=cpu")
    result.stdout.fnmatch_lines(["llmbench: *llamacpp * (1 thread, to be judged by CPU time)*"])
    assert metrics_judged(document) == {"prefill_cpu_time", "cpu_time_per_token", "peak_rss"}
    for case in document()["cases"]:
        assert case["protocol"]["options"]["n_threads"] == 1


def test_a_marker_has_a_clock_and_the_threads_that_somebody_set_stay(
    bench: pytest.Pytester, on_llamacpp: Run, document: Document
) -> None:
    more = ', clock="cpu", backend_options={"llamacpp": {"n_threads": 2}}'
    bench.makepyfile(BENCH.format(more=more))
    on_llamacpp().assert_outcomes(passed=1)
    (case,) = document()["cases"]
    assert case["protocol"]["options"]["n_threads"] == 2
    told = case["processes"][0]["engine"]["cpu_time"]
    assert told.startswith("not comparable beside other load: 2 threads")


def test_the_wall_clock_of_an_ini_file_has_no_cpu_time_beside_it(
    bench: pytest.Pytester, on_llamacpp: Run, document: Document
) -> None:
    bench.makepyfile(BENCH.format(more=""))
    bench.makeini("[pytest]\nllm_clock = wall\nllm_disturbed = keep\n")
    on_llamacpp(*EQUAL)
    assert metrics_judged(document) == {"ttft", "tpot", "decode_throughput", "peak_rss"}


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--llm-clock=sun", "--llm-clock: 'sun' is not one of auto, wall, cpu"),
        ("--llm-disturbed=maybe", "--llm-disturbed: 'maybe' is not one of auto, drop, keep"),
    ],
)
def test_what_is_not_a_choice_is_refused(
    bench: pytest.Pytester, on_llamacpp: Run, option: str, told: str
) -> None:
    bench.makepyfile(BENCH.format(more=""))
    result = on_llamacpp(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}*"])


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every round runs beside the load of others."""
    monkeypatch.setattr(HardwareMonitor, "disturbance", lambda *_: ("foreign_cpu",))


def test_stored_sessions_of_a_machine_that_others_use_are_judged_by_their_cpu_times(
    bench: pytest.Pytester, run: Run, document: Document, crowded: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.makepyfile(BENCH.format(more=", processes=2"))
    saved = run("--llm-clock=cpu", "--llm-save=main", backend="llamacpp", monitor=True)
    saved.assert_outcomes(passed=1)
    saved.stdout.fnmatch_lines(
        ["*test_speed*: a baseline for CPU times alone: 4 of 4 rounds were disturbed*"]
    )
    assert document()["cases"][0]["clock"] == "cpu"
    generous = ("--llm-threshold=cpu_time_per_token:99%", "--llm-threshold=prefill_cpu_time:off")
    more = ("--llm-compare=main", "--llm-inconclusive=pass", *generous)
    run("--llm-clock=cpu", *more, backend="llamacpp", monitor=True)
    (case,) = document()["cases"]
    (cpu,) = (one for one in case["judgments"] if one["metric"] == "cpu_time_per_token")
    assert set(metrics_judged(document)) == {"cpu_time_per_token", "peak_rss"}
    # By how much it differs is the machine's affair; that its disturbed rounds count is ours.
    assert (cpu["method"], cpu["n"], cpu["verdict"] == "invalid") == ("single-session", 2, False)
    # The same by wall, afterwards: nothing is left of it.
    monkeypatch.chdir(bench.path)
    shown = CliRunner().invoke(app, ["compare", "main", "out.json", "--clock=wall", "--format=json"]).output
    verdicts = {one["metric"]: one["verdict"] for one in json.loads(shown)["cases"][0]["judgments"]}
    assert verdicts["tpot"] == "invalid"
    assert "cpu_time_per_token" not in verdicts

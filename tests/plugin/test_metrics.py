"""Is a metric that another plugin adds in one place measured, kept, shown, exported and judged?"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app
from pytest_llmbench.metrics.table import METRICS
from tests.plugin.conftest import CONFTEST, Run

Document = Callable[[], dict[str, Any]]

BENCH = """
import pytest

@pytest.mark.llm(models=["tiny"], max_new_tokens=4, rounds=5, processes=3)
def test_speed(llm_model):
    run = llm_model.measure("hello")
    assert run.ttlt_per_prompt_token.n == 15
    assert run.rounds[0].ttlt_per_prompt_token > 0
    assert run.pages.values == (run.processes[0].pages,) * 3
"""
OF_THE_TIMELINE = """
from pytest_llmbench import Metric, Shown

TTLT = Metric(
    name="ttlt_per_prompt_token",
    unit="s",
    better="lower",
    scope="round",
    formula="(last token - call with text) / prompt tokens",
    source="https://example.org/ttlt",
    compute=lambda line: (line.token_times[-1] - line.sent) * 1e-9 / line.prompt_tokens,
    gates=True,
    head="TTLT/ptok",
    shown=(Shown(table="cases", place=15),),
)
"""
COUNTED = """
import os

PAGES = Metric(
    name="pages",
    unit="pages",
    better="lower",
    scope="process",
    formula="pages that the engine's process took",
    source="https://example.org/pages",
    of_process=lambda process: os.environ["PAGES"],
    judged="exact",
    gates=True,
    allowed=0.1,
)
"""
HOOK = """
def pytest_llmbench_register_metrics(registry):
    registry.register(TTLT)
    registry.register(PAGES)
"""
OURS = {"ttlt_per_prompt_token", "pages"}


@pytest.fixture(autouse=True)
def the_table_as_it_was() -> Iterator[None]:
    """What a document told of a metric stays known to the process that read it."""
    before = set(METRICS)
    yield
    for name in METRICS.keys() - before:
        del METRICS[name]


@pytest.fixture
def measure(bench: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("PAGES", "512")
    monkeypatch.delenv("CI", raising=False)
    bench.makeconftest(CONFTEST + OF_THE_TIMELINE + COUNTED + HOOK)
    bench.makepyfile(BENCH)
    return partial(run, "--llm-option=fake.seconds_per_token=0.002")


def call(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.output


def test_it_is_measured_and_kept_and_shown(measure: Run, document: Document) -> None:
    result = measure("--llm-columns=pages")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*TTFT*TTLT/ptok*TPOT*pages*", "*fake-tiny *ms*ms*ms*512 pages"])
    content = document()
    (case,) = content["cases"]
    assert content["metrics"]["pages"]["judged"] == "exact"
    assert content["metrics"]["pages"]["formula"] == "pages that the engine's process took"
    assert (case["metrics"]["pages"]["unit"], case["metrics"]["pages"]["n"]) == ("pages", 3)
    assert case["metrics"]["ttlt_per_prompt_token"]["n"] == 15
    for process in case["processes"]:
        assert process["values"]["pages"] == 512
        for measured in process["rounds"]:
            expected = measured["values"]["e2e_latency"] / measured["prompt_tokens"]
            assert measured["values"]["ttlt_per_prompt_token"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "variable", "worse"),
    [("ttlt_per_prompt_token", "LLMBENCH_FAKE_SECONDS", "0.06"), ("pages", "PAGES", "600")],
)
def test_a_regression_of_it_fails_the_test_and_llmbench_compare(
    measure: Run,
    document: Document,
    bench: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    variable: str,
    worse: str,
) -> None:
    for _ in range(3):
        measure("--llm-save=main").assert_outcomes(passed=1)
    monkeypatch.setenv(variable, worse)
    result = measure("--llm-compare=main")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{metric}: fail*"])
    (case,) = document()["cases"]
    assert {one["metric"]: one["verdict"] for one in case["judgments"]}[metric] == "fail"
    # What the document tells of the metric is enough for who does not have the plugin.
    assert not METRICS.keys() & OURS
    told = call("compare", "main", "out.json", "--format", "json")
    (judged,) = [one for one in json.loads(told)["cases"][0]["judgments"] if one["metric"] == metric]
    assert judged["verdict"] == "fail"


def test_a_threshold_of_it_is_written_in_its_unit(measure: Run) -> None:
    measure("--llm-threshold=pages:<600pages").assert_outcomes(passed=1)
    measure("--llm-threshold=pages:<500pages").assert_outcomes(failed=1)
    result = measure("--llm-threshold=pages:<500MiB")
    result.stderr.fnmatch_lines(["ERROR: *pages has no unit 'MiB'*"])


def test_the_command_line_shows_and_exports_it_without_the_plugin(measure: Run) -> None:
    measure()
    assert not METRICS.keys() & OURS
    assert "512 pages" in call("show", "out.json", "--columns", "pages")
    assert "512 pages" in call("show", "out.json", "--case", "test_speed")
    (row,) = csv.DictReader(io.StringIO(call("export", "out.json", "-f", "csv")))
    assert float(row["pages_median_pages"]) == 512
    assert float(row["ttlt_per_prompt_token_p50_s"]) > 0
    line = json.loads(call("export", "out.json", "-f", "jsonl").splitlines()[0])
    assert line["pages"] == 512
    assert line["ttlt_per_prompt_token"] == pytest.approx(line["e2e_latency"] / line["prompt_tokens"])


def test_a_conftest_of_a_folder_is_asked_too(bench: pytest.Pytester, measure: Run) -> None:
    bench.makeconftest(CONFTEST)
    folder = bench.mkdir("inner")
    (folder / "conftest.py").write_text(OF_THE_TIMELINE + COUNTED + HOOK)
    (bench.path / "test_a_conftest_of_a_folder_is_asked_too.py").rename(folder / "test_speed.py")
    measure().assert_outcomes(passed=1)


def test_a_function_that_fails_loses_its_own_value_alone(
    bench: pytest.Pytester, measure: Run, document: Document
) -> None:
    broken = OF_THE_TIMELINE.replace("line.prompt_tokens", "0")
    bench.makeconftest(CONFTEST + broken + COUNTED + HOOK)
    bench.makepyfile("def test_speed(llm_model): llm_model.measure('hello', rounds=1)")
    result = measure()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(
        ["*the metric ttlt_per_prompt_token of a round cannot be computed: ZeroDivisionError*"]
    )
    (process,) = document()["cases"][0]["processes"]
    assert "ttlt_per_prompt_token" not in process["rounds"][0]["values"]
    assert "ttft" in process["rounds"][0]["values"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('name="ttft"', "*metric 'ttft': there is one already; give it another name*"),
        ('name="time per token"', "*metric 'time per token': its name has to be an identifier*"),
        ('scope="session"', "*scope is 'session'; it has to be one of gap, round, process, level, case*"),
    ],
)
def test_a_row_that_cannot_be_one_is_refused(
    bench: pytest.Pytester, measure: Run, change: str, told: str
) -> None:
    key = change.partition("=")[0]
    rows = "\n".join(
        f"    {change}," if line.startswith(f"    {key}=") else line for line in OF_THE_TIMELINE.splitlines()
    )
    bench.makeconftest(CONFTEST + rows + COUNTED + HOOK)
    result = measure()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {told}"])

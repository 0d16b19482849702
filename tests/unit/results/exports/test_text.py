"""Can other tools read what is exported?"""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmbench.errors import ResultsError, UsageError
from pytest_llmbench.metrics.summary import Summary
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.report.table import case_tables, render
from pytest_llmbench.report.terminal import Screen
from pytest_llmbench.results.convert import case_from_run, metric_record
from pytest_llmbench.results.document import write_document
from pytest_llmbench.results.exports.text import (
    seconds_metrics,
    to_csv,
    to_jsonl,
    to_long_csv,
    to_per_run,
    to_pytest_benchmark,
)
from pytest_llmbench.results.frames import load
from pytest_llmbench.results.journal import Journal
from pytest_llmbench.results.records import CacheRecord, Header, ProtocolRecord, ResultsDocument, TurnRecord
from pytest_llmbench.results.rows import STATISTICS
from pytest_llmbench.results.store import Store

Maker = Callable[..., Any]


@pytest.fixture
def document(document_maker: Maker) -> ResultsDocument:
    made: ResultsDocument = document_maker()
    return made


def test_csv_has_one_row_a_case(document: ResultsDocument) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(document))))
    assert [row["nodeid"] for row in rows] == [case.nodeid for case in document.cases]
    assert float(rows[0]["ttft_median_s"]) == pytest.approx(0.051)
    assert rows[0]["rounds"] == "6"
    assert rows[0]["param_tokens"] == "4"


def test_a_number_of_csv_has_its_unit_in_its_columns_name(document: ResultsDocument) -> None:
    (row, *_) = csv.DictReader(io.StringIO(to_csv(document)))
    for name, metric in document.cases[0].metrics.items():
        unit = METRICS[name].unit.replace("/", "_per_")
        assert float(row[f"{name}_median_{unit}"]) == pytest.approx(metric.median)
        assert row[f"{name}_n"] == str(metric.n)
    assert {"decode_throughput_p95_tokens_per_s", "peak_rss_max_bytes", "energy_mean_J"} <= row.keys()
    assert row["model_size_bytes"] == "6000000"


def test_csv_says_what_was_asked_of_what(document: ResultsDocument) -> None:
    case = document.cases[0]
    case.protocol = ProtocolRecord(
        max_new_tokens=4, prompt_length="uniform:64:256", slo={"ttft": 0.5}, concurrency=8, request_rate=2.5
    )
    case.processes[0].engine.update(
        context_length=4096, server="vllm", base_url="https://me:secret@host:8000/v1?key=secret"
    )
    text = to_csv(document)
    (row, *_) = csv.DictReader(io.StringIO(text))
    assert {
        "prompt_tokens": "32",
        "output_tokens": "4",
        "prompt_length": "uniform:64:256",
        "output_length": "4",
        "threads": "1",
        "context": "4096",
        "server": "vllm",
        "base_url": "https://host:8000/v1",
        "slo_ttft_s": "0.5",
        "concurrency": "8",
        "request_rate_requests_per_s": "2.5",
        "cpu": "A CPU",
    }.items() <= row.items()
    assert "secret" not in text


def test_long_csv_has_one_row_a_number(document: ResultsDocument) -> None:
    rows = list(csv.DictReader(io.StringIO(to_long_csv(document))))
    case = document.cases[0]
    own = {(r["metric"], r["statistic"]): r for r in rows if r["nodeid"] == case.nodeid}
    assert set(own) == {
        (name, statistic)
        for name, metric in case.metrics.items()
        for statistic in STATISTICS
        if getattr(metric, statistic) is not None
    }
    row = own["ttft", "median"]
    assert (float(row["value"]), row["unit"]) == (pytest.approx(0.051), "s")
    assert own["ttft", "n"]["value"] == "6"
    assert row["param_tokens"] == "4"
    assert len(set(own)) * 2 == len(rows)


def test_csv_has_the_hidden_tokens_and_tpot_by_the_formula_of_others(document: ResultsDocument) -> None:
    document.cases[0].rounds[0].hidden_tokens = 40
    document.cases[0].rounds[1].hidden_tokens = 2
    row = next(csv.DictReader(io.StringIO(to_csv(document))))
    assert row["hidden_tokens"] == "42"
    assert float(row["tpot_all_tokens_median_s"]) == pytest.approx(0.011)
    assert row["unknown"] == ""


def test_csv_leaves_unknown_values_empty(document: ResultsDocument) -> None:
    document.cases.append(
        case_from_run(
            None,
            nodeid='a.py::test["quoted, name"]',
            backend="llamacpp",
            model=ModelSpec("tiny"),
            outcome="error",
            error="two\nlines",
        )
    )
    row = list(csv.DictReader(io.StringIO(to_csv(document))))[-1]
    assert (row["nodeid"], row["ttft_median_s"], row["error"]) == (
        'a.py::test["quoted, name"]',
        "",
        "two\nlines",
    )


def test_json_lines_have_one_line_a_round(document: ResultsDocument) -> None:
    rows = [json.loads(line) for line in to_jsonl(document)]
    assert len(rows) == 12
    assert rows[0]["token_times"] == pytest.approx([0.05, 0.06, 0.072, 0.083])
    assert [row["process"] for row in rows[:6]] == [0, 0, 0, 1, 1, 1]
    assert rows[1]["disturbance"] == ["steal_time"]


def test_every_metric_has_a_key_of_each_line_of_json(document: ResultsDocument) -> None:
    document.cases[0].processes[0].values["system_throughput"] = 80.0
    document.cases[0].rounds[0].values["instructions_per_token"] = 1e6
    rows = [json.loads(line) for line in to_jsonl(document)]
    for row in rows:
        assert {name for name, metric in METRICS.items() if metric.scope not in ("gap", "case")} <= row.keys()
    assert [row["system_throughput"] for row in rows[:4]] == [80.0, 80.0, 80.0, None]
    assert [row["instructions_per_token"] for row in rows[:2]] == [1e6, None]
    assert rows[0]["peak_rss"] == 1_000_000


def test_a_turn_says_in_each_export_which_one_it_is_and_what_its_cache_had(document: ResultsDocument) -> None:
    case = document.cases[0]
    case.protocol = case.protocol.model_copy(
        update={"conversation": "rag", "turn": 2, "prefix_cache": True, "placement": "inline"}
    )
    first = case.rounds[0]
    first.turn = TurnRecord(conversation="rag", turn=2, repetition=1, cache="warm", same_output=True)
    first.cache = CacheRecord(source="cut", break_at=16)
    first.values |= {"cached_tokens": 16.0, "cached_possible": 17.0}
    asked = {"conversation": "rag", "turn": 2, "cache": "warm"}
    row = next(csv.DictReader(io.StringIO(to_csv(document))))
    assert {name: row[name] for name in (*asked, "placement")} == {
        **asked,
        "turn": "2",
        "placement": "inline",
    }
    line = json.loads(next(to_jsonl(document)))
    had = {"cached_tokens": 16, "cached_possible": 17}
    facts = {"cached_source": "cut", "break_at": 16, "repetition": 1, "same_output": True}
    assert {name: line[name] for name in (*asked, *had, *facts)} == {**asked, **had, **facts}
    line = json.loads(next(to_per_run(document)))
    assert {name: line[name] for name in (*asked, *had)} == {**asked, **had}


def test_what_is_not_a_turn_says_so(document: ResultsDocument) -> None:
    for line in (next(to_jsonl(document)), next(to_per_run(document))):
        told = json.loads(line)
        assert [told[name] for name in ("conversation", "turn", "cache", "cached_tokens")] == [None] * 4


def test_a_metric_that_is_called_as_a_fact_of_the_round_keeps_apart_from_it(
    document: ResultsDocument,
) -> None:
    document.cases[0].rounds[0].values["output_tokens"] = 0.5
    row = json.loads(next(to_jsonl(document)))
    assert (row["output_tokens"], row["metric_output_tokens"]) == (4, 0.5)


@pytest.mark.parametrize("metric", ["instructions_per_token", "system_throughput"])
def test_a_metric_that_a_case_has_is_in_each_export(document: ResultsDocument, metric: str) -> None:
    for case in document.cases:
        case.metrics[metric] = metric_record(Summary(metric, (80.0, 82.0)))
    unit = METRICS[metric].unit.replace("/", "_per_")
    row = next(csv.DictReader(io.StringIO(to_csv(document))))
    assert float(row[f"{metric}_median_{unit}"]) == 81.0
    assert metric in {row["metric"] for row in csv.DictReader(io.StringIO(to_long_csv(document)))}
    assert to_pytest_benchmark(document)["benchmarks"][0]["extra_info"][metric] == 81.0
    (table,) = case_tables(document.cases, [metric])
    assert "81.0" in render(table, Screen(200))


def test_an_empty_document_exports_to_nothing(document_maker: Maker) -> None:
    empty = document_maker(cases=0)
    assert to_csv(empty) == to_long_csv(empty) == ""
    assert list(to_jsonl(empty)) == []
    assert to_pytest_benchmark(empty)["benchmarks"] == []


def test_pytest_benchmark_itself_compares_the_export(tmp_path: Path, document: ResultsDocument) -> None:
    path = tmp_path / "0001_export.json"
    path.write_text(json.dumps(to_pytest_benchmark(document)))
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(path), f"--csv={tmp_path / 'out'}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        env={**os.environ, "COLUMNS": "200", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert "test_short[0]" in done.stdout
    (row, _) = csv.DictReader((tmp_path / "out.csv").open())
    assert float(row["median"]) == pytest.approx(document.cases[0].metrics["e2e_latency"].median)
    assert "Failed to load" not in done.stderr


def test_the_export_has_what_the_dashboards_read(document: ResultsDocument) -> None:
    exported = json.loads(json.dumps(to_pytest_benchmark(document)))
    assert isinstance(exported["machine_info"], dict)
    assert isinstance(exported["commit_info"], dict)
    one = exported["benchmarks"][0]
    values = document.cases[0].values("e2e_latency")
    assert one["fullname"] == document.cases[0].nodeid
    assert one["stats"]["mean"] == pytest.approx(statistics.mean(values))
    assert one["stats"]["stddev"] == pytest.approx(statistics.stdev(values))
    assert one["stats"]["ops"] == pytest.approx(1 / statistics.mean(values))
    assert one["stats"]["rounds"] == 6
    assert one["extra_info"]["decode_throughput"] == pytest.approx(
        document.cases[0].metrics["decode_throughput"].median
    )


@pytest.mark.parametrize("metric", seconds_metrics())
def test_every_duration_can_be_the_timing(document: ResultsDocument, metric: str) -> None:
    one = to_pytest_benchmark(document, metric)["benchmarks"][0]
    assert one["stats"]["data"] == document.cases[0].values(metric)
    assert one["fullname"].endswith(f"({metric})") == (metric != "e2e_latency")


@pytest.mark.parametrize("metric", ["decode_throughput", "peak_rss", "ttfs"])
def test_what_is_no_duration_is_refused(document: ResultsDocument, metric: str) -> None:
    with pytest.raises(UsageError, match="choose one of ttft, tpot"):
        to_pytest_benchmark(document, metric)


def test_measurements_of_one_test_have_names_of_their_own(
    case_maker: Maker, document: ResultsDocument
) -> None:
    document.cases = [case_maker(), case_maker(measurement="long")]
    names = [one["fullname"] for one in to_pytest_benchmark(document)["benchmarks"]]
    assert len(set(names)) == 2


# -- frames -------------------------------------------------------------------------------------


def test_frames_have_a_row_a_case_and_a_row_a_round(tmp_path: Path, document: ResultsDocument) -> None:
    results = load(write_document(tmp_path / "out.json", document))
    assert len(results.cases) == 2
    assert len(results.rounds) == 12
    medians = results.rounds.groupby("nodeid")["ttft"].median()
    assert medians.tolist() == pytest.approx(results.cases.set_index("nodeid")["ttft_median"].tolist())
    assert str(results.rounds["started"].dt.tz) == "UTC"
    assert set(METRICS) & set(results.rounds) >= {"ttft", "tpot", "e2e_latency", "energy_per_token"}


def test_a_journal_and_a_session_of_the_store_load_too(
    store: Store, case_maker: Maker, document: ResultsDocument
) -> None:
    journal = Journal.create(store, Header(session=document.session))
    journal.append(case_maker())
    journal.close()
    assert len(load(journal.path).cases) == 1
    store.write(document)
    assert len(load("latest", store.path).cases) == 2
    assert load(document).document is document


def test_an_empty_document_loads_as_empty_frames(document_maker: Maker) -> None:
    results = load(document_maker(cases=0))
    assert results.cases.empty
    assert results.rounds.empty


def test_loading_what_is_not_there_is_a_clean_error(store: Store) -> None:
    with pytest.raises(ResultsError, match="there is no results document"):
        load("gone.json", store.path)

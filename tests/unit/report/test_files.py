"""Do a session's four files say of each conversation and each turn what was measured?"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_llmbench.report.files import conversations, to_files
from pytest_llmbench.results.records import CaseRecord, Commit, Machine, ResultsDocument, Session

MakeCase = Callable[..., CaseRecord]
MakeTurn = Callable[..., CaseRecord]
ID = "20260102T030405Z-0a1b2c3d"


def written(cases: Sequence[CaseRecord], **header: Any) -> dict[str, str]:
    session = Session(id=ID, started="2026-01-02T03:04:05Z", state="finished")
    document = ResultsDocument(session=session, cases=list(cases), **header)
    return {name.removeprefix(ID): data.decode() for name, data in to_files(document).items()}


def rows(files: dict[str, str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[".csv"])))


@pytest.fixture
def paired(make_turn: MakeTurn) -> list[CaseRecord]:
    """A conversation of two turns; the second one was asked in both ways."""

    def values(ttft: float, cached: float) -> dict[str, list[float]]:
        return {"ttft": [ttft], "cached_tokens": [cached], "peak_rss": [ttft * 1000]}

    return [
        make_turn(1, "cold", values=values(0.1, 0), prompt=100),
        make_turn(2, "warm", values=values(0.2, 90), prompt=200),
        make_turn(2, "cold", values=values(0.4, 0), prompt=200),
    ]


def test_they_are_called_as_their_session(make_case: MakeCase) -> None:
    assert list(written([make_case()])) == [".csv", ".json", ".md", "_system.json"]


def test_a_conversation_has_a_row_for_each_way_in_which_it_was_asked(paired: list[CaseRecord]) -> None:
    cold, warm = rows(written(paired))
    assert [(row["conversation"], row["cache"], row["turns"]) for row in (cold, warm)] == [
        ("rag", "cold", "2"),
        ("rag", "warm", "2"),
    ]
    assert float(cold["ttft_mean_s"]) == pytest.approx(0.25)
    assert float(warm["ttft_mean_s"]) == pytest.approx(0.15)
    assert [row["prompt_tokens"] for row in (cold, warm)] == ["300", "300"]


def test_tokens_are_added_up_memory_is_the_highest_and_the_hit_rate_is_of_all(
    paired: list[CaseRecord],
) -> None:
    _, warm = rows(written(paired))
    assert float(warm["cached_tokens_sum_tokens"]) == 90
    assert float(warm["cache_hit_rate_share"]) == pytest.approx(90 / 300)
    assert float(warm["peak_rss_max_bytes"]) == pytest.approx(200)


def test_a_sum_of_which_a_part_is_not_known_is_left_out(paired: list[CaseRecord]) -> None:
    del paired[1].metrics["cached_tokens"]
    paired[1].rounds[0].prompt_tokens = paired[1].rounds[1].prompt_tokens = None
    paired[1].rounds[2].prompt_tokens = None
    _, warm = rows(written(paired))
    assert (warm["cache_hit_rate_share"], warm["prompt_tokens"], warm["cached_tokens_sum_tokens"]) == (
        "",
    ) * 3


def test_what_is_not_a_conversation_is_one_of_a_single_turn(make_case: MakeCase) -> None:
    (row,) = rows(written([make_case(measurement="short")]))
    assert (row["conversation"], row["cache"], row["turns"]) == ("short", "", "1")
    assert float(row["ttft_mean_s"]) == pytest.approx(0.0123)


def test_the_outcome_is_that_of_the_turn_that_failed(paired: list[CaseRecord]) -> None:
    paired[1].outcome = "failed"
    assert [one.outcome for one in conversations(paired)] == ["passed", "failed"]


def test_json_has_every_turn_with_its_metrics_and_the_configuration(paired: list[CaseRecord]) -> None:
    paired[1].processes[0].engine["n_threads"] = 2
    paired[0].processes[0].engine["n_threads"] = 2
    found = json.loads(written(paired)[".json"])
    assert found["metadata"] == {
        "session": ID,
        "started": "2026-01-02T03:04:05Z",
        "ended": None,
        "state": "finished",
        "schema_version": found["metadata"]["schema_version"],
    }
    warm = found["conversations"][1]
    assert [(turn["turn"], turn["cache"]) for turn in warm["turns"]] == [(1, "cold"), (2, "warm")]
    assert warm["turns"][1]["metrics"]["ttft"]["median"] == pytest.approx(0.2)
    assert warm["turns"][1]["metrics"]["ttft"]["unit"] == "s"
    assert warm["configuration"]["engine.n_threads"] == 2
    assert warm["configuration"]["history"] == "live"


def test_numbers_that_json_does_not_have_are_null(make_case: MakeCase) -> None:
    case = make_case()
    case.metrics["ttft"].p99 = float("nan")
    text = written([case])[".json"]
    assert (
        json.loads(text, parse_constant=pytest.fail)["conversations"][0]["turns"][0]["metrics"]["ttft"]["p99"]
        is None
    )


def test_the_system_is_in_a_file_of_its_own(make_case: MakeCase) -> None:
    files = written(
        [make_case()],
        machine=Machine(id="0123", cpu={"model": "A CPU", "physical_cores": 2}, memory={"total": 2**34}),
        commit=Commit(id="a" * 40, dirty=True),
        versions={"llama-cpp-python": "0.3.36"},
    )
    system = json.loads(files["_system.json"])
    assert (system["id"], system["cpu"]["model"]) == ("0123", "A CPU")
    assert system["versions"] == {"llama-cpp-python": "0.3.36"}
    assert system["commit"]["id"] == "a" * 40
    assert json.loads(files[".json"])["system"] == system
    assert "- CPU: A CPU, 2 cores\n- memory: 16.0 GiB\n- GPUs: none" in files[".md"]
    assert "- commit: aaaaaaaaa+\n- llama-cpp-python: 0.3.36" in files[".md"]


def test_the_report_has_a_summary_and_every_turn(paired: list[CaseRecord], make_case: MakeCase) -> None:
    report = written([*paired, make_case(outcome="failed")])[".md"]
    lines = report.splitlines()
    heads = [line for line in lines if line.startswith("#")]
    assert heads == [f"# Benchmark {ID}", "## System", "## Configuration", "## Summary", "## Results"]
    summary = [line for line in lines[lines.index("## Summary") :] if line.startswith("| benchmarks/")]
    assert [line.split(" | ")[1:4] for line in summary] == [
        ["rag", "cold", "2"],
        ["rag", "warm", "2"],
        ["-", "-", "1"],
    ]
    assert "(failed)" in summary[2]
    assert "| 2 | 200 |" in report


def test_a_name_in_the_report_is_no_markdown(make_case: MakeCase) -> None:
    case = make_case("test_a.py::test_x[<img src=x>|\x1b[31m]")
    report = written([case])[".md"]
    assert "<img" not in report.replace("\\<img", "")
    assert "\x1b" not in report


def test_a_session_without_cases_or_machine_has_all_four() -> None:
    files = written([])
    assert files[".csv"] == ""
    assert json.loads(files[".json"])["conversations"] == []
    assert "- commit: -" in files[".md"]

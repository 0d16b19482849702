"""Does a document come back as it was written, and is a damaged one named?"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmbench.client.facts import ClientFacts, RequestFacts
from pytest_llmbench.errors import ResultsError
from pytest_llmbench.measure.facts import Level
from pytest_llmbench.measure.run import Round, Run
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.results.brief import read_brief
from pytest_llmbench.results.convert import case_from_run, round_record
from pytest_llmbench.results.document import json_schema, read_document, read_header, write_document
from pytest_llmbench.results.exports.text import to_csv
from pytest_llmbench.results.records import (
    CaseRecord,
    MetricRow,
    ProtocolRecord,
    ResultsDocument,
    merge_cases,
)
from tests.fakes.llmbench_levels import a_failure_record, a_load_record

Maker = Callable[..., Any]


@pytest.fixture
def document(document_maker: Maker) -> ResultsDocument:
    made: ResultsDocument = document_maker()
    return made


def test_a_document_comes_back_as_it_was_written(tmp_path: Path, document: ResultsDocument) -> None:
    path = write_document(tmp_path / "new" / "out.json", document)
    assert read_document(path) == document
    assert json.loads(path.read_text())["cases"][0]["processes"][0]["rounds"][0]["token_times"][0] == 0.05


def test_a_document_without_cases_comes_back(tmp_path: Path, document_maker: Maker) -> None:
    document = document_maker(cases=0)
    assert read_document(write_document(tmp_path / "out.json", document)) == document


def test_the_layout_of_the_json_does_not_matter(tmp_path: Path, document: ResultsDocument) -> None:
    path = write_document(tmp_path / "out.json", document)
    data = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(data.items())), indent=4))
    assert read_document(path) == document
    assert read_header(path).session == document.session


def test_the_top_level_has_the_documented_keys(tmp_path: Path, document: ResultsDocument) -> None:
    path = write_document(tmp_path / "out.json", document)
    assert list(json.loads(path.read_text())) == [
        "schema_version",
        "session",
        "machine",
        "commit",
        "versions",
        "metrics",
        "cases",
    ]


def test_a_written_document_fits_the_schema(tmp_path: Path, document: ResultsDocument) -> None:
    path = write_document(tmp_path / "out.json", document)
    jsonschema.Draft202012Validator.check_schema(json_schema())
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(validator.iter_errors(json.loads(path.read_text()))) == []


def test_the_facts_of_a_load_level_are_in_the_schema_with_what_they_are(document: ResultsDocument) -> None:
    process = document.cases[0].processes[0]
    process.load = a_load_record(server_metrics={"running": None, "prompt_tokens": 8.0}, trimmed=(1, 2))
    process.failures = [a_failure_record()]
    schema = json_schema()
    jsonschema.validate(document.model_dump(mode="json"), schema)
    facts = schema["$defs"]["LoadRecord"]["properties"]
    assert facts["client_cpu"]["description"].startswith("Share of one core that the client used")
    for kind, record in (
        (Level, "LoadRecord"),
        (RequestFacts, "RequestRecord"),
        (ClientFacts, "ClientRecord"),
    ):
        assert {field.name for field in fields(kind)} == schema["$defs"][record]["properties"].keys()


@pytest.mark.parametrize("name", [name for name, row in METRICS.items() if row.scope != "gap"])
def test_the_schema_tells_the_unit_and_the_formula_of_each_metric(name: str) -> None:
    row = METRICS[name]
    records = {"round": "RoundRecord", "process": "ProcessRecord", "level": "ProcessRecord"}
    record, key = (records[row.scope], "values") if row.scope in records else ("CaseRecord", "case_values")
    found = json_schema()["$defs"][record]["properties"][key]["properties"][name]
    assert found == {"type": "number", "description": f"{row.unit}: {row.formula}"}


def test_a_metric_that_is_not_known_here_is_known_by_what_its_document_tells(
    tmp_path: Path, document: ResultsDocument
) -> None:
    row = replace(METRICS["peak_rss"], name="pages", unit="pages", allowed=0.3, shown=())
    document.metrics = {"pages": MetricRow.of(row)}
    document.cases[0].processes[0].values["pages"] = 3
    path = write_document(tmp_path / "out.json", document)
    for read in (read_document, read_header, read_brief):
        assert read(path).metrics == document.metrics
        assert METRICS.pop("pages") == row
    assert read_document(path).cases[0].values("pages") == [3.0]
    del METRICS["pages"]


def test_a_row_of_another_kind_is_kept_and_not_learned(tmp_path: Path, document: ResultsDocument) -> None:
    strange = MetricRow(unit="s", better="lower", scope="planet", formula="f", source="s")
    document.metrics = {"of_a_planet": strange}
    again = read_document(write_document(tmp_path / "out.json", document))
    assert again.metrics == {"of_a_planet": strange}
    assert "of_a_planet" not in METRICS


def test_the_schema_refuses_a_case_without_a_model(document: ResultsDocument) -> None:
    data = document.model_dump(mode="json")
    del data["cases"][0]["model"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, json_schema())


def test_the_header_is_read_without_the_cases(tmp_path: Path, document: ResultsDocument) -> None:
    header = read_header(write_document(tmp_path / "out.json", document))
    assert header.session == document.session
    assert header.machine == document.machine
    assert not hasattr(header, "cases")


def test_unknown_keys_of_a_newer_minor_version_survive(tmp_path: Path, document: ResultsDocument) -> None:
    path = write_document(tmp_path / "out.json", document)
    data = json.loads(path.read_text())
    data["schema_version"] = "2.99"
    data["weather"] = "fine"
    data["cases"][0]["protocol"]["phase"] = "full"
    process = data["cases"][0]["processes"][0]
    process["rounds"][0]["mood"] = 3
    load = a_load_record().model_dump(mode="json")
    process["load"] = {**load, "tide": "low", "client": {**load["client"], "age": 1}}
    request = {"number": 0, "at": 0.0, "luck": "bad"}
    process["failures"] = [{"kind": "new", "detail": None, "ended": 1.0, "request": request, "smell": 2}]
    path.write_text(json.dumps(data))
    write_document(path, read_document(path))
    again = json.loads(path.read_text())
    assert again["weather"] == "fine"
    assert again["cases"][0]["protocol"]["phase"] == "full"
    kept = again["cases"][0]["processes"][0]
    assert kept["rounds"][0]["mood"] == 3
    assert (kept["load"]["tide"], kept["load"]["client"]["age"]) == ("low", 1)
    assert (kept["failures"][0]["smell"], kept["failures"][0]["request"]["luck"]) == (2, "bad")


@pytest.mark.parametrize("read", [read_document, read_header])
def test_another_major_version_names_its_writer(
    tmp_path: Path, document: ResultsDocument, read: Callable[[Path], object]
) -> None:
    document.schema_version = "3.0"
    document.versions = {"pytest-llmbench": "7.1"}
    path = write_document(tmp_path / "out.json", document)
    with pytest.raises(ResultsError, match=r"schema version 3\.0, written by pytest-llmbench 7\.1"):
        read(path)


@pytest.mark.parametrize("read", [read_document, read_header])
@pytest.mark.parametrize(
    "text", ["", "no json", "[1, 2]", "{}", '{"benchmarks": []}', '{"schema_version": "1.0"}', "\0" * 100]
)
def test_what_is_no_document_is_named(tmp_path: Path, text: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=r"out\.json"):
        read(path)


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_document_that_was_cut_off_anywhere_is_named(
    tmp_path_factory: pytest.TempPathFactory, document_maker: Maker, share: float
) -> None:
    path = write_document(tmp_path_factory.mktemp("cut") / "out.json", document_maker())
    data = path.read_bytes()
    path.write_bytes(data[: int(share * (len(data) - 1))])
    with pytest.raises(ResultsError, match=r"out\.json"):
        read_document(path)
    with pytest.raises(ResultsError, match=r"out\.json"):
        read_header(path)


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"there is no results document .*gone\.json"):
        read_document(tmp_path / "gone.json")


def test_damage_in_a_case_is_named_with_its_place(tmp_path: Path, document: ResultsDocument) -> None:
    path = write_document(tmp_path / "out.json", document)
    path.write_text(path.read_text().replace('"prompt_tokens":32', '"prompt_tokens":"x"', 1))
    with pytest.raises(ResultsError, match=r"cases\.0\.processes\.0\.rounds\.0\.prompt_tokens"):
        read_document(path)


# -- writing ------------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_old_document_and_leaves_no_other_file(
    tmp_path: Path, document: ResultsDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_document(tmp_path / "out.json", document)
    before = path.read_bytes()

    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ResultsError, match=r"out\.json: No space left on device; the disk is full: free"):
        write_document(path, document)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_a_disk_that_is_full_at_the_sync_keeps_the_old_document(
    tmp_path: Path, document: ResultsDocument, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_document(tmp_path / "out.json", document)
    before = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="quota"):
        write_document(path, document)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_written_to_and_not_replaced(document: ResultsDocument) -> None:
    with pytest.raises(ResultsError, match="the disk is full"):
        write_document("/dev/full", document)
    assert Path("/dev/full").is_char_device()


def test_a_folder_below_a_file_is_refused_with_advice(tmp_path: Path, document: ResultsDocument) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"file.*name another (path|folder)"):
        write_document(tmp_path / "file" / "out.json", document)


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.EACCES, "permissions"), (errno.EROFS, "read-only: name a folder on another")]
)
def test_a_folder_that_cannot_be_written_is_refused_with_advice(
    tmp_path: Path, document: ResultsDocument, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ResultsError, match=advice):
        write_document(tmp_path / "out.json", document)


def test_a_folder_in_the_documents_place_is_refused(tmp_path: Path, document: ResultsDocument) -> None:
    with pytest.raises(ResultsError, match="this is a folder"):
        write_document(tmp_path, document)


def test_a_link_is_followed(tmp_path: Path, document: ResultsDocument) -> None:
    target = tmp_path / "target.json"
    link = tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)
    write_document(link, document)
    assert link.is_symlink()
    assert read_document(target) == document


def test_what_json_does_not_know_is_converted(tmp_path: Path, document: ResultsDocument) -> None:
    import numpy as np

    process = document.cases[0].processes[0]
    process.engine = {"power": np.float32(1.5), "file": Path("x"), "load": float("nan")}
    again = read_document(write_document(tmp_path / "out.json", document))
    assert again.cases[0].processes[0].engine == {"power": 1.5, "file": "x", "load": None}


# -- cases --------------------------------------------------------------------------------------


def test_the_values_of_a_case_are_those_of_its_run(run_maker: Maker, case_maker: Maker) -> None:
    run: Run = run_maker()
    case: CaseRecord = case_maker(run=run)
    for name, summary in run.metrics.items():
        assert case.values(name) == pytest.approx(summary.values, rel=1e-12)
        assert case.metrics[name].median == pytest.approx(case.summary(name).median, rel=1e-12)
        assert case.metrics[name].unit == METRICS[name].unit
        assert case.metrics[name].better == METRICS[name].better
    assert set(case.metrics) >= {
        "ttft",
        "tpot",
        "itl",
        "e2e_latency",
        "load_time",
        "energy_per_token",
        "peak_rss",
    }


def test_a_metric_that_was_not_measured_has_no_values(case_maker: Maker) -> None:
    case: CaseRecord = case_maker()
    assert case.values("peak_vram") == []
    assert case.values("goodput") == []
    assert "peak_vram" not in case.metrics


def test_ttft_is_the_first_token_time(case_maker: Maker) -> None:
    case: CaseRecord = case_maker()
    for one in case.rounds:
        assert one.ttft == one.token_times[0]
        assert one.e2e_latency == one.token_times[-1]


@given(
    first=st.integers(2_000_000, 10**12),
    gaps=st.lists(st.integers(0, 10**11), max_size=20),
)
def test_the_timeline_is_rebuilt_to_the_nanosecond(
    timeline_maker: Maker, first: int, gaps: list[int]
) -> None:
    measured: Timeline = timeline_maker(first, gaps)
    rebuilt = round_record(Round(measured)).timeline()
    assert [t + measured.sent for t in rebuilt.token_times] == list(measured.token_times)
    assert rebuilt.tokenized + measured.sent == measured.tokenized
    assert rebuilt.prefilled is not None
    assert measured.prefilled is not None
    assert rebuilt.prefilled + measured.sent == measured.prefilled
    assert Round(rebuilt).values == pytest.approx(Round(measured).values)


def test_what_a_server_hid_and_what_a_proxy_held_back_comes_back_with_the_timeline(
    timeline_maker: Maker,
) -> None:
    measured = replace(
        timeline_maker(), output_tokens=104, hidden_tokens=90, first_tokens=11, untimed="buffered"
    )
    record = round_record(Round(measured))
    assert (record.tpot, record.tpot_all_tokens, record.decode_throughput, record.gaps) == (
        None,
        None,
        None,
        [],
    )
    assert (record.output_tokens, record.hidden_tokens, record.first_tokens) == (104, 90, 11)
    assert Round(record.timeline()).values == pytest.approx(Round(measured).values)
    assert record.timeline().timed_tokens == 3
    # A reason of a newer version is kept, and none of ours.
    record.untimed = "of another day"
    assert (record.gaps, record.timeline().untimed) == ([], None)


def test_metrics_that_are_not_known_are_in_the_document_with_the_reason(
    tmp_path: Path, document: ResultsDocument, run_maker: Maker, timeline_maker: Maker
) -> None:
    run = run_maker()
    for process in run.processes:
        for measured in process.rounds:
            measured.timeline = replace(measured.timeline, untimed="buffered")
    case = case_from_run(
        run, nodeid="a.py::test", backend="server", model=ModelSpec("tiny"), outcome="passed"
    )
    document.cases = [case]
    back = read_document(write_document(tmp_path / "out.json", document)).cases[0]
    assert back.unknown == dict.fromkeys(("tpot", "tpot_all_tokens", "itl", "decode_throughput"), "buffered")
    assert not back.unknown.keys() & back.metrics.keys()
    assert {r.untimed for r in back.rounds} == {"buffered"}
    assert [back.values(name) for name in back.unknown] == [[]] * 4
    # Nothing measured is lost.
    assert len(back.rounds[0].token_times) == 4
    row = next(csv.DictReader(io.StringIO(to_csv(document))))
    assert row["unknown"].split() == [f"{name}:buffered" for name in back.unknown]
    assert "tpot_median_s" not in row


def test_percentiles_without_support_are_marked(case_maker: Maker) -> None:
    case: CaseRecord = case_maker()
    assert case.metrics["ttft"].n == 6
    assert case.metrics["ttft"].unsupported == ["p90", "p95", "p99"]


def test_a_case_that_could_not_start_keeps_its_error() -> None:
    case = case_from_run(
        None,
        nodeid="a.py::TestX::test_y[a::b]",
        backend="llamacpp",
        model=ModelSpec("gone.gguf", "q8_0"),
        outcome="error",
        error="there is no file gone.gguf",
        protocol={"rounds": 5},
    )
    assert (case.file, case.name) == ("a.py", "test_y[a::b]")
    assert case.model.digest is None
    assert case.protocol == ProtocolRecord(rounds=5)
    assert case.metrics == {}
    assert case.error == "there is no file gone.gguf"


def test_an_infinite_value_does_not_make_the_document_unreadable(
    tmp_path: Path, run_maker: Maker, case_maker: Maker, document: ResultsDocument
) -> None:
    run: Run = run_maker()
    run.processes[0].rounds[0].measured["energy"] = math.inf
    document.cases = [case_maker(run=run)]
    again = read_document(write_document(tmp_path / "out.json", document))
    assert "energy" not in again.cases[0].metrics
    assert len(again.cases[0].values("energy")) == 5


def test_of_two_cases_with_one_key_the_later_holds(case_maker: Maker) -> None:
    first, second = case_maker(outcome="interrupted"), case_maker(outcome="passed")
    other = case_maker(measurement="second")
    assert merge_cases([first, other], [second]) == [second, other]

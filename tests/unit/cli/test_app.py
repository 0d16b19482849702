"""Does the command line say what is kept, and say it cleanly when something is wrong?"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from pytest_llmbench import __version__
from pytest_llmbench.cli.app import app
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.timeline import Timeline
from pytest_llmbench.models.spec import ModelSpec
from pytest_llmbench.results.convert import case_from_run
from pytest_llmbench.results.document import read_document, write_document
from pytest_llmbench.results.journal import Journal
from pytest_llmbench.results.records import Header, ResultsDocument, Session
from pytest_llmbench.results.store import Store

OLD = "20260102T030405Z-0a1b2c3d"
NEW = "20260103T030405Z-0affffff"
MS = 1_000_000


def document(session_id: str) -> ResultsDocument:
    timeline = Timeline(
        sent=0,
        tokenized=MS,
        prefilled=40 * MS,
        token_times=tuple((50 + 10 * i) * MS for i in range(5)),
        done=91 * MS,
        prompt_tokens=16,
        output_tokens=5,
        output_hash="sha256:00",
        prompt_hash="sha256:11",
        finish_reason="length",
    )
    run = Run(
        "default",
        {"rounds": 2},
        [ProcessRun(7, {}, {}, [Round(timeline), Round(timeline)], {"load_time": 0.5})],
    )
    return ResultsDocument(
        session=Session(
            id=session_id,
            started="2026-01-02T03:04:05Z",
            state="finished",
            outcomes={"passed": 1, "failed": 1},
        ),
        cases=[
            case_from_run(
                run,
                nodeid="benchmarks/test_speed.py::test_short[llamacpp-tiny]",
                backend="llamacpp",
                model=ModelSpec("tiny"),
                outcome="passed",
            ),
            case_from_run(
                None,
                nodeid="benchmarks/test_speed.py::test_long[llamacpp-tiny]",
                backend="llamacpp",
                model=ModelSpec("tiny"),
                outcome="failed",
                error="the engine crashed\nmore words",
            ),
        ],
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(tmp_path / "store")
    made.write(document(OLD))
    made.write(document(NEW))
    monkeypatch.setenv("LLMBENCH_STORE", str(made.path))
    monkeypatch.setenv("COLUMNS", "80")
    return made


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def assert_clean_error(result: Result, *words: str) -> None:
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert all(word in lines[0] for word in words)
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_the_version_is_shown() -> None:
    assert call("--version").stdout.split() == ["pytest-llmbench", __version__]


def test_help_imports_neither_results_nor_engines() -> None:
    code = (
        "import sys\nfrom pytest_llmbench.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('pydantic', 'pandas', 'numpy', 'torch', 'pytest', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_list_shows_sessions_newest_first(store: Store) -> None:
    result = call("list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["SESSION", NEW, OLD]
    assert "2 (1 failed)" in result.stdout


def test_list_names_and_skips_a_damaged_document(store: Store) -> None:
    store.document_path(NEW).write_text('{"schema_version":"1.0",')
    result = call("list")
    assert result.exit_code == 0
    assert OLD in result.stdout
    assert NEW not in result.stdout
    assert str(store.document_path(NEW)) in result.stderr


def test_list_of_no_store_says_so(tmp_path: Path) -> None:
    result = call("list", "--store", str(tmp_path / "none"))
    assert result.exit_code == 0
    assert "no session" in result.stderr


def test_list_hints_at_journals(store: Store) -> None:
    journal = Journal.create(store, Header(session=Session(id="20260109T030405Z-0a0a0a0a", started="")))
    assert "llmbench recover" in call("list").stderr
    journal.close()


def test_show_prints_the_newest_session_within_80_columns(store: Store) -> None:
    result = call("show")
    assert result.exit_code == 0
    assert NEW in result.stdout
    assert "test_short" in result.stdout
    assert "50.0 ms" in result.stdout
    assert "failed: benchmarks/test_speed.py::test_long[llamacpp-tiny]: the engine crashed\n" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("ref", [OLD, "0a1b", "20260102"])
def test_show_finds_a_session(store: Store, ref: str) -> None:
    assert OLD in call("show", ref).stdout


def test_show_one_case_in_full(store: Store) -> None:
    result = call("show", "--case", "test_short")
    assert result.exit_code == 0
    assert "load_time" in result.stdout
    assert "too few values for this percentile" in result.stdout
    assert "test_long" not in result.stdout


def test_show_an_unknown_case_is_a_clean_error(store: Store) -> None:
    assert_clean_error(call("show", "--case", "test_medium"), "test_medium")


@pytest.mark.parametrize("ref", ["gone.json", "0a"])
@pytest.mark.parametrize("command", ["show", "export"])
def test_an_unknown_or_vague_reference_is_a_clean_error(store: Store, command: str, ref: str) -> None:
    assert_clean_error(call(command, ref), ref)


def test_a_damaged_document_is_a_clean_error(store: Store) -> None:
    store.document_path(OLD).write_text("{}")
    assert_clean_error(call("show", OLD), str(store.document_path(OLD)))


def test_export_writes_csv(store: Store) -> None:
    result = call("export", OLD, "--format", "csv")
    assert [row["outcome"] for row in csv.DictReader(io.StringIO(result.stdout))] == ["passed", "failed"]


def test_export_writes_csv_with_a_row_a_number(store: Store) -> None:
    lines = call("export", OLD, "--format", "csv-long").stdout.splitlines()
    assert lines[0].endswith(",metric,statistic,value,unit")
    assert any(",ttft,median," in line for line in lines)


def test_columns_on_request_are_those_of_the_table_and_of_markdown(store: Store) -> None:
    assert "load_time" in call("show", "--columns", "size,load_time").stdout
    assert "load_time" in call("export", OLD, "-f", "markdown", "--columns", "load_time").stdout
    assert_clean_error(call("show", "--columns", "lode_time"), "load_time")
    assert_clean_error(call("export", OLD, "--columns", "load_time"), "--columns")


def test_export_writes_json_lines(store: Store) -> None:
    result = call("export", OLD, "-f", "jsonl")
    assert [json.loads(line)["round"] for line in result.stdout.splitlines()] == [0, 1]


def test_export_writes_markdown(store: Store) -> None:
    assert call("export", OLD, "-f", "markdown").stdout.startswith("| case |")


def test_export_writes_pytest_benchmarks_json_to_a_file(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.json"
    result = call("export", OLD, "-f", "pytest-benchmark", "-o", str(out), "--metric", "tpot")
    assert result.exit_code == 0
    assert result.stdout == ""
    (one,) = json.loads(out.read_text())["benchmarks"]
    assert one["stats"]["ops"] == pytest.approx(100)


def test_export_refuses_a_metric_that_is_no_duration(store: Store) -> None:
    assert_clean_error(
        call("export", OLD, "-f", "pytest-benchmark", "--metric", "goodput"), "goodput", "ttft"
    )


def test_export_refuses_a_metric_where_it_has_no_meaning(store: Store) -> None:
    assert_clean_error(call("export", OLD, "--metric", "ttft"), "--metric")


def test_export_to_a_place_that_cannot_be_written_is_a_clean_error(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_clean_error(call("export", OLD, "-o", str(tmp_path / "file" / "out.csv")), "file")


def test_an_unknown_format_lists_what_there_is(store: Store) -> None:
    result = call("export", OLD, "-f", "xml")
    assert result.exit_code == 2
    assert "jsonl" in result.stderr


def test_schema_prints_that_of_the_settings_too() -> None:
    schema = json.loads(call("schema", "settings").stdout)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"models": ["tiny"], "rounds": 3})
    assert not validator.is_valid({"rounds": 0})


def test_schema_prints_that_of_presets_too() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(call("schema", "presets").stdout))
    assert list(validator.iter_errors({"mine": {"extends": "rag", "rounds": 3}})) == []
    assert list(validator.iter_errors({"mine": {"round": 3}}))


def test_schema_prints_a_schema_that_documents_fit(store: Store) -> None:
    schema = json.loads(call("schema").stdout)
    written = json.loads(store.document_path(OLD).read_text())
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(written)) == []


def test_recover_makes_a_document_of_a_journal(store: Store) -> None:
    session_id = "20260109T030405Z-0a0a0a0a"
    journal = Journal.create(store, Header(session=Session(id=session_id, started="2026-01-09T03:04:05Z")))
    journal.append(document(OLD).cases[0])
    assert "still running" in call("recover").stdout
    journal.close()
    head, _, rest = journal.path.read_text().partition("\n")
    header = json.loads(head)
    header["session"]["process_started"] = 1.0
    journal.path.write_text(json.dumps(header) + "\n" + rest)
    result = call("recover")
    assert result.exit_code == 0
    assert f"{session_id}: recovered 1 cases" in result.stdout
    assert len(read_document(store.document_path(session_id)).cases) == 1
    assert "nothing to recover" in call("recover").stdout


def test_recover_that_fails_ends_with_1(store: Store) -> None:
    (store.journals / f"{OLD}.jsonl").write_text('{"schema_version": "9.0", "session": {}}\n')
    store.document_path(OLD).unlink()
    result = call("recover")
    assert result.exit_code == 1
    assert "could not be recovered" in result.stdout
    assert "schema version 9.0" in result.stderr


def test_a_document_outside_the_store_is_shown(tmp_path: Path) -> None:
    path = write_document(tmp_path / "out.json", document(OLD))
    assert OLD in call("show", str(path)).stdout


# -- models -------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLMBENCH_CACHE", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    return folder


def test_models_lists_what_can_be_built(cache: Path) -> None:
    result = call("models")
    assert result.exit_code == 0
    assert "tiny, " in result.stdout
    assert "synthetic/llama-3.1-8b, 8.03B parameters" in result.stdout
    assert "gguf q4_k_m" in result.stdout
    assert "  built:" not in result.stdout
    assert max(map(len, result.stdout.splitlines()[:-1])) <= 80


def test_a_model_that_was_built_is_listed_as_built(cache: Path) -> None:
    pytest.importorskip("gguf")
    built = call("models", "build", "tiny", "--quant", "f16")
    assert built.exit_code == 0
    assert Path(built.stdout.splitlines()[0]).is_relative_to(cache)
    assert "sha256:" in built.stdout
    lines = call("models").stdout.splitlines()
    assert lines[1].startswith("  built:     gguf f16 ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["tinny"],
        ["tiny", "--quant", "q4_9"],
        ["tiny", "--form", "hg"],
        ["tiny", "--form", "hf", "--quant", "q8_0"],
    ],
)
def test_what_cannot_be_built_is_a_clean_error(cache: Path, arguments: list[str]) -> None:
    assert_clean_error(call("models", "build", *arguments))

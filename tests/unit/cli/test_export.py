"""Do results leave the store in the form that was asked for, to the place that was named?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pytest_llmbench.cli.app import app
from pytest_llmbench.report.exports import EXPORTS
from pytest_llmbench.results.records import CaseRecord, ModelRecord, ResultsDocument, Session
from pytest_llmbench.results.store import Store
from pytest_llmbench.times import now
from tests.fakes.mlflow_server import MLflow


def case(nodeid: str, measurement: str = "default") -> CaseRecord:
    return CaseRecord(
        nodeid=nodeid,
        measurement=measurement,
        name=nodeid.partition("::")[2],
        file=nodeid.partition("::")[0],
        model=ModelRecord(name="tiny", backend="llamacpp"),
        outcome="passed",
    )


CASES = [
    case("test_a.py::test_x[tiny]"),
    case("test_a.py::test_x[tiny-q8]"),
    case("test_a.py::test_y"),
    case("test_a.py::test_y", "second"),
]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(tmp_path / "store")
    session = Session(id="20260102T030405Z-0a1b2c3d", started=now(), state="finished")
    made.write(ResultsDocument(session=session, cases=CASES))
    monkeypatch.setenv("LLMBENCH_STORE", str(made.path))
    return made


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def refused(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return line


def test_the_help_has_every_form() -> None:
    shown = " ".join(call("export", "--help").stdout.split())
    assert all(f"- {row.name}: {row.help}" in shown for row in EXPORTS.values())


def test_cases_can_be_chosen() -> None:
    lines = call("export", "--case", "test_x", "-f", "csv").stdout.splitlines()
    assert len(lines) == 3
    assert "has 'nothing' in its id" in refused(call("export", "--case", "nothing"))


def test_several_files_are_written_into_a_folder(tmp_path: Path, store: Store) -> None:
    assert "name a folder with --output" in refused(call("export", "-f", "files"))
    out = tmp_path / "new" / "folder"
    assert call("export", "-f", "files", "-o", str(out)).exit_code == 0
    session = store.find("latest").stem
    assert sorted(path.name for path in out.iterdir()) == [
        f"{session}.csv",
        f"{session}.json",
        f"{session}.md",
        f"{session}_system.json",
    ]


def test_bytes_go_to_a_file_or_a_pipe_and_to_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "cases.parquet"
    assert call("export", "-f", "parquet", "-o", str(out)).exit_code == 0
    assert out.read_bytes()[:4] == b"PAR1"
    assert CliRunner().invoke(app, ["export", "-f", "parquet"]).stdout_bytes[:4] == b"PAR1"
    monkeypatch.setattr("pytest_llmbench.cli.export.on_a_terminal", lambda: True)
    assert "name a file with --output" in refused(call("export", "-f", "parquet"))


def test_a_badge_is_a_picture_or_json(tmp_path: Path) -> None:
    assert call("badge", "tiny-q8").stdout.startswith("<svg ")
    assert json.loads(call("badge", "tiny-q8", "-f", "json").stdout)["message"] == "not measured"
    out = tmp_path / "badges" / "speed.svg"
    assert call("badge", "tiny-q8", "-o", str(out)).exit_code == 0
    assert out.read_text().startswith("<svg ")


def test_a_badge_is_of_one_case() -> None:
    assert "in the ids of 2 cases; use more of one: test_a.py::test_x[tiny], " in refused(
        call("badge", "test_x")
    )
    assert "did you mean" in refused(call("badge", "test_a.py::test_x[tinny]"))
    # An id that is a part of another one is a whole id all the same.
    assert call("badge", "test_a.py::test_y").exit_code == 0
    assert call("badge", "second").exit_code == 0


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--max-age", "soon", "such as 30d"), ("--metric", "tttf", "ttft"), ("--ref", "x" * 9, "xxx")],
)
def test_a_bad_option_of_a_badge_is_one_line(option: str, value: str, said: str) -> None:
    assert said in refused(call("badge", "tiny-q8", option, value))


def test_a_session_is_sent_to_a_server_and_said_in_one_line(store: Store) -> None:
    server = MLflow()
    try:
        first, second = (call("export", "latest", "--to", "mlflow", server.url) for _ in range(2))
    finally:
        server.close()
    assert first.exit_code == second.exit_code == 0
    session = "20260102T030405Z-0a1b2c3d"
    where = f"Session {session} is in experiment pytest-llmbench (1) of {server.url}: "
    assert first.stdout == f"{where}4 cases sent, 0 there before\n"
    assert second.stdout == f"{where}0 cases sent, 4 there before\n"
    gone = refused(
        call("export", "--to", "mlflow", server.url, "--experiment", "two words", "--case", "test_x")
    )
    assert gone.endswith(
        f"nothing listens there. What is there stays, and this goes on: llmbench export {session} "
        f"--store {store.path} --case test_x --experiment 'two words' --to mlflow {server.url}"
    )
    file = store.path / "copy.json"
    file.write_bytes(next(store.path.rglob(f"{session}*")).read_bytes())
    gone = refused(call("export", str(file), "--to", "mlflow", server.url))
    assert f": llmbench export {file} --store" in gone


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "mlfow", "http://x"], "--to mlfow http://x: use --to mlflow URL; did you mean 'mlflow'?"),
        (["--to", "mlflow", "x"], "--to mlflow=x: write http://HOST:PORT"),
        (["--to", "mlflow", "http://x", "--format", "jsonl"], "--to sends everything"),
        (["--experiment", "x"], "--experiment is for --to mlflow URL"),
    ],
)
def test_a_bad_destination_is_one_line(arguments: list[str], said: str) -> None:
    assert said in refused(call("export", *arguments))

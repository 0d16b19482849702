"""Does ``llmbench run`` leave a document and its rounds, and say how it ended?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pytest_llmbench.cli.app import app
from pytest_llmbench.results.document import read_document
from pytest_llmbench.results.ids import is_session_id

CONFTEST = """
from tests.fakes.llmbench_fake import backend

def pytest_llmbench_register_backends(registry):
    registry.register(backend)
"""
SUITE = """
model: tiny
backend: fake
warmup: 1
repeats: 3
cases:
  - {prompt: Who are you?, new_tokens: 4}
  - {prompt: Hello, new_tokens: 2}
"""
OPTIONS = ("--llm-monitor-rate=0", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "baseline.yaml").write_text(SUITE)
    return tmp_path


def call(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["run", *words, *OPTIONS])
    assert result.exit_code == status, result.output
    return result


def only(folder: str) -> Path:
    (found,) = Path(folder).iterdir()
    return found


def test_a_run_has_a_folder_with_its_document_and_a_line_for_each_round() -> None:
    result = call("-c", "baseline.yaml")
    run = only("results/raw")
    assert {file.name for file in run.iterdir()} == {"document.json", "per_run.jsonl"}
    assert f"Results: {run / 'per_run.jsonl'}" in result.stdout.splitlines()
    assert is_session_id(run.name)
    document = read_document(run / "document.json")
    assert document.session.id == run.name
    rows = [json.loads(line) for line in (run / "per_run.jsonl").read_text().splitlines()]
    assert [(row["new_tokens"], row["repeat"]) for row in rows] == [(n, i) for n in (4, 2) for i in range(3)]
    first = rows[0]
    wanted = "run_id model backend dtype prompt_len new_tokens ttft_s tpot_s dt_full_s tok_s gpu cuda_version"
    assert {*wanted.split(), "peak_memory_allocated_gb", "versions"} <= first.keys()
    assert (first["run_id"], first["model"], first["backend"]) == (run.name, "tiny", "fake")
    values = document.cases[0].processes[0].rounds[0].values
    assert first["ttft_s"] == values["ttft"]
    assert first["tpot_s"] == values["tpot"]
    assert first["dt_full_s"] == values["e2e_latency"]
    assert first["tok_s"] == pytest.approx(4 / first["dt_full_s"])
    assert first["peak_memory_allocated_gb"] is None
    assert first["prompt_len"] == document.cases[0].processes[0].rounds[0].prompt_tokens
    assert "pytest" in first["versions"]


def test_options_of_pytest_may_follow() -> None:
    call("--config", "baseline.yaml", "--output", "out", "--llm-rounds=1", "-k", "Hello")
    (row,) = map(json.loads, (only("out") / "per_run.jsonl").read_text().splitlines())
    assert row["new_tokens"] == 2


def test_a_case_that_fails_is_the_exit_status_1_and_the_others_are_kept(here: Path) -> None:
    (here / "baseline.yaml").write_text(SUITE.replace("Hello", "'!raise'"))
    call("-c", "baseline.yaml", status=1)
    assert len((only("results/raw") / "per_run.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "words", [("-c", "baseline.yaml", "--llm-rounds=x"), ("-c", "baseline.yaml", "-k", "nothing")]
)
def test_bad_input_is_the_exit_status_2_and_leaves_no_run(words: tuple[str, ...]) -> None:
    call(*words, status=2)
    assert list(Path("results/raw").iterdir()) == []


def test_a_suite_that_is_not_there_or_not_valid_is_bad_input(here: Path) -> None:
    assert "there is no file no.yaml" in call("-c", "no.yaml", status=2).stderr
    (here / "baseline.yaml").write_text(SUITE.replace("repeats", "repeat"))
    call("-c", "baseline.yaml", status=2)
    (here / "file").touch()
    (here / "baseline.yaml").write_text(SUITE)
    assert "cannot be written" in call("-c", "baseline.yaml", "-o", "file", status=2).stderr

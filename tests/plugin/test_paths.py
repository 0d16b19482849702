"""Is each path looked for from where it was written?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.openai_server import FakeServer, fake_server
from tests.plugin.conftest import Run

LOAD = """
import pytest

@pytest.mark.llm(requests=4, prefix_cache=True, max_new_tokens=2 {marker})
def test_load(llm_load):
    llm_load.measure({call})
"""


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.fixture
def places(bench: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its ini file, a folder of tests and one that is typed from; each has a data set."""
    for name in (".", "tests", "here"):
        folder = bench.path / name
        folder.mkdir(exist_ok=True)
        (folder / "data.jsonl").write_text(json.dumps({"prompt": f"from {folder.name}"}))
    (bench.path / "data.jsonl").write_text('{"prompt": "from the root"}')
    bench.makeini("[pytest]\n")
    monkeypatch.chdir(bench.path / "here")
    return bench.path


def write(places: Path, marker: str = "", call: str = "", ini: str = "") -> None:
    (places / "tests" / "test_it.py").write_text(LOAD.format(marker=marker, call=call))
    (places / "tox.ini").write_text(f"[pytest]\n{ini}\n")


def run_load(run: Run, server: FakeServer, *more: str) -> pytest.RunResult:
    return run("../tests", f"--llm-base-url={server.url}", *more, backend=None)


@pytest.mark.parametrize(
    ("written", "typed", "meant"),
    [
        ({}, ["--llm-dataset=data.jsonl"], "from here"),
        ({}, ["--llm-dataset", "../data.jsonl"], "from the root"),
        ({}, ["-c", "../tox.ini", "--llm-dataset=data.jsonl"], "from here"),
        ({}, ["--rootdir=..", "--llm-dataset=data.jsonl"], "from here"),
        ({"ini": "llm_dataset = data.jsonl"}, [], "from the root"),
        ({"ini": "llm_dataset = tests/data.jsonl"}, ["--rootdir=../tests", "-c", "../tox.ini"], "from tests"),
        ({"ini": "addopts = --llm-dataset=data.jsonl"}, [], "from here"),
        ({"marker": ", dataset='data.jsonl'"}, [], "from tests"),
        ({"call": "dataset='data.jsonl'"}, [], "from tests"),
        ({"call": "dataset='../here/data.jsonl'"}, ["--llm-dataset=data.jsonl"], "from here"),
    ],
)
def test_a_data_set_is_looked_for_from_where_it_was_written(
    places: Path, run: Run, server: FakeServer, written: dict[str, str], typed: list[str], meant: str
) -> None:
    write(places, **written)
    run_load(run, server, *typed).assert_outcomes(passed=1)
    assert set(server.prompts) == {meant}


def test_a_home_is_the_users_wherever_it_is_written(
    places: Path, run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(places / "here"))
    write(places, marker=", dataset='~/data.jsonl'")
    run_load(run, server).assert_outcomes(passed=1)
    assert set(server.prompts) == {"from here"}


def test_a_test_that_changes_its_folder_moves_no_path(places: Path, run: Run, server: FakeServer) -> None:
    write(places)
    (places / "tests" / "conftest.py").write_text(
        "import pytest\n@pytest.fixture(autouse=True)\ndef _(monkeypatch): monkeypatch.chdir('/')\n"
    )
    typed = ["--llm-dataset=data.jsonl", "--llm-store=store", "--llm-json=now.json"]
    run_load(run, server, *typed).assert_outcomes(passed=1)
    assert set(server.prompts) == {"from here"}
    assert (places / "here" / "store" / "results").is_dir()
    assert (places / "here" / "now.json").is_file()


@pytest.mark.parametrize(
    ("marker", "ini", "typed", "told"),
    [
        ("models=['./m.gguf']", "", [], "tests"),
        ("", "llm_models = ./m.gguf", [], "."),
        ("", "", ["--llm-model=./m.gguf"], "here"),
        ("models=['m.gguf']", "", [], "tests"),
    ],
)
def test_a_model_is_looked_for_from_where_it_was_written(
    places: Path, run: Run, marker: str, ini: str, typed: list[str], told: str
) -> None:
    (places / "tests" / "test_it.py").write_text(
        f"import pytest\n@pytest.mark.llm({marker})\ndef test_speed(llm_model): pass\n"
    )
    (places / "tox.ini").write_text(f"[pytest]\n{ini}\n")
    result = run("../tests", *typed)
    text = result.stdout.str() + result.stderr.str()
    assert f"m.gguf: no such file or folder in {(places / told).resolve()}\n" in text


def test_a_model_of_a_server_that_runs_is_a_name_and_no_path(places: Path, run: Run) -> None:
    write(places)
    with fake_server("./m.gguf") as server:
        run_load(run, server, "--llm-model=./m.gguf").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "typed", "folder"),
    [
        ("", ["--llm-option=server.ca_file=ca.pem"], "here"),
        (", backend_options={'server': {'ca_file': 'ca.pem'}}", [], "tests"),
    ],
)
def test_the_files_of_a_backend_are_looked_for_from_where_they_were_written(
    places: Path, run: Run, marker: str, typed: list[str], folder: str
) -> None:
    write(places, marker=marker)
    result = run("../tests", "--llm-base-url=https://127.0.0.1:9/v1", *typed, backend=None)
    result.stdout.fnmatch_lines([f"*{(places / folder).resolve()}/ca.pem*"])


def test_aliases_store_and_baseline_of_an_ini_file_are_beside_it(
    places: Path, run: Run, server: FakeServer
) -> None:
    (places / "models.yaml").write_text("mine: tiny\n")
    write(places, ini="llm_models_file = models.yaml\nllm_store = kept")
    run_load(run, server).assert_outcomes(passed=1)
    assert (places / "kept" / "results").is_dir()


def test_every_path_of_a_base_side_is_meant_from_where_it_was_typed(places: Path, run: Run) -> None:
    (places / "tests" / "test_it.py").write_text(
        "def test_speed(llm_model): llm_model.measure('x', max_new_tokens=2)\n"
    )
    result = run("../tests", "--llm-ab=model=./m.gguf")
    assert f"no such file or folder in {(places / 'here').resolve()}" in result.stderr.str()
    result = run("../tests", "--llm-ab=python=./no/python")
    assert str((places / "here" / "no" / "python").resolve()) in result.stdout.str() + result.stderr.str()


def test_workers_of_xdist_look_where_their_controller_does(
    places: Path, run: Run, server: FakeServer
) -> None:
    write(places)
    run_load(run, server, "--llm-dataset=data.jsonl", "-n1").assert_outcomes(passed=1)
    assert set(server.prompts) == {"from here"}

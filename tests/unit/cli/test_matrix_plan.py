"""Does ``llmbench matrix plan`` say what a matrix comes to?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_llmbench.cli.app import app

MATRIX = """\
version: 1
matrix:
  hardware: {L4: 1, H100: 1}
  models: [tiny, %s]
  backends: [llamacpp, transformers]
  quantizations: [f16, q8_0]
  exclude: [{hardware: H100, quantizations: f16}]
cases:
  - {name: short, prompt: Hello}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "nightly.yaml"
    path.write_text(MATRIX % "synthetic/llama-82m", encoding="utf-8")
    return path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["matrix", "plan", *words])
    return done.exit_code, done.output


def test_it_counts_cells_and_says_what_is_left_out(file: Path) -> None:
    status, said = run(str(file))
    assert status == 0
    assert "nightly: 8 cells, 0 cells of them done" in said
    assert "models: tiny 4, synthetic/llama-82m 4" in said
    assert "left out by exclude: 4 combinations" in said
    assert "left out: 4 combinations: transformers has no quantization 'q8_0'" in said
    (row,) = [line.split() for line in said.splitlines() if line.startswith("H100")]
    assert row == ["H100", "2", "-", "-", "2"]


def test_it_lists_cells_in_the_order_in_which_they_are_measured(file: Path) -> None:
    _, said = run(str(file), "--cells")
    assert said.index("@ L4") < said.index("@ H100")  # L4 costs less.
    rows = [json.loads(line) for line in run(str(file), "--json")[1].splitlines()]
    assert len(rows) == 8
    assert rows[0]["label"] == "short llamacpp-tiny-f16 @ L4"
    assert rows[0]["refused"] is None


def test_a_model_that_is_not_there_is_told_before_anything_runs(file: Path) -> None:
    (file.parent / "broken.gguf").write_bytes(b"GGUF")
    file.write_text(MATRIX % "./broken.gguf", encoding="utf-8")
    status, said = run(str(file))
    assert status == 0
    assert "cells will fail: " in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.yaml"], "absent.yaml"),
        (["nightly.yaml", "--hardware-file", "absent.yaml"], "absent.yaml: the file cannot be read"),
    ],
)
def test_what_is_not_there_is_one_line(file: Path, words: list[str], message: str) -> None:
    del file
    status, said = run(*words)
    assert status == 2
    assert message in said
    assert "Traceback" not in said

"""Is what a matrix's file asks of a cluster read as a run reads it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.matrix.manifests.source import read_source
from pytest_llmbench.results.cell import Hardware

MATRIX = """
version: 1
matrix:
  hardware: {L4: [1, 2], H100: {count: 8, market: spot}}
  models: [tiny]
  servers: [vllm]
  exclude: [{hardware: L4x2, cases: short}]
  batch: 2
defaults: {max_new_tokens: 8}
cases:
  - {name: short, prompt: "Hello.", concurrency: [1, 2, 4]}
  - {name: long, prompt: "a/b", concurrency: 1}
"""
L4, TWO, H100 = Hardware("L4"), Hardware("L4", 2), Hardware("H100", 8, "spot")


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(MATRIX)
    return path


def test_batches_are_those_of_each_kind_of_hardware(matrix: Path) -> None:
    source = read_source(matrix)
    assert (source.name, source.text) == ("sweep", MATRIX)
    assert source.batches == {L4: 2, TWO: 1, H100: 2}
    assert source.beside == ()


def test_what_does_not_fit_is_in_no_batch_as_in_a_run(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "version: 1\nmatrix: {hardware: {T4: 1, H100: 1}, models: [tiny, synthetic/llama-3.1-8b], "
        "backends: [llamacpp], quantizations: [f32], batch: 1}\n"
        "cases: [{name: a, prompt: Hello}]\n"
    )
    assert read_source(path).batches == {Hardware("T4"): 1, Hardware("H100"): 2}


def test_batches_that_are_said_are_not_counted(matrix: Path) -> None:
    assert read_source(matrix, 7).batches == {L4: 7, TWO: 7, H100: 7}


def test_what_stands_beside_the_file_is_named(matrix: Path) -> None:
    (matrix.parent / "model.gguf").write_text("")
    text = MATRIX.replace("models: [tiny]", f"models: [./model.gguf, {matrix.parent}/gone.gguf, tiny]")
    matrix.write_text(text)
    assert [path.name for path in read_source(matrix, 1).beside] == ["model.gguf"]


def test_a_file_that_extends_another_is_refused(matrix: Path) -> None:
    more = matrix.with_name("more.yaml")
    more.write_text("version: 1\nextends: sweep.yaml\n")
    with pytest.raises(UsageError) as refused:
        read_source(more)
    assert "sweep.yaml, and pods have one file: write all into it" in str(refused.value)


def test_a_suite_without_a_matrix_is_refused(matrix: Path) -> None:
    matrix.write_text("version: 1\ncases: [{name: a, prompt: b}]\n")
    with pytest.raises(UsageError, match="there is no matrix in it"):
        read_source(matrix, 1)

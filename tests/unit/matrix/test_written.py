"""Is a case the same wherever it is written?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.matrix.written import Writer, escaped, hashed, model_at
from pytest_llmbench.settings.presets import shipped
from pytest_llmbench.settings.suite import read_suite

SUITE = """\
version: 1
models: {mine: {model: ./m.gguf, revision: null}, chat: org/name}
presets: {slow: {rounds: 9, extends: chatbot}}
defaults: {rounds: 2}
cases:
  - name: 007
    conversation: talk.yaml
    sweep: {parameters: {rounds: [1, 2]}}
  - {name: load, concurrency: 1, dataset: ./d.jsonl}
  - {name: known, conversation: rag, backend_options: {llamacpp: {n_batch: 8}}}
"""


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    (tmp_path / "d.jsonl").write_text("{}", encoding="utf-8")
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    path = tmp_path / "a.yaml"
    path.write_text(SUITE, encoding="utf-8")
    (tmp_path / "talk.yaml").write_text("turns: [{user: Hello}]\n", encoding="utf-8")
    return Writer(read_suite(path, Registry(), shipped()), Registry())


def test_paths_are_absolute_and_names_are_not(writer: Writer, tmp_path: Path) -> None:
    assert writer.defaults() == {"rounds": 2}
    cases = writer.cases()
    assert cases["load"]["dataset"] == str(tmp_path / "d.jsonl")
    assert cases["007"] == {"name": "007", "conversation": str(tmp_path / "talk.yaml")}
    assert cases["known"]["conversation"] == "rag"
    assert cases["known"]["backend_options"] == {"llamacpp": {"n_batch": 8}}


def test_models_and_presets_go_with_every_case(writer: Writer, tmp_path: Path) -> None:
    head = writer.head()
    assert head["models"]["chat"] == "org/name"
    assert head["models"]["mine"]["model"] == str(tmp_path / "m.gguf")
    assert head["presets"] == {"slow": {"rounds": 9, "extends": "chatbot"}}


def test_what_looks_like_a_variable_is_not_filled_in_again() -> None:
    assert escaped({"a": ["${X}", 1], "b": None}) == {"a": ["$${X}", 1], "b": None}


def test_a_hash_has_what_a_file_holds_and_no_secret(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "d").write_text("same", encoding="utf-8")
    one, two = (hashed({"dataset": f"{tmp_path}/{folder}/d#part"}) for folder in ("one", "two"))
    assert one == two != hashed({"dataset": "/absent"}) == {"dataset": "/absent"}
    assert "hunter22" not in str(hashed({"api_key": "hunter22"}))


def test_a_model_that_is_a_path_is_meant_from_the_file(tmp_path: Path) -> None:
    assert model_at("./m.gguf", tmp_path) == str(tmp_path / "m.gguf")
    assert model_at("tiny", tmp_path) == "tiny"

"""Does ``llmbench suite`` say what pytest would run?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from pytest_llmbench.cli.app import app

SUITE = """
version: 1
defaults: {models: [tiny], rounds: 3, thresholds: {ttft: <1s}, backend_options: {llamacpp: {n_threads: 1}}}
cases:
  - {name: short, tags: [quick, rag], prompt: Hello}
  - {name: grid, max_new_tokens: 4, sweep: {parameters: {prompt_tokens: [8, 16]}}}
"""


@pytest.fixture(autouse=True)
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("s.llm.yaml")
    path.write_text(SUITE)
    return path


def call(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == status, result.output
    return result


def test_validate_counts_cases_and_tests(suite: Path) -> None:
    Path("t.yaml").write_text("version: 1\ncases: [{name: load, serve: vllm, concurrency: [1, 2]}]\n")
    lines = call("suite", "validate", "s.llm.yaml", "t.yaml").stdout.splitlines()
    assert lines[0].startswith("s.llm.yaml: 2 cases, ")
    assert lines[1] == "t.yaml: 1 case, 2 tests"


def test_expand_tells_of_a_conversation_how_long_it_is(suite: Path) -> None:
    suite.write_text("version: 1\ncases: [{name: a, tags: [mine], conversation: rag, max_new_tokens: 8}]\n")
    told = json.loads(call("suite", "expand", "s.llm.yaml", "--json", "--backend=llamacpp").stdout)
    assert (told["fixture"], told["turns"], told["about_tokens"]) == ("llm_chat", 6, 774)
    assert told["tags"] == ["mine", "rag", "short"]
    assert told["settings"]["conversation"] == "rag"
    shown = call("suite", "expand", "s.llm.yaml", "--backend=llamacpp").stdout
    assert "turns:    6, of about 774 tokens at most" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "version: 1\ncases: [{name: a, round: 1}]\n",
            "s.llm.yaml:2:19: a case has no key 'round'; did you mean",
        ),
        (
            "version: 1\ncases: [{name: a, prompt: x, models: no}]\n",
            "s.llm.yaml:2:38: there is no model 'no'",
        ),
    ],
)
def test_what_is_not_valid_is_said_in_one_line(suite: Path, text: str, message: str) -> None:
    suite.write_text(text)
    for command in ("validate", "expand"):
        result = call("suite", command, "s.llm.yaml", status=2)
        assert result.stderr.startswith(f"llmbench: error: {message}")
        assert len(result.stderr.splitlines()) == 1


def test_expand_lists_the_tests_with_their_settings() -> None:
    pytest.importorskip("llama_cpp")
    lines = call("suite", "expand", "s.llm.yaml", "--backend", "llamacpp").stdout.splitlines()
    assert lines[:3] == [
        "s.llm.yaml::short[llamacpp-tiny]",
        "  tags:     quick, rag",
        "  settings: prompt=Hello, models=['tiny'], rounds=3, thresholds={'ttft': '<1s'}, "
        "backend_options={'llamacpp': {'n_threads': 1}}",
    ]
    assert lines[3:5] == ["s.llm.yaml::grid[llamacpp-tiny-prompt_tokens:8]", "  context:  12"]
    assert re.fullmatch(r"  memory:   1\d\.\d MiB \(weights 1\d\.\d MiB, KV cache 72\.0 KiB\)", lines[5])


def test_expand_writes_json_lines() -> None:
    pytest.importorskip("llama_cpp")
    text = call("suite", "expand", "s.llm.yaml", "--backend", "llamacpp", "--json").stdout
    tests = [json.loads(line) for line in text.splitlines()]
    assert [one["id"] for one in tests] == [
        "short[llamacpp-tiny]",
        "grid[llamacpp-tiny-prompt_tokens:8]",
        "grid[llamacpp-tiny-prompt_tokens:16]",
    ]
    assert [one["context"] for one in tests] == [None, 12, 20]
    # 2 x 6 layers x 4 heads x 64 values x 2 bytes a token.
    assert [one["kv_cache"] for one in tests] == [None, 12 * 6144, 20 * 6144]
    assert tests[0]["memory"] is None
    assert tests[2]["memory"] == tests[2]["weights"] + tests[2]["kv_cache"]
    assert tests[0]["tags"] == ["quick", "rag"]
    assert tests[2]["settings"]["prompt_tokens"] == 16


def test_expand_says_what_an_alias_says_of_its_model_and_what_does_not_fit(suite: Path) -> None:
    pytest.importorskip("llama_cpp")
    suite.write_text(
        "version: 1\n"
        "models: {small: {model: tiny, context_length: 100, recommended_memory_gb: 0.5}}\n"
        "defaults: {models: small, max_new_tokens: 4}\n"
        "cases: [{name: a, sweep: {parameters: {prompt_tokens: [96, 97]}}}]\n"
    )
    text = call("suite", "expand", "s.llm.yaml", "--backend", "llamacpp", "--json").stdout
    first, second = (json.loads(line) for line in text.splitlines())
    assert (first["context"], first["memory"], first["skip"]) == (100, 5 * 10**8, None)
    assert second["skip"] == (
        "small has a context of 100 tokens (context_length in the models file), and a prompt of 97 tokens "
        "and 4 more are longer"
    )


def test_expand_knows_the_context_of_a_load(suite: Path) -> None:
    suite.write_text(
        "version: 1\n"
        "defaults: {serve: vllm, concurrency: 2}\n"
        "cases:\n"
        "- {name: made, prompt_length: 'uniform:10:30', output_length: 5, shared_prefix: 8}\n"
        "- {name: asked, prompt: Hello}\n"
    )
    tests = [json.loads(line) for line in call("suite", "expand", "s.llm.yaml", "--json").stdout.splitlines()]
    assert [one["context"] for one in tests] == [25, None]
    assert [one["fixture"] for one in tests] == ["llm_load", "llm_load"]


def test_expand_knows_the_aliases_of_a_file(suite: Path) -> None:
    pytest.importorskip("llama_cpp")
    Path("models.yaml").write_text("mine: {model: tiny, quantization: q8_0}\n")
    suite.write_text("version: 1\ncases: [{name: a, prompt: Hello, models: mine}]\n")
    words = ("suite", "expand", "s.llm.yaml", "--backend", "llamacpp", "--models-file", "models.yaml")
    assert call(*words).stdout.startswith("s.llm.yaml::a[llamacpp-mine-q8_0]\n")


def test_a_backend_that_there_is_not_is_refused() -> None:
    assert "no" in call("suite", "expand", "s.llm.yaml", "--backend", "nothing", status=2).stderr


def test_schema_prints_that_of_suites(suite: Path) -> None:
    import yaml

    schema = json.loads(call("schema", "suite").stdout)
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(yaml.safe_load(suite.read_text()))) == []

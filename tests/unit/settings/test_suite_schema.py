"""Does the schema of suites take what is read, and refuse what is refused?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cases.selection import Selector
from pytest_llmbench.cases.suites import expand_suite
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.presets import shipped
from pytest_llmbench.settings.sources import Precedence
from pytest_llmbench.settings.suite import read_suite
from pytest_llmbench.settings.suite_rows import CASE_KEYS, ROWS, SUITE_KEYS
from pytest_llmbench.settings.suite_schema import suite_schema
from pytest_llmbench.settings.sweep import KEYS
from pytest_llmbench.settings.yaml_nodes import plain, read_yaml

SCHEMA: Any = suite_schema(Registry())
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"

CASE = "version: 1\ncases:\n- name: a\n  prompt: Hello\n"
GOOD = [
    CASE,
    "version: 1\nextends: base.yaml\n",
    CASE + "  tags: [a, b]\n  sweep:\n",
    CASE + "  tags: a\n  rounds: ${N:3}\n",
    CASE + "  sweep: {parameters: {seed: 1-4, slo.ttft: [1, 2]}, exclude: [{seed: 1}]}\n",
    CASE + "  sweep: {type: list, parameters: [{seed: 1}, {rounds: 2}]}\n",
    CASE + "  backend_options: {llamacpp: {n_threads: 1}}\n",
    CASE.replace("prompt: Hello", "messages: [{role: user, content: Hello}]"),
    CASE.replace("prompt: Hello", "prompt_tokens: 8"),
    CASE.replace("prompt: Hello", "conversation: rag\n  placement: last"),
    CASE.replace("prompt: Hello", "conversation: {turns: [{user: Hello, max_new_tokens: 8}]}"),
    CASE.replace("prompt: Hello", "sweep: {parameters: {conversation: [rag, rag-swap]}}"),
    CASE.replace("name: a", "name: 12").replace("prompt: Hello", "concurrency: [1, 2]"),
    CASE + "models: {a: tiny, b: {model: org/name, revision: 0123, quantization: null}}\n",
    CASE + "variables: {A: 1, B: text}\ndefaults: {rounds: 3}\nsweep: {parameters: {seed: [1]}}\n",
    CASE
    + "presets: {mine: {extends: chatbot, rounds: '${N:3}', seed: null}}\nmodels:\nvariables:\ndefaults:\n",
]
BAD = [
    "cases: []\n",
    "version: 1\n",
    "version: 2\n" + CASE[11:],
    "version: 1\ncases: []\n",
    "version: 1\ncases: {a: b}\n",
    "version: 1\ncases: [a]\n",
    "version: 1\ncases: [{prompt: Hello}]\n",
    CASE + "case: []\n",
    CASE + "rounds: 3\n",
    CASE + "  round: 3\n",
    CASE + "  rounds: many\n",
    CASE + "  rounds: 0\n",
    CASE + "  rounds:\n",
    CASE + "  models: {a: b}\n",
    CASE + "  backend_options: {llamacpp: {no: 1}}\n",
    CASE + "  tags: [a-b]\n",
    CASE + "  tags: 3\n",
    CASE + "  sweep: 3\n",
    CASE + "  sweep: {parameter: {}}\n",
    CASE + "  sweep: {type: gird, parameters: {seed: [1]}}\n",
    CASE + "  sweep: {parameters: {zzz: [1]}}\n",
    CASE + "  sweep: {parameters: {seed: 1}}\n",
    CASE + "  sweep: {parameters: {seed: []}}\n",
    CASE + "  sweep: {parameters: {seed: [1]}, exclude: [1]}\n",
    CASE + "  messages: [{role: user}]\n",
    CASE.replace("prompt: Hello", "conversation: {turns: []}"),
    CASE.replace("prompt: Hello", "conversation: {turn: [{user: Hello}]}"),
    CASE.replace("prompt: Hello", "conversation: [rag]"),
    CASE.replace("name: a", "name: a b"),
    CASE + "defaults: {name: a}\n",
    CASE + "defaults: 3\n",
    CASE + "models: {a: {model: tiny, size: 3}}\n",
    CASE + "models: {a: [tiny]}\n",
    CASE + "variables: {'a b': 1}\n",
    CASE + "variables: {a: [1]}\n",
    CASE + "presets: {mine: {round: 3}}\n",
    CASE + "extends: [a]\n",
]


def written(folder: Path, text: str) -> Path:
    (folder / "base.yaml").write_text(CASE)
    path = folder / "s.llm.yaml"
    path.write_text(text)
    return path


def fits(path: Path) -> bool:
    node = read_yaml(path)
    assert node is not None
    return not list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(plain(node)))


@pytest.mark.parametrize("text", GOOD)
def test_what_is_read_fits(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    check(path)
    assert fits(path)


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused_does_not_fit(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert not fits(path)
    with pytest.raises(UsageError):
        check(path)


def check(path: Path) -> None:
    """As pytest does: which options a backend has is not known to whoever reads a suite."""
    suite = read_suite(path, Registry(), shipped(), {})
    expand_suite(suite, Selector(Registry(), Precedence(), None))


def test_the_schema_has_the_keys_that_are_read() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == list(SUITE_KEYS)
    case = SCHEMA["properties"]["cases"]["items"]
    assert list(case["properties"]) == [*CASE_KEYS, *ROWS]
    assert list(SCHEMA["properties"]["defaults"]["properties"]) == list(ROWS)
    assert list(SCHEMA["properties"]["sweep"]["anyOf"][0]["properties"]) == list(KEYS)
    described = [*SCHEMA["properties"].values(), *SCHEMA["$defs"].values()]
    described += [case["properties"][key] for key in CASE_KEYS]
    assert all(one["description"] for one in described)
    assert list(SCHEMA["$defs"]) == list(ROWS)


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.llm.yaml")), ids=lambda path: path.name)
def test_shipped_suites_fit_and_name_it(path: Path) -> None:
    assert fits(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=suite.schema.json\n")


def test_the_schema_beside_the_shipped_suites_is_this_one() -> None:
    kept = json.loads((BENCHMARKS / "suite.schema.json").read_text())
    assert kept == SCHEMA, "write it again: llmbench schema suite > benchmarks/suite.schema.json"

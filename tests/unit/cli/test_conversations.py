"""Does ``llmbench conversations`` say which there are?"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner, Result

from pytest_llmbench.cli.app import app
from pytest_llmbench.settings.conversations import find_conversation, shipped_conversations


def call(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == status, result.output
    return result


def test_those_of_the_package_are_listed_the_shortest_first() -> None:
    lines = call("conversations").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_conversations())
    (rag,) = (line for line in lines if line.startswith("rag "))
    assert "6 turns  774 tokens" in rag
    assert rag.endswith("(rag, short)")


def test_as_json_there_is_a_line_for_each() -> None:
    told = [json.loads(line) for line in call("conversations", "--json").stdout.splitlines()]
    assert [one["name"] for one in told] == list(shipped_conversations())
    assert all(one["tokens"] > 0 and one["turns"] for one in told)
    assert [
        json.loads(line)["name"] for line in call("conversations", "rag", "--json").stdout.splitlines()
    ] == ["rag"]


def test_one_is_shown_as_the_file_that_it_could_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = call("conversations", "rag-swap").stdout
    assert shown.startswith("# 6 turns, about 1,174 tokens in the end\n")
    Path("mine.yaml").write_text(shown)
    assert find_conversation("mine.yaml") == find_conversation("rag-swap")
    assert call("conversations", "mine.yaml#rag-swap").stdout == shown


def test_one_that_is_not_there_is_refused() -> None:
    assert "did you mean 'rag'?" in call("conversations", "rga", status=2).stderr


def test_the_schema_takes_one() -> None:
    schema = json.loads(call("schema", "conversations").stdout)
    jsonschema.validate(yaml.safe_load(call("conversations", "rag").stdout), schema)

"""Are the presets listed, those of the ini file too, and shown so that they can be written elsewhere?"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.cli.app import app
from pytest_llmbench.settings.presets import Presets, shipped

LINES = ["mine.extends=rag", "mine.description=Of my own", "mine.rounds=3", "chatbot.duration="]
INI = "llm_presets =\n    " + "\n    ".join(LINES) + "\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    monkeypatch.chdir(tmp_path)


def llmbench(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["presets", *arguments])


def test_all_are_listed_with_what_they_are_for() -> None:
    lines = llmbench().output.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped().all())
    assert "A person writes and reads along" in lines[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pytest.ini", f"[pytest]\n{INI}"),
        ("setup.cfg", f"[tool:pytest]\n{INI}"),
        ("pyproject.toml", f"[tool.pytest.ini_options]\nllm_presets = {LINES}\n"),
        ("pyproject.toml", f"[tool.pytest]\nllm_presets = {LINES}\n"),
        ("pytest.toml", f"[pytest]\nllm_presets = {LINES}\n"),
    ],
)
def test_those_of_the_ini_file_are_there(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "pytest.ini").unlink()
    (tmp_path / file).write_text(text)
    last = llmbench().output.splitlines()[-1]
    assert last.split()[0] == "mine"
    assert last.endswith("Of my own (built in, ini option llm_presets)")
    assert "rounds: 3" in llmbench("mine").output
    assert "duration" in llmbench("chatbot").output


def test_another_ini_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.ini").write_text(f"[pytest]\n{INI}")
    assert "Of my own" in llmbench("--ini", "other.ini").output
    assert "Of my own" not in llmbench().output


@pytest.mark.parametrize("name", list(shipped().all()))
def test_what_is_shown_is_what_a_file_takes(name: str) -> None:
    shown = yaml.safe_load(llmbench(name).output)
    again = Presets().extended(shown, ".".join, Registry(), folder=None, origin="a file").find(name)
    assert again.source.values == shipped().find(name).source.values
    assert again.description == shipped().find(name).description


def test_a_key_that_a_preset_says_is_not_shown(tmp_path: Path) -> None:
    options = ["mine.backend_options = server.api_key=guess", "mine.base_url = http://me:guess@host/v1"]
    many = [*options, "mine.backend_options = server.context=4096"]
    for lines in (options, many):
        text = "\n    ".join(lines)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\nllm_presets =\n    {text}\n")
        shown = llmbench("mine").output
        assert "guess" not in shown
        assert "server.api_key=***" in shown
        assert "http://***@host/v1" in shown
    assert "server.context=4096" in shown


@pytest.mark.parametrize(
    ("arguments", "text", "said"),
    [
        (["chatbt"], "[pytest]\n", "there is no preset 'chatbt'; did you mean 'chatbot'? There are "),
        (
            [],
            "[pytest]\nllm_presets = mine.round=3\n",
            "llm_presets: mine.round: no setting 'round'; did you",
        ),
        ([], "llm_presets\n", "the ini file "),
        (["--ini", "none.ini"], "[pytest]\n", "none.ini cannot be read: "),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, arguments: list[str], text: str, said: str) -> None:
    (tmp_path / "pytest.ini").write_text(text)
    result = llmbench(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith("llmbench: error: ")
    assert said in result.output

"""Does the aliases file say what it means, and where it is wrong?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.aliases import read_aliases
from pytest_llmbench.models.resolve import parse_spec
from pytest_llmbench.models.spec import ModelSpec


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "models.yaml"


def test_an_alias_is_a_model_or_a_mapping(file: Path) -> None:
    file.write_text(
        """
        small: synthetic/llama-82m
        chat:
          model: org/name-GGUF
          quantization: q4_k_m
          revision: 0123
        plain: {model: tiny, quantization: null}
        """
    )
    aliases = read_aliases(file)

    assert aliases.names == ["small", "chat", "plain"]
    assert parse_spec("small", aliases=aliases) == ModelSpec("synthetic/llama-82m", alias="small")
    assert parse_spec("chat", aliases=aliases) == ModelSpec("org/name-GGUF", "q4_k_m", "0123", alias="chat")
    assert parse_spec("plain", aliases=aliases) == ModelSpec("tiny", alias="plain")
    assert parse_spec("tiny", aliases=aliases) == ModelSpec("tiny")


def test_a_revision_may_follow_an_alias_of_a_hubs_model(file: Path) -> None:
    file.write_text("chat: org/name\nsmall: tiny\n")
    aliases = read_aliases(file)

    assert parse_spec("chat@v2", aliases=aliases) == ModelSpec("org/name", revision="v2", alias="chat")
    with pytest.raises(UsageError, match="tiny has no revisions"):
        parse_spec("small@v2", aliases=aliases)


def test_a_path_is_meant_from_the_files_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.gguf").touch()
    (tmp_path / "elsewhere").mkdir()
    file.write_text("mine: ./weights.gguf\nalso: weights.gguf\n")
    monkeypatch.chdir(tmp_path / "elsewhere")

    for name in ("mine", "also"):
        spec = parse_spec(name, aliases=read_aliases(file))
        assert Path(spec.name) == tmp_path / "weights.gguf"
        assert spec.label == name


def test_an_empty_file_has_no_aliases(file: Path) -> None:
    file.write_text("# nothing yet\n")

    assert read_aliases(file).names == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small: [tiny", r"models\.yaml:\d: this is not valid YAML"),
        ("- tiny\n- small\n", r"models\.yaml:1: expected names with a model each"),
        ("a: tiny\nb: org/x\na: tiny\n", r"models\.yaml:3: the name 'a' was given in line 1 already"),
        ("a:\n  quantization: q4_0\n", r"models\.yaml:1: 'a' needs a model"),
        ("a: tiny\nb:\n", r"models\.yaml:2: 'b' needs a model"),
        (
            "a:\n  model: tiny\n  quantisation: q4_0\n",
            r"models\.yaml:3: 'a', key 'quantisation': unknown key; did you mean 'quantization'",
        ),
        (
            "a:\n  model: tiny\n  revision: [1]\n",
            r"models\.yaml:3: 'a', key 'revision': Input should be a valid string",
        ),
        ("x: tiny\ntiny: org/x\n", r"models\.yaml:2: 'tiny' is not a valid alias"),
        ("a@b: org/x\n", r"models\.yaml:1: 'a@b' is not a valid alias"),
    ],
)
def test_a_mistake_is_told_with_its_line(file: Path, text: str, message: str) -> None:
    file.write_text(text)

    with pytest.raises(UsageError, match=message):
        read_aliases(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: tiny\na: ./nowhere.gguf\n", r"models\.yaml:2: alias 'a': there is no model at"),
        ("a: synthetic/nothing\n", r"models\.yaml:1: alias 'a': there is no synthetic model"),
        ("a: {model: tiny, revision: main}\n", r"models\.yaml:1: alias 'a': tiny has no revisions"),
    ],
)
def test_a_model_that_is_not_there_is_told_when_it_is_asked_for(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    aliases = read_aliases(file)

    with pytest.raises(UsageError, match=message):
        parse_spec("a", aliases=aliases)


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(UsageError, match=r"models\.yaml cannot be read: No such file"):
        read_aliases(file)

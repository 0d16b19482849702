"""Does the aliases file say what it means, and where it is wrong?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.aliases import MOST_BYTES, read_aliases
from pytest_llmbench.models.resolve import parse_spec
from pytest_llmbench.models.spec import Known, ModelSpec


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


def test_files_of_other_programs_are_read(file: Path) -> None:
    file.write_text(
        "models:\n  a: {hf_id: org/name, local_files_only: true, dtype_default: fp16}\n"
        "  b: {hf_id: org/name, dtype_default: bf16}\n"
    )
    aliases = read_aliases(file)

    assert aliases.names == ["a", "b"]
    first, second = map(aliases.spec, aliases.names)
    assert (first.name, first.quantization, first.local_files_only) == ("org/name", "f16", True)
    assert (second.quantization, second.local_files_only) == ("bf16", False)
    assert first.has_form("hf")
    assert not first.has_form("gguf")
    assert first.of_form("hf").local_files_only


def test_an_alias_may_be_called_models(file: Path) -> None:
    file.write_text("models: {model: tiny}\n")

    assert read_aliases(file).names == ["models"]


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
        (
            "a: {hf_id: x/y, hf_repo: x/y}\n",
            r"models\.yaml:1: 'a': give 'hf_repo' or 'hf_id', and not both",
        ),
        ("a: {model: tiny, local_files_only: perhaps}\n", r"models\.yaml:1: 'a', key 'local_files_only': "),
        ("a: {model: null}\n", r"models\.yaml:1: 'a' needs a model"),
        ("a: {hf_id: ''}\n", r"models\.yaml:1: 'a' needs a model"),
        ("a: tiny\nb:\n", r"models\.yaml:2: 'b' needs a model"),
        (
            "a:\n  model: tiny\n  quantisation: q4_0\n",
            r"models\.yaml:3: 'a', key 'quantisation': unknown key; did you mean 'quantization'",
        ),
        (
            "a:\n  model: tiny\n  revision: [1]\n",
            r"models\.yaml:3: 'a', key 'revision': Input should be a valid string",
        ),
        (
            "a:\n  modl: tiny\n",
            r"models\.yaml:2: 'a', key 'modl': unknown key; did you mean 'model'; the keys",
        ),
        (
            "a:\n  model: tiny\n  model: org/x\n",
            r"models\.yaml:3: 'a', key 'model': it was given in line 2 al",
        ),
        ("a: " + "[" * 3000 + "]" * 3000, r"models\.yaml: lists or mappings stand in one another too deep"),
        ("#" * (MOST_BYTES + 1), r"models\.yaml is larger than 1\.00 MiB"),
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


LLAMA = """
llama:
  hf_repo: org/name
  gguf_repo: org/name-GGUF
  gguf_file: name-q4.gguf
  context_length: 8192
  recommended_memory_gb: 5.5
only: {gguf_repo: org/other-GGUF, revision: v2}
known: {model: tiny, context_length: 100}
"""


def test_an_alias_has_a_repository_for_each_form_and_a_file_where_no_quantization_is_asked_for(
    file: Path,
) -> None:
    file.write_text(LLAMA)
    aliases = read_aliases(file)
    llama = parse_spec("llama", aliases=aliases)
    assert (llama.name, llama.label) == ("org/name", "llama")
    assert llama.known == Known(
        (("hf", "org/name"), ("gguf", "org/name-GGUF")), "name-q4.gguf", 8192, 5_500_000_000
    )
    assert llama.of_form("hf") == ModelSpec("org/name", alias="llama")
    assert llama.of_form("gguf") == ModelSpec("org/name-GGUF", alias="llama", file="name-q4.gguf")
    other = replace(llama, quantization="q8_0").of_form("gguf")
    assert other == ModelSpec("org/name-GGUF", "q8_0", alias="llama")
    assert other.of_form("hf") is other
    only = parse_spec("only", aliases=aliases)
    assert [only.has_form(form) for form in ("hf", "gguf")] == [False, True]
    assert only.of_form("gguf") == ModelSpec("org/other-GGUF", revision="v2", alias="only")
    known = parse_spec("known", aliases=aliases)
    assert known.has_form("hf")
    assert known.of_form("hf") == ModelSpec("tiny", alias="known")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {model: tiny, hf_repo: org/name}", r":1: 'a': 'model' is for all backends; give it, or "),
        ("a: {hf_repo: org/name, gguf_file: x.gguf}", r":1: 'a': 'gguf_file' is a file of 'gguf_repo'"),
        ("a: {hf_repo: o/n, gguf_repo: o/g, revision: x}", r":1: 'a': 'revision' is that of one repository"),
        ("a: {context_length: 8}", r":1: 'a' needs a model"),
        ("a:\n  model: tiny\n  context_length: none", r":3: 'a', key 'context_length': .*valid integer"),
        ("a:\n  model: tiny\n  recommended_memory_gb: 0", r":3: 'a', key 'recommended_memory_gb': .*greater"),
        ("a:\n  model: tiny\n  recomended_memory_gb: 3", r"did you mean 'recommended_memory_gb'; the keys"),
    ],
)
def test_what_an_alias_cannot_say_of_its_model_is_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_aliases(file)


@pytest.mark.parametrize("first", ["", "hf_repo: org/name, "])
@pytest.mark.parametrize(
    "repo", ["./name", "/name", "tiny", "synthetic/tiny", "org/name@v2", "name", "org/../name", "org/"]
)
def test_a_repository_is_one_of_a_hub(file: Path, repo: str, first: str) -> None:
    file.write_text(f"a: {{{first}gguf_repo: {repo}}}")
    aliases = read_aliases(file)
    with pytest.raises(UsageError, match=r":1: alias 'a': "):
        parse_spec("a", aliases=aliases)

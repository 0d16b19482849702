"""Is a suite without a version read as other programs write one?"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmbench.backends.registry import Registry
from pytest_llmbench.errors import UsageError
from pytest_llmbench.settings.presets import shipped
from pytest_llmbench.settings.suite import Suite, read_suite
from tests.fakes.runs_of_others import BASELINE, MODELS


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs" / "runs").mkdir(parents=True)
    return tmp_path


def read(text: str, *, models_beside: bool = True) -> Suite:
    path = Path("configs", "runs", "baseline.yaml")
    path.write_text(text)
    return read_suite(path, Registry(), shipped(), {}, models_beside=models_beside)


@pytest.mark.parametrize("place", ["configs/models.yaml", "configs/runs/models.yaml"])
def test_settings_stand_beside_the_cases_and_models_in_a_file_beside(place: str) -> None:
    Path(place).write_text(MODELS)
    suite = read(BASELINE)
    (case,) = suite.cases
    assert case.name == "Who-are-you-32"
    (point,) = case.points
    assert point.asked.prompt == "Who are you?"
    assert point.values == {
        "models": ("qwen3_4b",),
        "backends": ("transformers",),
        "warmup_rounds": 2,
        "rounds": 5,
        "max_new_tokens": 32,
    }
    assert suite.aliases is not None
    spec = suite.aliases.spec("qwen3_4b")
    assert (spec.name, spec.quantization, spec.local_files_only) == ("Qwen/Qwen3-4B", "f16", True)
    assert spec.has_form("hf")
    assert not spec.has_form("gguf")


def test_a_file_that_is_named_is_read_instead_of_the_one_beside() -> None:
    Path("configs/models.yaml").write_text(MODELS)
    assert read(BASELINE, models_beside=False).aliases is None
    assert read("models: {a: tiny}\nmodel: a\ncases: [{prompt: x}]\n").aliases is not None


def test_a_suite_with_a_version_has_no_file_beside() -> None:
    Path("configs/models.yaml").write_text(MODELS)
    assert read("version: 1\ncases: [{name: a, prompt: x}]\n").aliases is None


def test_cases_without_names_get_different_ones() -> None:
    suite = read(
        "cases:\n"
        "- {prompt: Кто ты?, new_tokens: 8}\n"
        "- {prompt: Кто я?, new_tokens: 8}\n"
        "- {prompt: Who?}\n"
        "- {prompt: Who?, new_tokens: 4}\n"
        "- {prompt_tokens: 32}\n"
        "- {messages: [{role: user, content: Hi}]}\n"
        "- {name: mine, tags: rag, prompt: Hi}\n"
        "- {concurrency: 2}\n"
        f"- {{prompt: {'very ' * 20}long}}\n"
    )
    names = [case.name for case in suite.cases]
    assert names[:8] == ["8", "8-2", "Who", "Who-4", "prompt-tokens-32", "messages", "mine", "case"]
    assert names[8].startswith("very-very")
    assert len(names[8]) <= 40


def test_a_suite_may_use_our_words_too() -> None:
    (case,) = read("models: [tiny]\nrounds: 2\nbackends: llamacpp\ncases: [{prompt: x}]\n").cases
    assert case.points[0].values == {"models": ("tiny",), "rounds": 2, "backends": ("llamacpp",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {a: tiny}\n", "1:1: the suite does not say its version, and has no cases"),
        ("sweep: {}\ncases: []\n", "1:1: a suite that has 'sweep' says its version: write 'version: 1'"),
        (
            "repeat: 5\ncases: []\n",
            "1:1: a suite without a version has no key 'repeat'; did you mean 'repeats'?",
        ),
        (
            "repeats: 5\nrounds: 5\ncases: []\n",
            "2:1: 'rounds' is 'rounds', which was given in line 1 already",
        ),
        ("repeats: x\ncases: [{prompt: x}]\n", "1:10: rounds: 'x' is not a whole number"),
        ("cases: [{prompt: x, tokens: 5}]\n", "1:21: a case has no key 'tokens'; did you mean 'new_tokens'?"),
        ("cases: []\n", "1:8: cases is a list"),
        ("cases: [3]\n", "1:9: a case is a table"),
        ("cases: [{new_tokens: 3}]\n", "1:9: the case asks nothing"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        read(text)
    assert str(refused.value).startswith(f"configs/runs/baseline.yaml:{message}")


def test_a_file_of_models_that_is_not_valid_is_refused() -> None:
    Path("configs/models.yaml").write_text("models:\n  a: {hf_id: x/y, size: 3}\n")
    with pytest.raises(UsageError, match=r"models\.yaml:2: 'a', key 'size': unknown key"):
        read(BASELINE)

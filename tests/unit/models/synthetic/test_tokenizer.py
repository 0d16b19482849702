"""Is the embedded tokenizer a real one, and the same every time?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmbench.models.synthetic import tokenizer

tokenizers = pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def vocabulary() -> tokenizer.Vocabulary:
    return tokenizer.train()


def test_training_gives_the_same_tokenizer_every_time(vocabulary: tokenizer.Vocabulary) -> None:
    assert tokenizer.train() == vocabulary


def test_special_tokens_come_first_and_then_the_bytes(vocabulary: tokenizer.Vocabulary) -> None:
    assert tuple(vocabulary.tokens[: len(tokenizer.SPECIALS)]) == tokenizer.SPECIALS
    bytes_ = vocabulary.tokens[len(tokenizer.SPECIALS) : tokenizer.FIRST_MERGE]
    assert all(len(token) == 1 for token in bytes_)
    assert len(vocabulary.merges) == tokenizer.TRAINED - tokenizer.FIRST_MERGE


def test_padding_fills_up_to_the_size_without_doubles(vocabulary: tokenizer.Vocabulary) -> None:
    padded = vocabulary.padded(8192)

    assert len(set(padded)) == len(padded) == 8192
    assert padded[: tokenizer.TRAINED] == list(vocabulary.tokens)


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world!",
        "  two  spaces\n\n\ttab\n",
        "naïve Zażółć 你好 🙂 <|unused_3|>",
        "x = {'a': [1, 22, 333]}",
    ],
)
def test_any_text_survives_and_never_becomes_an_unused_token(
    vocabulary: tokenizer.Vocabulary, tmp_path: Path, text: str
) -> None:
    tokenizer.write_huggingface(vocabulary, tmp_path, size=8192, context=512)
    loaded = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = loaded.encode(text).ids

    assert loaded.get_vocab_size() == 8192
    assert ids[0] == 0
    assert max(ids) < tokenizer.TRAINED
    assert loaded.decode(ids) == text


def test_english_takes_clearly_fewer_tokens_than_characters(vocabulary: tokenizer.Vocabulary) -> None:
    loaded = tokenizers.Tokenizer.from_str(vocabulary.definition)
    text = "Explain what a benchmark is in three sentences."

    assert len(loaded.encode(text).ids) < len(text) / 2


def test_the_configuration_has_a_chat_template_and_the_special_tokens(
    vocabulary: tokenizer.Vocabulary, tmp_path: Path
) -> None:
    tokenizer.write_huggingface(vocabulary, tmp_path, size=4096, context=512)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())

    assert config["chat_template"] == tokenizer.CHAT_TEMPLATE
    assert (config["bos_token"], config["eos_token"]) == (tokenizer.BOS, tokenizer.TURN_END)


def test_what_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)

    with pytest.raises(tokenizer.ModelError, match=r"tokenizers.*pip install 'pytest-llmbench\[llamacpp\]'"):
        tokenizer.train()

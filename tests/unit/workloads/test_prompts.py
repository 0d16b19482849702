"""Has a prompt exactly the tokens that were asked for, whatever the tokenizer?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmbench.errors import UsageError
from pytest_llmbench.models.synthetic import tokenizer as embedded
from pytest_llmbench.workloads.prompts import prompt_of_tokens

tokenizers = pytest.importorskip("tokenizers")


@dataclass(frozen=True)
class Tokenizer:
    tokenize: Callable[[str], Sequence[int]]
    detokenize: Callable[[Sequence[int]], str]
    specials: int = 0

    @classmethod
    def of(cls, tokenizer, specials: int = 0) -> Tokenizer:
        return cls(lambda text: tokenizer.encode(text).ids, lambda ids: tokenizer.decode(list(ids)), specials)

    def prompt(self, count: int, seed: int = 0) -> str:
        return prompt_of_tokens(count, self.tokenize, self.detokenize, seed=seed)


def _bpe() -> Tokenizer:
    return Tokenizer.of(tokenizers.Tokenizer.from_str(embedded.train().definition), 1)


def _wordpiece() -> Tokenizer:
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    model.normalizer = tokenizers.normalizers.BertNormalizer()
    model.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    model.decoder = tokenizers.decoders.WordPiece()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=1500, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False
    )
    model.train_from_iterator([embedded.training_text()["prose.txt"]], trainer)
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return Tokenizer.of(model, 2)


def _unigram() -> Tokenizer:
    model = tokenizers.Tokenizer(tokenizers.models.Unigram())
    model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    model.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=800, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    model.train_from_iterator([embedded.training_text()["prose.txt"]], trainer)
    return Tokenizer.of(model)


def _words() -> Tokenizer:
    """A token a word, none of them known, and a text that cannot be had back."""
    return Tokenizer(lambda text: [0] * len(text.split()), lambda ids: "")


def _characters() -> Tokenizer:
    return Tokenizer(lambda text: [1, *map(ord, text)], lambda ids: "".join(map(chr, ids[1:])), 1)


MAKERS = {
    "byte-level BPE": _bpe,
    "WordPiece": _wordpiece,
    "unigram": _unigram,
    "words": _words,
    "characters": _characters,
}


@cache
def made(name: str) -> Tokenizer:
    return MAKERS[name]()


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 700), seed=st.integers(0, 2**70))
def test_the_count_is_exact_for_any_tokenizer(name: str, count: int, seed: int) -> None:
    tokenizer = made(name)
    count += tokenizer.specials

    assert len(tokenizer.tokenize(tokenizer.prompt(count, seed))) == count


@pytest.mark.parametrize("name", MAKERS)
def test_every_small_count_can_be_had(name: str) -> None:
    tokenizer = made(name)
    for count in range(tokenizer.specials + 1, tokenizer.specials + 40):
        assert len(tokenizer.tokenize(tokenizer.prompt(count))) == count


@pytest.mark.parametrize("name", MAKERS)
def test_what_stands_before_the_text_is_counted_too(name: str) -> None:
    tokenizer, before = made(name), "Summarize this text in two sentences."
    least = len(tokenizer.tokenize(f"{before}\n\n"))
    for count in (least + 4, least + 9, 200, 700):
        prompt = prompt_of_tokens(count, tokenizer.tokenize, tokenizer.detokenize, seed=3, before=before)
        assert prompt.startswith(f"{before}\n\n")
        assert len(tokenizer.tokenize(prompt)) == count
    with pytest.raises(UsageError, match=f"what stands before the made text has {least}, so {least + 1} is"):
        prompt_of_tokens(least, tokenizer.tokenize, tokenizer.detokenize, before=before)


@pytest.mark.parametrize("count", [2048, 32_768, 131_072])
def test_a_long_prompt_is_tokenized_a_few_times_only(count: int) -> None:
    bpe = made("byte-level BPE")
    characters = 0

    def counting(text: str) -> Sequence[int]:
        nonlocal characters
        characters += len(text)
        return bpe.tokenize(text)

    prompt = prompt_of_tokens(count, counting, bpe.detokenize)

    assert len(bpe.tokenize(prompt)) == count
    # The short pieces around the end are a constant that matters for short prompts only.
    assert characters < 6 * len(prompt) + 150_000


def test_the_same_seed_gives_the_same_text() -> None:
    bpe = made("byte-level BPE")

    assert bpe.prompt(100, 7) == bpe.prompt(100, 7)


def test_texts_of_different_seeds_differ_from_their_first_word_on() -> None:
    bpe = made("byte-level BPE")
    prompts = [bpe.prompt(30, seed) for seed in range(200)]

    assert len({prompt.split()[0] for prompt in prompts}) == len(prompts)


def test_texts_of_far_seeds_differ_within_their_first_words() -> None:
    bpe = made("byte-level BPE")
    seeds = [*range(0, 20_000, 500), *(10**9 + i for i in range(20)), 2**63, -1]
    openings = {" ".join(bpe.prompt(40, seed).split()[:3]) for seed in seeds}

    assert len(openings) == len(seeds)


def test_what_two_seeds_share_at_their_start_is_a_token_or_two() -> None:
    bpe = made("byte-level BPE")
    prompts = [list(bpe.tokenize(bpe.prompt(64, seed)))[1:] for seed in range(40)]
    for index, one in enumerate(prompts):
        for other in prompts[index + 1 :]:
            shared = next(i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
            assert shared <= 2


def test_the_text_looks_like_text() -> None:
    prompt = made("byte-level BPE").prompt(300, 3)

    assert prompt == prompt.strip()
    assert prompt.isascii()
    assert "  " not in prompt
    assert prompt[0].isupper()


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("byte-level BPE", 1, r"1 special token to every text, so 2 is the least"),
        ("WordPiece", 2, r"2 special tokens to every text, so 3 is the least"),
        ("words", 0, r"0 special tokens to every text, so 1 is the least"),
    ],
)
def test_too_few_tokens_are_refused(name: str, count: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        made(name).prompt(count)


def test_a_tokenizer_that_cannot_give_the_count_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(UsageError, match="found no text of exactly 7 tokens"):
        prompt_of_tokens(7, lambda text: [0, 0] * len(text), lambda ids: "x" * (len(ids) // 2))


def test_the_worker_imports_it_without_anything_else() -> None:
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import pytest_llmbench.workloads.prompts\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(tops - set(sys.stdlib_module_names) - {'pytest_llmbench'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True)

    assert done.stdout.strip() == "[]"

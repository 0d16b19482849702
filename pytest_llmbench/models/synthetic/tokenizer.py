"""Which tokenizer do the synthetic models have, and how is it written for both forms?

A byte-level BPE of 4,096 tokens, trained on the text in ``models/synthetic/text`` when a model is built.
Every shape has the same one, so that a prompt has equally many tokens on all of them; larger
vocabularies are padded with tokens that no text contains. It cuts text by GPT-2's expression, which
``tokenizers`` and llama.cpp both know, so that both give the same ids.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from pytest_llmbench.errors import ModelError
from pytest_llmbench.models.libraries import missing_library

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gguf import GGUFWriter

BOS, EOS, TURN_START, TURN_END = "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"
SPECIALS = (BOS, EOS, TURN_START, TURN_END)
TRAINED = 4096
"""Tokens that occur in text, the special ones included; they come first."""
FIRST_MERGE = len(SPECIALS) + 256
"""The first id that stands for more than one byte."""
# Of llama.cpp's names for GPT-2's expression, one that does not also drop spaces before punctuation
# when it turns tokens into text, as its "gpt-2" does.
LLAMA_CPP_PRE_TOKENIZER = "trillion"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A trained tokenizer, as its parts."""

    tokens: Sequence[str]
    """By id; byte-level, as GPT-2 writes bytes."""
    merges: Sequence[tuple[str, str]]
    """In the order in which they apply."""
    definition: str
    """The whole as ``tokenizer.json``."""

    def padded(self, size: int) -> list[str]:
        """The tokens and as many unused ones as make *size*."""
        return [*self.tokens, *(f"<|unused_{i}|>" for i in range(size - len(self.tokens)))]


def training_text() -> dict[str, str]:
    """File name to text of what the package ships: prose, code, and other languages and scripts."""
    folder = resources.files("pytest_llmbench.models.synthetic") / "text"
    return {name: (folder / name).read_text("utf-8") for name in ("prose.txt", "code.txt", "languages.txt")}


def train() -> Vocabulary:
    """Train the tokenizer; the same text gives the same result.

    :raises ModelError: if ``tokenizers`` is not installed.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    except ImportError as error:
        raise missing_library("tokenizers") from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TRAINED,
        min_frequency=1,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text().values(), trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, SPECIALS.index(BOS))]
            ),
        ]
    )
    definition = tokenizer.to_str()
    model = json.loads(definition)["model"]
    by_id = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    if len(by_id) != TRAINED:
        msg = (
            f"the package's text gave {len(by_id)} tokens instead of {TRAINED}; install pytest-llmbench again"
        )
        raise ModelError(msg)
    return Vocabulary(by_id, merges, definition)


def write_huggingface(vocabulary: Vocabulary, folder: Path, *, size: int, context: int) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` for a vocabulary of *size* tokens."""
    definition = json.loads(vocabulary.definition)
    unused = vocabulary.padded(size)[len(vocabulary.tokens) :]
    # Plain entries without a merge: a text never becomes one of them, but each id has a name.
    definition["model"]["vocab"].update({token: TRAINED + i for i, token in enumerate(unused)})
    (folder / "tokenizer.json").write_text(json.dumps(definition, ensure_ascii=False), "utf-8")
    config = {
        # The generic class: the one of Llama's own tokenizer would put a SentencePiece in its place.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": TURN_END,
        "pad_token": EOS,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), "utf-8")


def add_to_gguf(vocabulary: Vocabulary, writer: GGUFWriter, *, size: int) -> None:
    """Write the tokenizer's keys of a GGUF file with a vocabulary of *size* tokens."""
    from gguf import TokenType

    control = [TokenType.CONTROL] * len(SPECIALS)
    normal = [TokenType.NORMAL] * (len(vocabulary.tokens) - len(SPECIALS))
    unused = [TokenType.UNUSED] * (size - len(vocabulary.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(LLAMA_CPP_PRE_TOKENIZER)
    writer.add_token_list(vocabulary.padded(size))
    writer.add_token_types([*control, *normal, *unused])
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    writer.add_bos_token_id(SPECIALS.index(BOS))
    writer.add_eos_token_id(SPECIALS.index(TURN_END))
    writer.add_eot_token_id(SPECIALS.index(TURN_END))
    writer.add_pad_token_id(SPECIALS.index(EOS))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)

"""How does a tokenizer of Transformers make tokens of texts and of chats?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.errors import EngineError
from pytest_llmbench.workloads.messages import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TransformersVocabulary:
    """A tokenizer and its chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take over a loaded *tokenizer*."""
        self._tokenizer = tokenizer

    def tokenize(self, text: str) -> list[int]:
        """Token ids; special tokens are put before the text but not looked for in it."""
        return list(self._tokenizer(text, split_special_tokens=True)["input_ids"])

    def tokenize_rendered(self, text: str) -> list[int]:
        """Token ids of a rendered chat; the text's own begin-of-sequence token is not doubled."""
        bos = self._tokenizer.bos_token
        has_bos = bool(bos) and text.startswith(bos)
        return list(self._tokenizer(text, add_special_tokens=not has_bos)["input_ids"])

    def tokenize_part(self, text: str) -> list[int]:
        """Token ids of a part of a rendered chat; special tokens in it are parsed, none is put before it."""
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of *tokens*; special tokens are left out."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt text by the tokenizer's chat template.

        :raises EngineError: if there is none, or it refuses the messages.
        """
        if not self._tokenizer.chat_template:
            msg = (
                "the model has no chat template (no chat_template.jinja, none in tokenizer_config.json); "
                "give it a plain text prompt instead of messages"
            )
            raise EngineError(msg)
        try:
            rendered = self._tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:
            msg = f"the model's chat template refused the messages: {type(error).__name__}: {error}"
            raise EngineError(msg) from error
        return str(rendered)

    def close(self) -> None:
        """Nothing is held that had to be freed."""

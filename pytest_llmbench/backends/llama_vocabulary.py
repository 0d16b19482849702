"""How does llama.cpp make tokens of texts and of chats, with or without the weights?"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmbench.backends import llama_native
from pytest_llmbench.backends.llama_native import Pointer
from pytest_llmbench.errors import EngineError
from pytest_llmbench.workloads.messages import Message

if TYPE_CHECKING:
    from types import ModuleType


class LlamaVocabulary:
    """The vocabulary and the chat template of a loaded GGUF model."""

    def __init__(self, native: ModuleType, model: Pointer) -> None:
        """Take over *model*."""
        self._native = native
        self._model = model
        self._vocab = native.llama_model_get_vocab(model)
        self._formatter: Pointer = None

    def tokenize(self, text: str) -> list[int]:
        """Token ids; special tokens are put before the text but not looked for in it."""
        return self._tokenize(text, add_special=True, parse_special=False)

    def tokenize_rendered(self, text: str) -> list[int]:
        """Token ids of a rendered chat; the text's own begin-of-sequence token is not doubled."""
        bos = self._special_text("llama_vocab_bos")
        has_bos = bool(bos) and text.startswith(bos)
        return self._tokenize(text, add_special=not has_bos, parse_special=True)

    def tokenize_part(self, text: str) -> list[int]:
        """Token ids of a part of a rendered chat; special tokens in it are parsed, none is put before it."""
        return self._tokenize(text, add_special=False, parse_special=True)

    def _tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            found = self._native.llama_tokenize(
                self._vocab, data, len(data), tokens, room, add_special, parse_special
            )
            if found >= 0:
                return tokens[:found]
            if -found <= room:
                told = llama_native.log_tail()
                msg = f"llama.cpp could not tokenize a text of {len(data)} bytes (code {found}){told}"
                raise EngineError(msg)
            room = -found

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Text of *tokens*; control tokens are left out, broken UTF-8 is replaced."""
        count = len(tokens)
        ids = (ctypes.c_int32 * count)(*tokens)
        room = 16 * count + 16
        while True:
            buffer = ctypes.create_string_buffer(room)
            found = self._native.llama_detokenize(self._vocab, ids, count, buffer, room, False, False)
            if found >= 0:
                return buffer.raw[:found].decode("utf-8", errors="replace")
            room = -found

    def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt text by the template in the file's ``tokenizer.chat_template``.

        :raises EngineError: if there is none, or it refuses the messages.
        """
        if self._formatter is None:
            template = self._native.llama_model_chat_template(self._model, None)
            if not template:
                msg = (
                    "the model has no chat template (no tokenizer.chat_template in the GGUF file); "
                    "give it a plain text prompt instead of messages"
                )
                raise EngineError(msg)
            from llama_cpp.llama_chat_format import Jinja2ChatFormatter

            self._formatter = Jinja2ChatFormatter(
                template=template.decode(),
                eos_token=self._special_text("llama_vocab_eos"),
                bos_token=self._special_text("llama_vocab_bos"),
            )
        try:
            return str(self._formatter(messages=list(messages)).prompt)
        except Exception as error:
            msg = f"the model's chat template refused the messages: {type(error).__name__}: {error}"
            raise EngineError(msg) from error

    def _special_text(self, getter: str) -> str:
        token = getattr(self._native, getter)(self._vocab)
        if token < 0:
            return ""
        return str(self._native.llama_vocab_get_text(self._vocab, token).decode())

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._native.llama_model_free(self._model)
            self._model = None

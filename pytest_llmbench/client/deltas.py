"""Which words does a message of a server bring, and which of them are thoughts?

``delta`` of a stream's chunk, ``message`` of an answer in one piece: by OpenAI's API reference, with the
reasoning fields of vLLM, SGLang, Ollama and OpenRouter, and the content in parts of Mistral and others.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from pytest_llmbench.processes.wire import Json

_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Where servers put reasoning. One that fills several repeats it: the first that has something is taken."""
_THOUGHT_TYPES = ("thinking", "reasoning", "thought")
"""What the type of a part begins with whose text is reasoning, such as ``reasoning_text``."""
_TEXTS = ("text", "thinking", "reasoning", "refusal", "summary", "content", "value")
"""Where a part has its text, or further parts."""
_DEEPEST = 8
_NAME = 40
"""Characters that are kept of the type of a part without text."""


class Words(NamedTuple):
    """Some text."""

    text: str
    thought: bool
    """Whether it is reasoning."""


class Said(NamedTuple):
    """What a message brings."""

    words: list[Words]
    """In order of arrival."""
    ignored: list[str]
    """The type of each part that has no text."""


def read_message(message: Json) -> Said:
    """The text of *message*; a refusal and calls of functions are content.

    :raises TypeError: for what is not text where text belongs.
    :raises AttributeError: for what is not an object where an object belongs.
    """
    said = Said([], [])
    thought = next((found for name in _THOUGHTS if (found := message.get(name))), None)
    _add(said, thought, thought=True)
    _add(said, message.get("content"))
    _add(said, message.get("refusal"))
    calls = [call.get("function") or {} for call in message.get("tool_calls") or ()]
    # The second is what there was before there were tools.
    for function in (*calls, message.get("function_call") or {}):
        _add(said, function.get("name"))
        arguments = function.get("arguments")
        _add(said, json.dumps(arguments) if isinstance(arguments, dict) else arguments)
    return said


def _add(said: Said, value: object, *, thought: bool = False, depth: int = 0) -> None:
    """Add the text of a field: a text, a part, or a list of them."""
    if not value:
        return
    if isinstance(value, str):
        said.words.append(Words(value, thought))
    elif isinstance(value, list) and depth < _DEEPEST:
        for part in value:
            _add(said, part, thought=thought, depth=depth + 1)
    elif isinstance(value, dict) and depth < _DEEPEST:
        kind = str(value.get("type") or "without a type")
        inside = [found for name in _TEXTS if (found := value.get(name)) is not None]
        if not inside:
            said.ignored.append("".join(c if c.isprintable() else "?" for c in kind[:_NAME]))
        thought = thought or kind.startswith(_THOUGHT_TYPES)
        _add(said, next(filter(None, inside), None), thought=thought, depth=depth + 1)
    else:
        msg = f"a {type(value).__name__} in place of text"
        raise TypeError(msg)

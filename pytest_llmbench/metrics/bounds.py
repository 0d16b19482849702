"""How much is taken of what a server sends, and which of its numbers can be?

What is beyond these is no answer: one request that failed, or one question without an answer, and never more.
Bytes and segments of a load's responses are in :mod:`pytest_llmbench.client.room`.
"""

from __future__ import annotations

from typing import Any

from pytest_llmbench.processes.wire import Json

MAX_TOKENS = 10**8
"""Of one request: what comes in a day at 1,000 tokens a second, and ten times the longest context."""
MAX_ANSWER = 4 * 2**20
"""Bytes of an answer to a small question (``/v1/models``, ``/metrics``), which mostly has under 200 KB."""
MAX_NAME = 512
"""Characters of the name of a model, or of an engine's version."""
MAX_COUNTER = 1e18
"""What a server can have counted; floating point has whole numbers up to a hundredth of it."""


def read_json(data: bytes | str) -> Any:
    """The value of a JSON text that somebody else wrote.

    :raises ValueError: if it is none, is nested deeper than 200 levels, or has a number of over 4,300 digits.
    """
    from pydantic_core import from_json

    # The standard library's reader raises RecursionError, where the stack ends and not at any known depth.
    return from_json(data)


def whole(value: object, most: int = MAX_TOKENS) -> int | None:
    """*value* if it is a whole number from 0 to *most*; else None, for true and false too."""
    return value if type(value) is int and 0 <= value <= most else None


def check_counts(counts: Json) -> None:
    """Refuse a server's count of tokens that has a number which no count can be; so in what it holds.

    :raises ValueError: naming the number, without its digits.
    """
    for name, value in counts.items():
        if type(value) is int and value > MAX_TOKENS:
            # A JSON text has no number that is too long for str().
            msg = f"its {name} is a number of {len(str(value))} digits"
            raise ValueError(msg)
        if isinstance(value, dict):
            check_counts(value)


def short(text: object, most: int = MAX_NAME) -> str | None:
    """*text* if it is one of 1 to *most* characters, else None."""
    return text if isinstance(text, str) and 0 < len(text) <= most else None

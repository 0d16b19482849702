"""What is one message of a chat?"""

from __future__ import annotations

from typing import TypedDict


class Message(TypedDict):
    """One chat message, as every chat API writes it."""

    role: str
    content: str

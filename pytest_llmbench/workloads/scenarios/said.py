"""Which conversation do the messages of a data set's entry make?

Entries come from anywhere and by the hundred thousand: what cannot be part of a conversation is left out and
counted, and no reason to refuse a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pytest_llmbench.workloads.scenarios.conversation import Conversation, Turn

PERSON = ("human", "user", "prompter")
_MODEL = ("assistant", "gpt", "chatgpt", "bard", "bing", "model", "chatbot")
_SYSTEM = ("system", "developer")


def conversation_of(said: Iterable[tuple[object, str]], unused: Counter[str]) -> Conversation | None:
    """The conversation of these messages, each with who said it; None if no person asked anything.

    What one says twice in a row is one message of two paragraphs. The answers are the recorded ones.

    :param unused: counts what is left out, in words.
    """
    system: list[str] = []
    turns: list[Turn] = []
    before = ""
    for who, text in said:
        if not text.strip():
            unused["turns without text"] += 1
        elif who in _SYSTEM and not turns:
            system.append(text)
        elif who in PERSON:
            if before == "person":
                turns[-1] = replace(turns[-1], user=_paragraphs(turns[-1].user, text))
            else:
                turns.append(Turn(user=text))
            before = "person"
        elif who in _MODEL and turns:
            turns[-1] = replace(turns[-1], answer=_paragraphs(turns[-1].answer, text))
            before = "model"
        else:
            unused["messages that have no place in a conversation"] += 1
    if not turns:
        return None
    return Conversation(
        name="recorded",
        system="\n\n".join(system) if system else None,
        history="recorded",
        turns=tuple(turns),
    )


def asked_apart(texts: Sequence[str]) -> Conversation | None:
    """The conversation in which a person asks these, one a turn, without answers; None without any."""
    turns = tuple(Turn(user=text) for text in texts)
    return Conversation(name="recorded", history="recorded", turns=turns) if turns else None


def _paragraphs(before: object, text: str) -> str:
    return f"{before}\n\n{text}" if isinstance(before, str) else text

"""What is said in a conversation, and what stands in the prompt of each of its turns?

A conversation is what a person says turn by turn, and which documents a retrieval puts before the model
meanwhile. The answers are the model's own (``live``) or given (``recorded``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from pytest_llmbench.errors import suggest
from pytest_llmbench.workloads.lengths import LONGEST
from pytest_llmbench.workloads.messages import Message

History = Literal["live", "recorded"]
"""Whose answers the later turns have before them: the model's own, or those that are given."""
Placement = Literal["system", "inline", "last"]
"""Where documents stand while they are there: in the system prompt; in the message of the turn that added
them; or before the last question, turn after turn."""
HISTORIES: tuple[History, ...] = get_args(History)
PLACEMENTS: tuple[Placement, ...] = get_args(Placement)
MOST_TURNS = 1000
_CHARACTERS = 3.0
"""A token has about so many: from 2.5 of a small vocabulary to 4.5 of a large one, in English."""
_PER_MESSAGE = 6
"""Tokens that a chat template adds to a message, about."""
_ANSWER = 64
"""Tokens of an answer where nothing says how long it is."""


@dataclass(frozen=True, slots=True)
class Made:
    """Text that is to be made, of so many tokens."""

    tokens: int
    before: str = ""
    """What stands before it, such as the question about it."""


Text: TypeAlias = str | Made
MakeText: TypeAlias = Callable[[int, int], str]
"""(tokens, number) to a text of so many tokens; another number, another text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a person, and the answer to it."""

    user: Text
    max_new_tokens: int | None = None
    """Of the answer; None for the case's setting."""
    think_time: float = 0.0
    """Seconds from the end of the answer before until it is sent; the first turn has none."""
    add: tuple[str, ...] = ()
    """Documents that are there from this turn on, by name."""
    remove: tuple[str, ...] = ()
    """Documents that are not there any more from this turn on."""
    answer: Text | None = None
    """What a ``recorded`` history has as the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Turns that follow each other, each with all that was said before it in its prompt."""

    name: str
    turns: tuple[Turn, ...]
    """At least one."""
    tags: tuple[str, ...] = ()
    task: str | None = None
    description: str = ""
    system: Text | None = None
    history: History = "live"
    placement: Placement = "system"
    documents: Mapping[str, Text] = field(default_factory=dict)
    """By name: what turns add and remove."""

    def fill(self, make: MakeText) -> Conversation:
        """The same with every text made; the same number gives a text its words each time."""
        number = 0

        def text(value: Text) -> str:
            nonlocal number
            number += 1
            if isinstance(value, str):
                return value
            made = make(value.tokens, number)
            return f"{value.before}\n\n{made}" if value.before else made

        return replace(
            self,
            system=None if self.system is None else text(self.system),
            documents={name: text(document) for name, document in self.documents.items()},
            turns=tuple(
                replace(turn, user=text(turn.user), answer=None if turn.answer is None else text(turn.answer))
                for turn in self.turns
            ),
        )

    def fault(self) -> tuple[int, str] | None:
        """Why it cannot be held: the turn that is at fault (from 1; 0 for the whole), and what is wrong."""
        if not 1 <= len(self.turns) <= MOST_TURNS:
            return 0, f"a conversation has 1 to {MOST_TURNS:,} turns, and {self.name} has {len(self.turns):,}"
        there: set[str] = set()
        for number, turn in enumerate(self.turns, 1):
            if number == 1 and turn.think_time:
                return 1, "the first turn has no think_time: there is no answer before it to think about"
            for name in turn.remove:
                if name not in there:
                    return number, f"turn {number} removes the document {name!r}, which is not there then"
                there.remove(name)
            for name in turn.add:
                if name not in self.documents:
                    near = suggest(name, list(self.documents)) or "; write it under documents"
                    return number, f"turn {number} adds the document {name!r}, which is not defined{near}"
                if name in there:
                    return number, f"turn {number} adds the document {name!r}, which is there already"
                there.add(name)
        if self.about_tokens() > LONGEST:
            return 0, f"the conversation {self.name} has more than {LONGEST:,} tokens"
        return None

    def about_tokens(self, new_tokens: int = _ANSWER) -> int:
        """The tokens of its longest prompt and the answer to it, about.

        Made texts are as long as they say; what is written is estimated by its characters.

        :param new_tokens: of the answer to a turn that does not say how long it is.
        """
        said = _about(self.system) + _PER_MESSAGE
        documents = {name: _about(text) for name, text in self.documents.items()}
        most = 0
        for number, turn in enumerate(self.turns, 1):
            answer = turn.max_new_tokens or new_tokens
            said += _about(turn.user) + _PER_MESSAGE
            there = sum(documents.get(name, 0) + _PER_MESSAGE for name in self.present(number))
            most = max(most, said + there + answer)
            recorded = self.history == "recorded" and turn.answer is not None
            said += (_about(turn.answer) if recorded else answer) + _PER_MESSAGE
        return most

    @property
    def digest(self) -> str:
        """``sha256:`` and 64 hexadecimal digits, of all that it says to a model."""
        told = {key: value for key, value in asdict(self).items() if key not in _ABOUT}
        return "sha256:" + hashlib.sha256(json.dumps(told).encode()).hexdigest()

    @property
    def characters(self) -> int:
        """Of its texts, as far as they are not to be made."""
        texts = [self.system, *self.documents.values()]
        texts += [text for turn in self.turns for text in (turn.user, turn.answer)]
        return sum(len(text) for text in texts if isinstance(text, str))

    def present(self, turn: int) -> dict[str, int]:
        """The documents that are there in a turn (from 1), in the order in which they came in: name to the
        turn that added it."""
        found: dict[str, int] = {}
        for number, one in enumerate(self.turns[:turn], 1):
            for name in one.remove:
                found.pop(name, None)
            for name in one.add:
                found.setdefault(name, number)
        return found


_ABOUT = ("name", "tags", "task", "description", "history", "placement")
"""What a conversation says of itself, and what a case may say instead of it."""


def _about(text: Text | None) -> int:
    """The tokens of a text, about."""
    if text is None:
        return 0
    if isinstance(text, Made):
        return text.tokens + _about(text.before or None)
    return round(len(text) / _CHARACTERS)


def messages_at(conversation: Conversation, turn: int, answers: Sequence[str]) -> tuple[Message, ...]:
    """What is sent for a turn (from 1) of a conversation whose texts are made.

    :param answers: what was answered in the turns before it; a ``recorded`` history has its own, where it
        gives any.
    """
    there = conversation.present(turn)
    last = turn if conversation.placement == "last" else 0
    system = [] if conversation.system is None else [_made(conversation.system)]
    if conversation.placement == "system":
        system += [_document(conversation, name) for name in there]
    messages = [Message(role="system", content="\n\n".join(system))] if system else []
    for number, one in enumerate(conversation.turns[:turn], 1):
        before: list[str] = []
        if conversation.placement != "system":
            before = [
                _document(conversation, name) for name, since in there.items() if (last or since) == number
            ]
        messages.append(Message(role="user", content="\n\n".join([*before, _made(one.user)])))
        if number < turn:
            recorded = one.answer if conversation.history == "recorded" else None
            content = answers[number - 1] if recorded is None else _made(recorded)
            messages.append(Message(role="assistant", content=content))
    return tuple(messages)


def _document(conversation: Conversation, name: str) -> str:
    return f"Document {name}:\n{_made(conversation.documents[name])}"


def _made(text: Text) -> str:
    if isinstance(text, str):
        return text
    msg = "the texts of a conversation have to be made before it is sent: Conversation.fill"
    raise TypeError(msg)

"""Which turns does a load of conversations have, and where does each conversation begin?

Conversations that began together would all be at their first turn at one time, with nothing in the server's
cache, and later all at their last. So the first ones begin at different turns, with the history that they
would have by then; what they ask is the warm-up. The others are held from their first turn on.

What is asked depends on the conversation's place alone, and not on how many are held at a time: lengths are
drawn for each conversation, by the seed and its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads.lengths import Length
from pytest_llmbench.workloads.messages import Message
from pytest_llmbench.workloads.prompts import opening
from pytest_llmbench.workloads.requests import TextOf, derived, first_number
from pytest_llmbench.workloads.scenarios.conversation import MOST_TURNS, Conversation, Made, Turn, messages_at

_MOST_TEXT = 1 << 30
"""Characters of all requests together: a client has them all before it begins."""


@dataclass(frozen=True, slots=True)
class SentTurn:
    """One turn as it is asked."""

    conversation: int
    """From 1, in the order in which they begin."""
    turn: int
    """From 1."""
    messages: tuple[Message, ...]
    """All that stands in its prompt; answers that were not given are made."""
    output_tokens: int
    think_time: float
    """Seconds from the end of the answer before; 0 for the first turn that is asked."""
    begins: bool
    """Whether it is the first that is asked of its conversation."""


@dataclass(frozen=True, slots=True)
class MadeTalk:
    """What is drawn for a conversation of which no text is given."""

    turns: Length
    prompt_length: Length
    """Tokens of what a person says in a turn."""
    shared_prefix: int = 0
    """Tokens of a system prompt that all have in common; 0 for none."""


@dataclass(frozen=True, slots=True)
class Talks:
    """Conversations without end, from a few that are given, again and again, or made."""

    source: tuple[Conversation, ...] | MadeTalk
    output_tokens: int
    """Of a turn that does not say how many."""
    output_length: Length | None
    """How many each turn has, whatever it says; None where it stays."""
    think_time: float | None
    """Seconds, whatever a turn says; None where it stays."""
    seed: int
    """Of lengths."""
    text_seed: int
    """Of the words of made texts, and of those that begin a conversation."""
    unique: bool
    """Whether each conversation begins with words of its own, so that none is found in a cache."""

    @property
    def makes_text(self) -> bool:
        """Whether a text of theirs has to be made, to a length."""
        if isinstance(self.source, MadeTalk):
            return True
        return any(_is_unfinished(conversation) for conversation in self.source)

    @property
    def fewest(self) -> tuple[int, float]:
        """Turns of the shortest conversation, and the seconds that it thinks."""
        if isinstance(self.source, MadeTalk):
            return 1, 0.0
        shortest = min(self.source, key=lambda one: len(one.turns))
        return len(shortest.turns), sum(self._think_time(turn) for turn in shortest.turns[1:])

    def _think_time(self, turn: Turn) -> float:
        return turn.think_time if self.think_time is None else self.think_time

    def sent(
        self,
        at_once: int,
        enough: Callable[[int, int], bool],
        text_of: TextOf | None,
        *,
        warm: Callable[[int], bool],
        may_be_cut: bool,
    ) -> tuple[list[SentTurn], int, bool]:
        """The turns of a level, conversation after conversation, how many of them are the warm-up, and
        whether there was no room for more.

        :param at_once: so many conversations begin first, at different turns; 0 for none.
        :param enough: (conversations, turns) that are measured to whether they are enough.
        :param text_of: makes texts; may be None where none is to be made.
        :param warm: whether so many turns are enough of a warm-up; what is missing to them are whole
            conversations.
        :param may_be_cut: whether fewer will do.
        :raises UsageError: if their texts are more than there is room for, and have to be.
        """
        found: list[SentTurn] = []
        size = number = 0

        def add(turns: Iterator[SentTurn]) -> None:
            nonlocal size
            for one in turns:
                found.append(one)
                size += sum(len(message["content"]) for message in one.messages)
            if size > _MOST_TEXT and not may_be_cut:
                msg = (
                    f"the first {number} conversations have {size / 1e9:.2g} GB of text in their "
                    f"{len(found)} requests, each of which has all that was said before: ask for fewer "
                    "requests or a shorter duration"
                )
                raise UsageError(msg)

        while number < at_once or not warm(len(found)):
            number += 1
            talk = self._talk("warm-up", number)
            first = 1 + (number - 1) % len(talk.turns) if number <= at_once else 1
            add(self._turns(talk, number, first, "warm-up", number, text_of))
        warmup, place = len(found), 0
        while not enough(place, len(found) - warmup):
            if size > _MOST_TEXT:
                return found, warmup, True
            number, place = number + 1, place + 1
            add(self._turns(self._talk("measured", place), number, 1, "measured", place, text_of))
        return found, warmup, False

    def _talk(self, part: str, place: int) -> Conversation:
        """The conversation at a *place* (from 1) of a part of the level, its lengths drawn."""
        drawn = (self.seed, part, place)
        if isinstance(self.source, MadeTalk):
            made = self.source
            (turns,) = made.turns.sample(1, derived("turns", *drawn))
            prompts = made.prompt_length.sample(min(turns, MOST_TURNS), derived("prompt lengths", *drawn))
            system = Made(made.shared_prefix) if made.shared_prefix else None
            asked = tuple(Turn(user=Made(tokens)) for tokens in prompts)
            talk = Conversation(name="made", system=system, turns=asked)
        else:
            talk = self.source[(place - 1) % len(self.source)]
        outputs: list[int | None] = [turn.max_new_tokens for turn in talk.turns]
        if self.output_length is not None:
            outputs = [*self.output_length.sample(len(outputs), derived("output lengths", *drawn))]
        return replace(
            talk,
            history="recorded",
            turns=tuple(
                replace(
                    turn,
                    max_new_tokens=(tokens := wanted or self.output_tokens),
                    think_time=self._think_time(turn),
                    answer=Made(tokens)
                    if turn.answer is None and turn is not talk.turns[-1]
                    else turn.answer,
                )
                for turn, wanted in zip(talk.turns, outputs, strict=True)
            ),
        )

    def _turns(
        self, talk: Conversation, number: int, first: int, part: str, place: int, text_of: TextOf | None
    ) -> Iterator[SentTurn]:
        """The turns of a conversation from *first* on, its texts made."""
        scope = f"{self.text_seed}/{part}/{place}" if self.unique else f"{talk.name}/{part}/{place}"
        shared = isinstance(self.source, MadeTalk) and self.source.shared_prefix > 0

        def make(tokens: int, text: int) -> str:
            assert text_of is not None, "texts are to be made"
            # The first text of a conversation is its system prompt.
            whose = f"{self.text_seed}/shared" if shared and text == 1 else f"{scope}/{text}"
            return text_of(tokens, first_number(derived(whose)))

        filled = talk.fill(make)
        own = opening(first_number(self.text_seed) + number, 0) if self.unique else ""
        for turn, one in enumerate(filled.turns[first - 1 :], first):
            messages = messages_at(filled, turn, ())
            if own:
                # A prefix that all share stays in front of what is a conversation's own.
                messages = _begun(messages, own, 1 if shared else 0)
            assert one.max_new_tokens is not None
            yield SentTurn(
                conversation=number,
                turn=turn,
                messages=messages,
                output_tokens=one.max_new_tokens,
                think_time=0.0 if turn == first else one.think_time,
                begins=turn == first,
            )


def _begun(messages: tuple[Message, ...], words: str, place: int) -> tuple[Message, ...]:
    """The same, with the message at a *place* begun by these words."""
    head: Message = {
        "role": messages[place]["role"],
        "content": f"{words} {messages[place]['content']}",
    }
    return (*messages[:place], head, *messages[place + 1 :])


def _is_unfinished(conversation: Conversation) -> bool:
    """Whether a text of it is to be made, a missing answer included."""
    texts = [conversation.system, *conversation.documents.values()]
    texts += [turn.user for turn in conversation.turns]
    answers = [turn.answer for turn in conversation.turns[:-1]]
    return any(isinstance(text, Made) for text in (*texts, *answers)) or None in answers

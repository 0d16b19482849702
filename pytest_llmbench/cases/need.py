"""How many tokens does a test need in its model's context: what is asked, and the answers?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_llmbench.settings.suite_rows import Asked
from pytest_llmbench.workloads.lengths import Length, parse_length
from pytest_llmbench.workloads.scenarios.conversation import MOST_TURNS
from pytest_llmbench.workloads.tasks import task_of

if TYPE_CHECKING:
    from pytest_llmbench.settings.case import CaseSettings
    from pytest_llmbench.settings.kinds import Fixture
    from pytest_llmbench.workloads.scenarios.conversation import Conversation, Text

READS = (
    *("max_new_tokens", "output_length", "prompt_length", "shared_prefix", "turns", "dataset", "depth"),
    *("ignore_eos", "history", "placement"),
)
"""The settings on which it depends."""
_A_MESSAGE = 64
"""Tokens that a chat template puts around a message, at most, and a prompt's special tokens."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a test needs of a context, in tokens."""

    least: int
    """What it needs at least."""
    most: int | None
    """What is enough; None where only the model's tokenizer knows."""
    asked: str
    """What is asked, for messages: what is longer than a context; in the plural."""
    tokens: int | None = None
    """What it needs, where that is known to the token; under load, of middle lengths."""
    informed: bool = True
    """Whether anything is known of what is asked, beside the length of its answer."""


def of_prompt(held: CaseSettings, prompt_tokens: int | None) -> Need:
    """Of one prompt and its answer, below a text of ``depth`` tokens.

    :param prompt_tokens: of the prompt; None where that is not known.
    """
    # A prompt has a token at least.
    tokens = held.depth + (prompt_tokens or 1) + held.max_new_tokens
    below = f" at a depth of {held.depth}" if held.depth else ""
    what = "a prompt" if prompt_tokens is None else f"a prompt of {prompt_tokens} tokens"
    known = None if prompt_tokens is None else tokens
    asked = f"{what}{below} and {held.max_new_tokens} more are longer"
    return Need(tokens, known, asked, known, informed=known is not None or held.depth > 0)


def of_texts(held: CaseSettings, texts: Sequence[str]) -> Need:
    """Of a prompt in words of its own, or of the messages of a chat."""
    bounds = [_tokens(text) for text in texts]
    least, most = (sum(one[way] for one in bounds) for way in (0, 1))
    most += _A_MESSAGE * (1 + len(texts)) + held.depth + held.max_new_tokens
    return replace(of_prompt(held, None), least=least + held.depth + held.max_new_tokens + 1, most=most)


def of_load(held: CaseSettings, *, made: bool) -> Need:
    """Of a request under load, of middle lengths.

    :param made: whether its prompt is made to a length.
    """
    output = parse_length(held.output_length or held.max_new_tokens)
    if not made or held.dataset is not None:
        what = f"requests for {output.middle} tokens are longer"
        return Need(1 + output.middle, None, what, informed=False)
    prompt = parse_length(held.prompt_length)
    if held.conversations:
        return _of_made_talk(held, prompt, output)
    tokens = prompt.middle + output.middle
    what = f"requests of {tokens} tokens (prompt and answer of middle length) are longer"
    most = None
    if prompt.longest is not None and output.longest is not None:
        # How many tokens a server makes of a text is estimated.
        most = prompt.longest + output.longest + prompt.longest // 8 + _A_MESSAGE
    return Need(tokens, most, what, tokens)


def _of_made_talk(held: CaseSettings, prompt: Length, output: Length) -> Need:
    """Of the last turn of a made conversation, which has all that was said before it."""
    turns = parse_length(held.turns)
    count = min(turns.middle, MOST_TURNS)
    tokens = held.shared_prefix + count * (prompt.middle + output.middle)
    most = None
    if turns.longest is not None and prompt.longest is not None and output.longest is not None:
        longest = min(turns.longest, MOST_TURNS)
        made = held.shared_prefix + longest * (prompt.longest + output.longest)
        most = made + made // 8 + _A_MESSAGE * (1 + 2 * longest)
    what = f"conversations of {count} turns and {tokens} tokens (of middle length) are longer"
    return Need(tokens, most, what, tokens)


def of_conversation(held: CaseSettings, conversation: Conversation) -> Need:
    """Of the turn of a conversation that has the most before it."""
    conversation = replace(
        conversation,
        history=held.history or conversation.history,
        placement=held.placement or conversation.placement,
    )
    turns = range(1, len(conversation.turns) + 1)
    least, most = (max(_turn(held, conversation, number)[way] for number in turns) for way in (0, 1))
    return Need(
        least,
        most,
        f"the turns of the conversation {conversation.name}, of {least} tokens or more, are longer",
    )


def of_asked(fixture: Fixture, held: CaseSettings, asked: Asked) -> Need:
    """Of what a case of a suite asks."""
    under_load = fixture == "llm_load"
    if asked.conversation is not None:
        history = held.history or ("recorded" if under_load else asked.conversation.history)
        return of_conversation(held, replace(asked.conversation, history=history))
    if under_load:
        return of_load(held, made=asked == Asked())
    if asked.prompt is not None:
        return of_texts(held, [asked.prompt])
    if asked.task is not None and asked.prompt_tokens is None:
        return of_texts(held, [task_of(asked.task, held.seed).prompt])
    if asked.messages is not None:
        return of_texts(held, [one["content"] for one in asked.messages])
    return of_prompt(held, asked.prompt_tokens)


def _turn(held: CaseSettings, conversation: Conversation, number: int) -> tuple[int, int]:
    """Tokens of a turn (from 1) and of all before it: at least, and what is enough."""
    said = conversation.turns[:number]
    names = conversation.present(number)
    texts: list[Text] = [conversation.documents[name] for name in names]
    texts += [turn.user for turn in said]
    texts += [] if conversation.system is None else [conversation.system]
    answers = [turn.max_new_tokens or held.max_new_tokens for turn in said]
    given = [turn.answer for turn in said[:-1]]
    if conversation.history == "recorded":
        texts += [answer for answer in given if answer is not None]
        answers = [n for n, answer in zip(answers, [*given, None], strict=True) if answer is None]
    least, most = (sum(bounds) for bounds in zip(*map(_tokens, texts), strict=True))
    around = _A_MESSAGE * (1 + 2 * len(said) + len(names))
    # A model may end its answer early.
    shortest = sum(answers) if held.ignore_eos else answers[-1] if answers else 0
    return least + shortest, most + sum(answers) + around


def _tokens(text: Text) -> tuple[int, int]:
    """Tokens of a text: at least, and at most, with some room for what is seldom."""
    if isinstance(text, str):
        # A token of a usual vocabulary has about four characters of English, and is a byte at least.
        size = len(text.encode(errors="replace"))
        return len(text) // 16, min(size, len(text) // 2 + size - len(text) + 16)
    least, most = _tokens(text.before)
    return text.tokens + least, text.tokens + most

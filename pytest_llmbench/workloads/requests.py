"""What is asked in each request of a load?

Prompts are made, or come from a data set. Unless they are meant to be shared, no two of them begin
alike: a server keeps the beginnings of earlier prompts, and would skip the work of a second one.

How many tokens a server makes of a text, only the server knows; a :class:`TokenEstimator` learns it from
what it counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads.lengths import Length
from pytest_llmbench.workloads.prompts import _pieces, _sentences, opening

if TYPE_CHECKING:
    from pytest_llmbench.workloads.messages import Message
    from pytest_llmbench.workloads.scenarios.conversation import Conversation

TextOf = Callable[[int, int], str]
"""(tokens, seed) to a text of about so many tokens, all that the server adds included. Texts of
neighboring seeds begin with different words."""

# Openings of numbers below 10^9 are three words long. Below the limit a load's numbers have room.
_LARGEST_FIRST_NUMBER = 900_000_000
OWN_WORDS = 3
"""With which :func:`.prompts.opening` mostly begins a text."""
# Two prompts, in tokens, of which the words that any other has are derived.
_SHORT, _LONG = 512, 4096
# Words of each of the first two pieces of a block's text; two pieces tell millions of blocks apart.
_PIECE = 4
_BLOCKS_KEPT = 1 << 14
LEAST_TOKENS_PER_WORD = 0.25
"""What a server counts less for, it does not count."""
_TOKENS_PER_WORD = 4 / 3
"""English in the tokenizers of today's models, where a server does not report."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """What a recorded prompt had in common with others: the names of its successive pieces."""

    names: tuple[int | str, ...]
    """At least one. The last piece may be shorter, or what follows the last may have no name."""
    size: int
    """Tokens for which each name stands."""
    scope: str = ""
    """Within which equal names are equal pieces: a conversation, or the whole data set if empty."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request: a ``prompt``, or ``messages``, or ``prompt_tokens`` to make a prompt of."""

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    output_tokens: int | None = None
    """How many to generate; None leaves it to the setting ``max_new_tokens``."""
    prompt_tokens: int | None = None
    """How long the prompt is meant to be; None where nothing is known of it."""
    at: float | None = None
    """When it is due, in seconds since the start; None for no time of its own."""
    blocks: Blocks | None = None
    """Pieces of the prompt that equal text is made for; None for nothing in common with others."""
    conversation: Conversation | None = None
    """All that was said, where whole conversations are asked for."""


@dataclass(frozen=True, slots=True)
class TokenEstimator:
    """How many tokens a server makes of so many words: a constant and so many for each word.

    The constant is what is added to every prompt: special tokens, and the chat template.
    """

    per_prompt: float
    """Tokens."""
    per_word: float
    """Tokens."""

    @classmethod
    def fit(cls, counted: Sequence[tuple[int, int]]) -> TokenEstimator:
        """From pairs of (words of a text of :func:`words_text`, tokens that the server counted).

        The line with the least squared error. Two pairs of different lengths are enough; but texts differ
        in their words, and with one text of 32 words and one of 256, long prompts come out 3 to 5% off.
        With four of each it is half of that.

        :raises UsageError: if the tokens cannot be those of the words.
        """
        words = [pair[0] for pair in counted]
        if len(set(words)) < 2:
            msg = f"two lengths at least are needed to learn the tokens of a word, got {words}"
            raise ValueError(msg)
        mean_words = sum(words) / len(counted)
        mean_tokens = sum(tokens for _, tokens in counted) / len(counted)
        spread = sum((w - mean_words) ** 2 for w in words)
        per_word = sum((w - mean_words) * (t - mean_tokens) for w, t in counted) / spread
        if min(tokens for _, tokens in counted) < 1 or per_word < LEAST_TOKENS_PER_WORD:
            found = ", ".join(f"{tokens} tokens for {w} words" for w, tokens in counted)
            msg = (
                f"the server's token counts do not match its prompts ({found}), so no prompt can be "
                "made to a length; give a prompt, or a data set that has prompts"
            )
            raise UsageError(msg)
        return cls(mean_tokens - per_word * mean_words, per_word)

    @classmethod
    def fit_or_guess(cls, counted: Sequence[tuple[int, int]]) -> tuple[TokenEstimator, str | None]:
        """The same; where the counts are of no use, a guess, and what a person has to know about it."""
        guess = f"prompts are made with {_TOKENS_PER_WORD:.2f} tokens for a word"
        if not any(tokens for _, tokens in counted):
            return cls(0.0, _TOKENS_PER_WORD), (
                f"the server does not report how many tokens its prompts have: {guess}; for the right "
                "lengths, "
                "name the model's tokenizer with --llm-option server.tokenizer=FOLDER"
            )
        try:
            return cls.fit(counted), None
        except UsageError:
            said = ", ".join(f"{tokens} tokens for {words} words" for words, tokens in counted[:2])
            note = f"the server's token counts do not match its prompts ({said}): {guess}"
            return cls(0.0, _TOKENS_PER_WORD), note

    def words_for(self, tokens: int) -> int:
        """How many words come nearest to a prompt of *tokens*; at least 1."""
        return max(1, round((tokens - self.per_prompt) / self.per_word))

    def text_of(self, tokens: int, seed: int) -> str:
        """A text of about *tokens* for this server; see :data:`TextOf`."""
        return words_text(self.words_for(tokens), seed=seed)


def words_text(words: int, *, seed: int = 0) -> str:
    """English sentences of exactly *words* words, in an order drawn from the seed.

    The seed's own three words or more come first. Texts of up to a million seeds in a row differ within
    their first two words, and of up to a thousand in their first one. The same arguments give the same
    text.
    """
    pieces, found = _pieces(seed, 0), list[str]()
    while len(found) < words:
        found += next(pieces).split()
    return " ".join(found[:words])


def make_requests(
    count: int,
    *,
    prompt_length: Length,
    output_length: Length,
    seed: int,
    text_seed: int,
    text_of: TextOf,
    shared_prefix: int = 0,
) -> list[Item]:
    """*count* requests with made prompts, of which no two begin alike.

    :param seed: of the lengths: equal seeds, equal work.
    :param text_seed: of the texts. Another one gives other texts, so that two loads on one server do not
        find each other's prompts in its cache.
    :param shared_prefix: the first so many tokens of the prompts are the same for all, what the server
        adds included; a prompt that is not longer ends after three words of its own all the same. With
        it, prompts have the right number of words and not always that of tokens.
    :raises UsageError: if no prompt is longer than *shared_prefix*.
    """
    lengths = prompt_length.sample(count, derived("prompt lengths", seed))
    outputs = output_length.sample(count, derived("output lengths", seed))
    first = first_number(text_seed)
    prompts = [text_of(tokens, first + number) for number, tokens in enumerate(lengths)]
    if shared_prefix:
        if shared_prefix >= max(lengths, default=shared_prefix + 1):
            msg = (
                f"a shared prefix of {shared_prefix} tokens leaves no room in prompts of {prompt_length}; "
                "shorten it, or ask for longer prompts"
            )
            raise UsageError(msg)
        shared = text_of(shared_prefix, derived("shared prefix", text_seed)).split()
        prompts = [_after(shared, prompt.split()) for prompt in prompts]
    return [
        Item(prompt, output_tokens=output, prompt_tokens=tokens)
        for prompt, output, tokens in zip(prompts, outputs, lengths, strict=True)
    ]


def from_items(
    items: Sequence[Item],
    count: int,
    *,
    seed: int = 0,
    unique: bool = True,
    text_of: TextOf | None = None,
) -> list[Item]:
    """*count* requests from a data set's *items*, in their order, and from the start again when it ends.

    With *unique*, each prompt, or the first of its messages, begins with three words of its own, about
    five tokens; they are drawn from *seed* and the request's number. So neither a repeated item nor
    another process's request finds its prompt in a cache. Without, items are as the data set has them.

    Items that have a length only get a prompt made of it. Where such an item names its ``blocks``, each
    name stands for a text, the same wherever it stands, so that requests share the beginnings that they
    shared when they were recorded. *unique* leaves that as it is, and gives each pass through the data
    set, and each seed, texts of its own.

    Times go on, when the data set begins again, after the mean gap between its requests.

    :param items: at least one.
    :param text_of: makes the prompts; may be None if every item has one.
    :raises UsageError: if all of several items have the same time, and *count* needs them again.
    """
    period = _period(items) if count > len(items) else 0.0
    first = first_number(seed)
    writer: _BlockWriter | None = None
    found: list[Item] = []
    for number in range(count):
        again, place = divmod(number, len(items))
        item = items[place]
        if item.prompt is None and item.messages is None:
            if text_of is None or item.prompt_tokens is None:
                msg = "an item without a prompt needs its prompt_tokens, and text_of to make one"
                raise ValueError(msg)
            if item.blocks is None:
                text = text_of(item.prompt_tokens, first + number if unique else place)
            else:
                writer = writer or _BlockWriter(text_of)
                scope, own = (f"{seed}/{again}", first + number) if unique else ("", place)
                text = writer.text(item.blocks, item.prompt_tokens, scope, own)
            item = replace(item, prompt=text)
        elif unique:
            item = _marked(item, opening(first + number, 0))
        found.append(item if item.at is None else replace(item, at=item.at + again * period))
    return found


class _BlockWriter:
    """Makes prompts of named blocks.

    A block's text is its name's own, wherever it stands and whatever comes after it. A number of words is
    whole and that of a block's tokens is not, so blocks of one size differ by a word at most; on average they
    have their tokens.
    """

    def __init__(self, text_of: TextOf) -> None:
        sizes = [(len(text_of(tokens, 0).split()), tokens) for tokens in (_SHORT, _LONG)]
        fitted = TokenEstimator.fit(sizes)
        self._per_word = fitted.per_word
        # What the server adds is the same for all prompts, so that it shortens what all begin with.
        self._added = max(0, round(fitted.per_prompt / fitted.per_word))
        self._block = lru_cache(_BLOCKS_KEPT)(self._made)

    def text(self, blocks: Blocks, tokens: int, scope: str, own: int) -> str:
        """The prompt of *tokens* that consists of *blocks*; those of another *scope* have other text.

        :param own: a number of the request's own, for what has no name.
        """
        named = f"{scope}/{blocks.scope}"
        words: list[str] = []
        added, size = self._added, blocks.size
        for place, name in enumerate((*blocks.names, None)):
            left = tokens - place * size
            if left <= 0:
                break
            if name is None:
                piece = self._made(f"own/{own}", named, left)
            else:
                piece = self._block(name, named, size)
                if left < size:
                    piece = piece[: max(1, round(left / self._per_word))]
            dropped = max(0, min(added, len(piece) - OWN_WORDS))
            added -= dropped
            words += piece[: len(piece) - dropped]
        return " ".join(words)

    def _made(self, name: int | str, scope: str, size: int) -> tuple[str, ...]:
        """The words of a block of *size* tokens; one more or less, by its name."""
        drawn = derived(scope, name)
        prose = _prose()
        count = max(1, int(size / self._per_word + drawn % 1000 / 1000))
        starts = [drawn // 1000 % len(prose), drawn // 1000 // len(prose) % len(prose)]
        words = [word for start in starts for word in _from(prose, start, _PIECE)]
        words += _from(prose, drawn // 1000 // len(prose) ** 2 % len(prose), count)
        return tuple(words[:count])


@cache
def _prose() -> tuple[str, ...]:
    """The words of the sentences of which texts are made."""
    return tuple(word for sentence in _sentences() for word in sentence.split())


def _from(words: Sequence[str], start: int, count: int) -> list[str]:
    """*count* words from a place on, and from the beginning again."""
    found = list(words[start : start + count])
    while len(found) < count:
        found += words[: count - len(found)]
    return found


def _marked(item: Item, words: str) -> Item:
    if item.messages is None:
        return replace(item, prompt=f"{words} {item.prompt}")
    head, *others = item.messages
    marked: Message = {"role": head["role"], "content": f"{words} {head['content']}"}
    return replace(item, messages=(marked, *others))


def _after(shared: Sequence[str], own: Sequence[str]) -> str:
    """As many words as *own*, the first of them *shared*, and the first of its own after them."""
    kept = max(0, min(len(shared), len(own) - OWN_WORDS))
    return " ".join([*shared[:kept], *own[: len(own) - kept]])


def _period(items: Sequence[Item]) -> float:
    """Seconds from the first item to its next time: the span and a mean gap; 0 without times."""
    times = [item.at for item in items if item.at is not None]
    if not times:
        return 0.0
    if (span := max(times) - min(times)) == 0:
        msg = (
            f"the trace's requests all have the same time, so it cannot be repeated: ask for {len(items)} "
            "requests at most"
        )
        raise UsageError(msg)
    return span * len(times) / (len(times) - 1)


def first_number(seed: int) -> int:
    """The first of a load's numbers; loads of different seeds are far apart."""
    return derived("numbers", seed) % _LARGEST_FIRST_NUMBER


def derived(*parts: object) -> int:
    """A seed of 64 bits for one purpose."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8])

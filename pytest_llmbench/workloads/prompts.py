"""What text has exactly so many tokens?

The text is English sentences that the package ships, in an order drawn from the seed. Its end is
found by counting tokens with the model's own tokenizer, so that any tokenizer will do.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources

from pytest_llmbench.errors import UsageError

Tokenize = Callable[[str], Sequence[int]]
Detokenize = Callable[[Sequence[int]], str]

_ATTEMPTS = 50
_CHECKS = 6
# Characters: what is searched before and after the estimated end, and what stands before it so that
# counting the end alone gives what it adds to the whole.
_BEFORE, _AFTER, _CONTEXT = 80, 200, 300


def prompt_of_tokens(
    count: int, tokenize: Tokenize, detokenize: Detokenize, *, seed: int = 0, before: str = ""
) -> str:
    """A text with ``len(tokenize(text)) == count``, special tokens that *tokenize* adds included.

    Texts of different seeds differ from their first word on, for some thousand seeds in a row; beyond
    that from their second or third. So no cache of prompt prefixes can serve one for another (a
    prompt of two or three tokens may be too short to differ). The same arguments give the same text.

    The text is tokenized whole about four times, whatever its length.

    :param before: what the text begins with: a paragraph of its own, counted too.
    :raises UsageError: if no text can have so few tokens, or none was found.
    """
    if before:
        return _after(f"{before}\n\n", count, tokenize, detokenize, seed)
    specials = len(tokenize(""))
    if count <= specials:
        added = f"{specials} special tokens" if specials != 1 else "1 special token"
        msg = (
            f"a prompt of {count} tokens is not possible: this tokenizer adds {added} to every text, "
            f"so {specials + 1} is the least"
        )
        raise UsageError(msg)
    for attempt in range(_ATTEMPTS):
        text = _fitted(_Source(seed, attempt), count, tokenize, detokenize)
        if text is not None:
            return text
    msg = f"found no text of exactly {count} tokens for this tokenizer; ask for a few tokens more or fewer"
    raise UsageError(msg)


def _after(head: str, count: int, tokenize: Tokenize, detokenize: Detokenize, seed: int) -> str:
    """*head* and a text after it, of *count* tokens together."""
    if count <= (least := len(tokenize(head))):
        msg = (
            f"a prompt of {count} tokens is not possible: what stands before the made text has {least}, so "
            f"{least + 1} is the least"
        )
        raise UsageError(msg)
    made = prompt_of_tokens(
        count,
        lambda text: tokenize(head + text),
        lambda tokens: detokenize(tokens)[len(head) :],
        seed=seed,
    )
    return head + made


class _Source:
    """Endless text for one seed, whose beginning can be taken at any length."""

    def __init__(self, seed: int, attempt: int) -> None:
        self._pieces = _pieces(seed, attempt)
        self._text = ""

    def at_least(self, length: int) -> str:
        """The first *length* characters or some more."""
        parts, have = [self._text], len(self._text)
        while have < length:
            piece = next(self._pieces)
            parts.append(piece)
            have += len(piece)
        self._text = "".join(parts)
        return self._text


def _pieces(seed: int, attempt: int) -> Iterator[str]:
    yield opening(seed, attempt)
    # Of the generators of numbers only random() is promised to stay as it is.
    draw = random.Random(f"{seed}/{attempt}").random
    sentences = _sentences()
    while True:
        for sentence in _shuffled(sentences, draw):
            yield f" {sentence}"


def opening(seed: int, attempt: int) -> str:
    """Three or more words that are the seed's own, its number written with words for digits."""
    words = _opening_words()
    rest, mixed = seed % (1 << 64), 0
    chosen: list[str] = []
    while rest or len(chosen) < 3:
        rest, digit = divmod(rest, len(words))
        chosen.append(words[(digit + mixed + attempt) % len(words)])
        # Without this, the second and third word would be the same for all small seeds.
        mixed = mixed * 31 + digit * 17 + 7
    return f"{chosen[0].capitalize()} {' '.join(chosen[1:])}."


@cache
def _sentences() -> tuple[str, ...]:
    text = (resources.files("pytest_llmbench.models.synthetic") / "text" / "prose.txt").read_text("utf-8")
    return tuple(s for s in re.split(r"(?<=[.?!])\s+", text) if s)


@cache
def _opening_words() -> tuple[str, ...]:
    """Words that differ in their first letters, so that they do in their first token, mostly."""
    words = sorted({w for s in _sentences() for w in re.findall(r"\b[a-z]{4,9}\b", s)})
    distinct = {word[:4]: word for word in words}
    return tuple(_shuffled(tuple(distinct.values()), random.Random(0).random))


def _shuffled(items: Sequence[str], draw: Callable[[], float]) -> list[str]:
    return sorted(items, key=lambda _: draw())


def _fitted(source: _Source, count: int, tokenize: Tokenize, detokenize: Detokenize) -> str | None:
    sample = source.at_least(2000)
    per_token = len(sample) / len(tokenize(sample))
    text = source.at_least(int(count * per_token * 1.1) + _AFTER)
    while len(tokens := tokenize(text)) < count + 8:
        text = source.at_least(int(len(text) * 1.2) + _AFTER)
    end = min(len(detokenize(tokens[:count])), len(text))
    for _ in range(_CHECKS):
        head = text.rfind(" ", 0, max(0, end - _BEFORE)) + 1
        missing = count - len(tokenize(text[:head].rstrip()))
        if 0 < missing * per_token < _AFTER:
            return _finished(text, head, missing, count, tokenize)
        # The tokenizer does not give back the text that it was given: go by the average.
        end = max(0, min(end + int(missing * per_token) - _BEFORE, len(text)))
    return None


def _finished(text: str, head: int, missing: int, count: int, tokenize: Tokenize) -> str | None:
    """*text*, cut where it has *count* tokens; looked for after *head*, where *missing* are missing."""
    start = text.find(" ", head - _CONTEXT) + 1 if head > _CONTEXT else 0
    before = len(tokenize(text[start:head].rstrip())) if head else count - missing
    ends = _ends(text, head, head + _BEFORE + _AFTER)

    @cache
    def adds(end: int) -> int:
        return len(tokenize(text[start:end])) - before

    for _ in range(_CHECKS):
        fit = next((end for end in ends if adds(end) == missing), None)
        if fit is None:
            return None
        found = text[:fit]
        have = len(tokenize(found))
        if have == count:
            return found
        # Within the whole, the end adds something else than alone; the difference is mostly the same.
        missing += count - have
    return None


def _ends(text: str, first: int, last: int) -> list[int]:
    """Where the text may be cut: after a word if possible, or else within one."""
    inside = [end for end in range(first + 1, min(last, len(text)) + 1) if not text[end - 1].isspace()]
    return sorted(inside, key=lambda end: end < len(text) and not text[end].isspace())

"""Does a model find one fact in a long text?

The needle in a haystack: made text with one sentence in it that has nothing to do with it, and a question
about that sentence at the end (https://github.com/gkamradt/LLMTest_NeedleInAHaystack; RULER, arXiv
2404.06654). A number has to be found, so that no wording is judged. Each place and each round has a haystack
of its own: of a text that comes again, a cache has the work done already.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from pytest_llmbench.errors import UsageError
from pytest_llmbench.workloads.requests import derived

LEAST = 192
"""Tokens of a haystack: the fact and the question alone are half of them."""
_ROOMS = (
    "archive",
    "boiler room",
    "cellar",
    "greenhouse",
    "laboratory",
    "library",
    "observatory",
    "workshop",
)
_OWNERS = ("Adams", "Brandt", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Hansen")
_DIGITS = 7
_SENTENCE = re.compile(r"(?<=[.?!])\s+")


@dataclass(frozen=True, slots=True)
class Needle:
    """One fact, and the question that only it answers."""

    fact: str
    question: str
    answer: str
    """A number of seven digits."""

    @classmethod
    def of(cls, seed: int) -> Needle:
        """The needle of a seed; the same each time."""
        # Of the generators of numbers only random() is promised to stay as it is.
        draw = random.Random(f"needle/{seed}").random
        room, owner = (words[int(draw() * len(words))] for words in (_ROOMS, _OWNERS))
        number = str(int((1 + 9 * draw()) * 10 ** (_DIGITS - 1)))
        lock = f"lock of the {room} of Mrs. {owner}"
        return cls(
            f"The number that opens the {lock} is {number}.",
            f"Which number opens the {lock}? Answer with the number alone.",
            number,
        )

    @classmethod
    def drawn(cls, *parts: object) -> Needle:
        """The needle of one purpose."""
        return cls.of(_seed(*parts))

    def in_haystack(self, tokens: int, place: float, make: Callable[[int, int], str]) -> str:
        """A new text of about *tokens* tokens, and not more, with the fact in it.

        :param make: (tokens, seed) to a made text of so many tokens.
        :raises UsageError: for fewer than :data:`LEAST`.
        """
        if tokens < LEAST:
            msg = f"prompt_tokens={tokens}: a haystack with a needle in it has {LEAST} tokens or more"
            raise UsageError(msg)
        # So that the whole is not longer: two letters of what is put into it are seldom more than a token.
        aside = len(self.hidden("", place)) // 2
        return self.hidden(make(tokens - aside, _seed(self.answer, place)), place)

    def hidden(self, text: str, place: float) -> str:
        """*text* with the fact in it, after the share *place* of its sentences, and the question at its end.

        :param place: from 0, before the first sentence, to 1, after the last.
        """
        sentences = _SENTENCE.split(text)
        at = round(place * len(sentences))
        return f"{' '.join([*sentences[:at], self.fact, *sentences[at:]])}\n\n{self.question}\nAnswer:"

    def found_in(self, answer: str) -> bool:
        """Whether the number is in an answer; separators between its digits do not matter."""
        plain = re.sub(r"(?<=\d)[ ,.'_\u00a0\u202f-](?=\d)", "", answer)
        return self.answer in re.findall(r"\d+", plain)


def _seed(*parts: object) -> int:
    """A seed for one purpose, of 32 bits: the words in front of a made text are fewer for a small one."""
    return derived(*parts) >> 32

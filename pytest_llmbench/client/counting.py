"""How many tokens did a server count, how many of them did it send, and how many did it have already?

By OpenAI's API reference for ``usage``, with ``reasoning_tokens`` where SGLang has it too. Reasoning that
a server keeps to itself is counted, and paid for, and never arrives; neither do tokens of a prediction that
was rejected. Between the first chunk and the last there is only what arrived.
"""

from __future__ import annotations

from typing import NamedTuple

from pytest_llmbench.metrics.bounds import whole
from pytest_llmbench.processes.wire import Json

_SUMMARY = 0.5
"""Of the reasoning tokens that were counted, below which the reasoning that came is a summary of them. How
long its tokens are is taken from those of the answer, and is no better than that."""


class Counts(NamedTuple):
    """Tokens of one answer."""

    output: int
    """All that the server made."""
    hidden: int = 0
    """Of these, those that never came."""

    @property
    def shown(self) -> int:
        """How many came."""
        return self.output - self.hidden


def reasoning_tokens(usage: Json) -> int | None:
    """How many tokens of reasoning the server counted; None where it did not say."""
    told = _detail(usage, "reasoning_tokens")
    return whole(usage.get("reasoning_tokens")) if told is None else told


class Cached(NamedTuple):
    """Tokens of a prompt that a server did not have to read, as it says itself."""

    tokens: int | None = None
    source: str | None = None
    """Where it says so: ``usage`` or ``timings``."""


def cached_tokens(usage: Json, timings: Json) -> Cached:
    """What a server's *usage* says of its cache, or else llama-server's *timings*.

    Of llama-server ``cache_n``, which with ``prompt_n`` makes up the prompt.
    """
    told = _detail(usage, "cached_tokens", "prompt_tokens_details")
    if told is not None:
        return Cached(told, "usage")
    told = whole(timings.get("cache_n"))
    return Cached() if told is None else Cached(told, "timings")


def read_ids(choice: Json) -> list[int]:
    """The token ids that a chunk's choice has; empty where it has none."""
    ids = choice.get("token_ids")
    return ids if isinstance(ids, list) and all(whole(one) is not None for one in ids) else []


def told_ids(choice: Json) -> int | None:
    """Of how many tokens a chunk's choice has the ids or probabilities; None where it has none."""
    ids = choice.get("token_ids")
    if isinstance(ids, list) and ids:
        return len(ids)
    probabilities = choice.get("logprobs")
    if isinstance(probabilities, dict):
        for name in ("content", "tokens"):
            if isinstance(found := probabilities.get(name), list) and found:
                return len(found)
    return None


def read_counts(usage: Json, chunks: int, thoughts: int, answer: int, *, inline: bool) -> Counts:
    """What *usage* says of an answer.

    :param chunks: that brought tokens: so many tokens came at least.
    :param thoughts: characters of the reasoning that came; *answer*, of everything else.
    :param inline: whether the answer has reasoning within it.

    A count of reasoning that is larger than that of all tokens is not believed, unless the total says that
    the one does not contain the other.
    """
    told = whole(usage.get("completion_tokens")) or 0
    reasoning = reasoning_tokens(usage) or 0
    output = told
    total, prompt = whole(usage.get("total_tokens")), whole(usage.get("prompt_tokens"))
    if reasoning and total is not None and prompt is not None and total == prompt + told + reasoning:
        output += reasoning
    elif reasoning > told:
        reasoning = 0
    rejected = _detail(usage, "rejected_prediction_tokens") or 0
    if rejected > told - reasoning and output == told:
        rejected = 0
    hidden = 0 if inline else _unseen(reasoning, output - reasoning - rejected, thoughts, answer)
    return Counts(output, max(0, min(hidden + rejected, output - chunks)))


def _unseen(reasoning: int, others: int, thoughts: int, answer: int) -> int:
    """How many of *reasoning* tokens never came, by the length of what did."""
    if not thoughts:
        return reasoning
    if others <= 0 or not answer:
        return 0
    came = round(thoughts * others / answer)
    return reasoning - came if came < _SUMMARY * reasoning else 0


def _detail(usage: Json, name: str, of: str = "completion_tokens_details") -> int | None:
    details = usage.get(of)
    return whole(details.get(name)) if isinstance(details, dict) else None

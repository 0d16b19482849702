"""What of a generation becomes a round, and can what is said of its cache be?"""

from __future__ import annotations

from pytest_llmbench.measure.engine import CacheUse, Depth, Generation
from pytest_llmbench.measure.facts import CacheFacts
from pytest_llmbench.measure.run import Round


def round_of(generation: Generation) -> Round:
    """The round of a generation."""
    measured = Round(
        generation.timeline,
        instructions=generation.instructions,
        cpu_wait=generation.cpu_wait,
        own_words=generation.own_words,
    )
    tokens = generation.timeline.output_tokens
    if generation.cpu_time is not None and tokens:
        measured.measured["cpu_time_per_token"] = generation.cpu_time / tokens
    if generation.prefill_cpu_time is not None:
        measured.measured["prefill_cpu_time"] = generation.prefill_cpu_time
    return measured


def tell_cache(measured: Round, reuse: CacheUse, lies: Depth | None, *, warm: bool) -> None:
    """Have a round say what the cache had of its prompt, and whether that can be.

    :param lies: what was put into the cache before the prompt.
    :param warm: whether it was to find what the round before left.
    """
    measured.cache = CacheFacts(
        source=reuse.source,
        unknown=reuse.reason,
        break_at=reuse.break_at,
        cold=not warm and lies is None,
        depth=None if lies is None else lies.tokens,
    )
    counts = {"cached_tokens": reuse.tokens, "cached_possible": reuse.possible}
    measured.measured |= {name: n for name, n in counts.items() if n is not None}
    measured.invalid = _impossible(reuse) or _not_deep(reuse, lies)
    measured.counted = measured.invalid is None


def _impossible(reuse: CacheUse) -> str | None:
    """Why what is reported of a cache cannot be; None if it can."""
    if reuse.doubt is not None:
        return reuse.doubt
    if reuse.tokens is None or reuse.possible is None or reuse.tokens <= reuse.possible:
        return None
    return (
        f"{reuse.tokens} tokens are said to have come from the cache ({reuse.source}), and by the token ids "
        f"it can have had {reuse.possible}"
    )


def _not_deep(reuse: CacheUse, lies: Depth | None) -> str | None:
    """Why what was to lie before a prompt did not; None if it did, or if that is not known."""
    # The last tokens may be others where the prompt goes on, or be of a block that is not full.
    if lies is None or reuse.tokens is None or reuse.tokens >= lies.tokens - reuse.block:
        return None
    return (
        f"{lies.tokens} tokens were to lie in the cache before the prompt, and {reuse.tokens} came from it "
        f"({reuse.source})"
    )

"""How is each metric computed from what was recorded?

In the units of the rows of :mod:`.table`, which say where each formula comes from. None where there is no
value.
"""

from __future__ import annotations

from pytest_llmbench.metrics.parts import MeasuredCase, MeasuredRound
from pytest_llmbench.metrics.timeline import NANO, Timeline


def ttft(t: Timeline) -> float | None:
    """Seconds until the first token."""
    return _since_sent(t, t.token_times[0]) if t.token_times else None


def tpot(t: Timeline) -> float | None:
    """Seconds a token after those that came first."""
    # A server may send several tokens in one chunk, and count tokens that it never sends.
    return _shared(t, t.timed_tokens)


def tpot_all_tokens(t: Timeline) -> float | None:
    """Seconds a token after the first one, whatever came when."""
    return _shared(t, t.output_tokens - 1)


def e2e_latency(t: Timeline) -> float | None:
    """Seconds until the last token."""
    return _since_sent(t, t.token_times[-1]) if t.token_times else None


def decode_throughput(t: Timeline) -> float | None:
    """Tokens a second after the first."""
    seconds = tpot(t)
    return 1.0 / seconds if seconds else None


def output_throughput(t: Timeline) -> float | None:
    """Tokens a second over the whole."""
    latency = e2e_latency(t)
    return t.output_tokens / latency if latency else None


def prefill_throughput(r: MeasuredRound) -> float | None:
    """Tokens a second of a prompt that was evaluated whole."""
    # Of one that lay in the cache in part, it would be the speed of what was not done.
    return None if r.value("cached_tokens") else _evaluated(r.timeline, r.timeline.prompt_tokens)


def uncached_prefill_throughput(r: MeasuredRound) -> float | None:
    """Tokens a second of what of a prompt the cache did not have."""
    cached = r.value("cached_tokens")
    return None if cached is None else _evaluated(r.timeline, r.timeline.prompt_tokens - cached)


def cache_hit_rate(case: MeasuredCase) -> float | None:
    """Of all prompt tokens, the share that the cache had; a sum over a sum, not a mean of shares."""
    rounds = [r for process in case.processes for r in process.rounds if r.counted]
    known = [cached for r in rounds if (cached := r.value("cached_tokens")) is not None]
    # What an engine cannot tell of is what it could not reuse: without those, the rate would be too good.
    if len(known) < len(rounds):
        return None
    prompts = sum(r.timeline.prompt_tokens for r in rounds)
    return sum(known) / prompts if prompts else None


def energy_per_token(r: MeasuredRound) -> float | None:
    """Joules a token."""
    return _per_token(r, r.value("energy"))


def instructions_per_token(r: MeasuredRound) -> float | None:
    """Instructions a token."""
    return _per_token(r, r.instructions)


def _since_sent(t: Timeline, time: int) -> float:
    # As exact as a document keeps it, so that a live value and the stored one are the same.
    return round((time - t.sent) * NANO, 9)


def _shared(t: Timeline, tokens: int) -> float | None:
    """The time from the first token to the last, shared among *tokens*."""
    if len(t.token_times) < 2 or tokens < 1:
        return None
    return (t.token_times[-1] - t.token_times[0]) * NANO / tokens


def _evaluated(t: Timeline, tokens: float) -> float | None:
    # A prompt of 0 tokens was not counted.
    if t.prefilled is None or t.prefilled <= t.tokenized or not t.prompt_tokens:
        return None
    return tokens / ((t.prefilled - t.tokenized) * NANO)


def _per_token(r: MeasuredRound, amount: float | None) -> float | None:
    tokens = r.timeline.output_tokens
    return None if amount is None or not tokens else amount / tokens

"""What is known of a server's cache of prompts, and of what can be asked about it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Apart = Literal["cache_salt", "cache_prompt"]


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """What is known of an engine's cache of prompts."""

    apart: Apart | None = None
    """The key of a request that keeps it from what others left: ``cache_salt``, it finds only what came with
    the same salt; ``cache_prompt``, with false it finds nothing. None: no key is known."""
    slots: bool = False
    """Whether a request may choose by ``id_slot`` in which of several caches it is, each of which has the
    last prompt alone."""
    tokenizes: Literal["messages", "rendered"] | None = None
    """How it gives the ids of a prompt: at ``/tokenize``, which takes messages too, or those that
    ``/apply-template`` has rendered. None: it does not."""
    answer_ids: str = ""
    """The key of a request whose answer is to have its token ids. It is never said where something is timed:
    the prompt's come along."""
    block: tuple[str, str] | None = None
    """Sample and label of its metrics that say of how many tokens the blocks are in which it keeps prompts;
    None where none does."""
    enabled: str = ""
    """The label of the same sample that says whether it keeps any."""
    counts_tokens: bool = False
    """Whether its counters of queries and hits are of tokens, and count each request's whole prompt."""
    reports: tuple[str, ...] = ()
    """The argument without which its answers do not say what it had; every start of ours has it."""

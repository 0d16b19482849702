"""A server whose cache of prompts is known to the token: a token a word.

It stands before the fake server that answers (:mod:`.openai_server`), and is what a session knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.measure.load import Counters
from pytest_llmbench.servers.endpoint import Endpoint, Words
from pytest_llmbench.servers.prefix_cache import PrefixCache
from pytest_llmbench.servers.prompt_ids import Blocks, NoIdsError
from pytest_llmbench.workloads.messages import Message
from tests.fakes.openai_server import FakeServer

VLLM = PrefixCache(
    apart="cache_salt",
    tokenizes="messages",
    answer_ids="return_token_ids",
    counts_tokens=True,
    reports=("--details",),
)
LLAMA = PrefixCache(apart="cache_prompt", slots=True, tokenizes="rendered")
UNKNOWN = PrefixCache()


def words_of(messages: Sequence[Message] | None, text: str | None) -> list[str]:
    """The words of a prompt, the roles of a chat among them."""
    return (text or "").split() if messages is None else [w for m in messages for w in m["content"].split()]


@dataclass
class CachingServer:
    """Keeps what it is asked as its row says that it does."""

    server: FakeServer
    prefix_cache: PrefixCache = UNKNOWN
    api: Any = "chat"
    block: int = 1
    obeys: bool = True
    """Whether it looks at the keys that keep requests apart."""
    tells: bool = True
    """Whether its answers say what it had."""
    tokenizes: bool = True
    off: bool = False
    odd: str = ""
    """A word of its answers that it generates as another token than it makes of the text."""
    others: int = 0
    """Tokens of prompts that others ask it for meanwhile."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    had: list[int] = field(default_factory=list)
    """Of each request, the tokens that it had."""
    learned: dict[str, str | None] = field(default_factory=dict)
    pid: int | None = None
    label: str = "server m"
    load_time: float | None = None
    engine: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    lacks: str | None = None
    agreed: bool = True

    def __post_init__(self) -> None:
        self._left: dict[object, list[list[str]]] = {}
        self._counted = {"prefix_cache_queries": 0.0, "prefix_cache_hits": 0.0}
        self._ids: dict[str, int] = {}
        self.server.cached = self._cached
        self.server.id_of = lambda word: self._id(self._generated(word))

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.server.url, "fake", api=self.api, words=dict(self.learned))

    def _cached(self, body: dict[str, Any]) -> int | None:
        self.bodies.append(body)
        prompt = words_of(body.get("messages"), body.get("prompt"))
        scope = body.get("cache_salt") if self.obeys and self.prefix_cache.apart == "cache_salt" else None
        before = self._left.setdefault(scope, [])
        looks = not (self.obeys and self.prefix_cache.slots and body.get("cache_prompt") is False)
        most = max((common_prefix(one, prompt) for one in before), default=0) if looks else 0  # type: ignore[arg-type, type-var]
        found = min(most, len(prompt) - 1) // self.block * self.block
        left = [*prompt, *(self._generated(f"word{n}") for n in range(body["max_tokens"] - 1))]
        self._left[scope] = [left] if self.prefix_cache.slots else [*before, left]
        self.had.append(found)
        self._counted["prefix_cache_queries"] += len(prompt) + self.others
        self._counted["prefix_cache_hits"] += found
        return found if self.tells else None

    def metrics(self) -> Counters:
        return dict(self._counted)

    def metrics_between(self, readings: Sequence[Counters]) -> Counters:
        first, last = readings[0], readings[-1]
        return {name: (last.get(name) or 0) - (first.get(name) or 0) for name in self._counted}

    def blocks(self) -> Blocks:
        return Blocks(self.block, off=self.off)

    def prompt_ids(self, text: str | None = None, messages: Sequence[Message] | None = None) -> list[int]:
        if not self.tokenizes or self.prefix_cache.tokenizes is None:
            raise NoIdsError("it does not tell")
        return [self._id(word) for word in words_of(messages, text)]

    def _id(self, word: str) -> int:
        return self._ids.setdefault(word, len(self._ids))

    def _generated(self, word: str) -> str:
        return f"{word}, as it was generated" if word == self.odd else word

    def explain(self) -> str:
        return ""

    def advice(self, failures: Mapping[str, str]) -> str:
        return ""

    def learn(self, words: Words) -> None:
        self.learned.update(words)

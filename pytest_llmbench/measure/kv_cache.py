"""What of a prompt does the engine's KV cache hold, and what could it have reused?

In the engine's own process, where the token ids are known: what the cache can have is the last prompt and
what was generated after it but the last token. So the longest beginning that a prompt has in common with it
is counted here, without asking the engine, and held against what the engine says.

Only the standard library is imported here; see :mod:`.worker`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import TYPE_CHECKING

from pytest_llmbench.backends.base import (
    CachingEngine,
    Engine,
    GenerationParams,
    GivesLogits,
    SavedState,
)
from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.errors import EngineError
from pytest_llmbench.processes.wire import Json
from pytest_llmbench.workloads.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_TOLD = "the backend does not say what it reused"
ONE_BY_ONE = 256
"""How many tokens of a prompt are evaluated one by one, at most, to find out what that rounds."""
_ANSWER = "ANSWER-{number}-OF-THE-MODEL"
"""Stands in a rendered chat for an answer whose tokens are known."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How near two tokens are between which an engine chose, beside what it rounds."""

    gap: float
    """Between their logits."""
    rounding: float
    """The largest difference of a logit between two orders of evaluating the same text."""

    @property
    def tie(self) -> bool:
        """Whether rounding can turn the choice round.

        Let a logit be off by at most r from one order of evaluation to another. Of two tokens, the one that
        is ahead by g may lose r, and the other one gain r: it falls behind where g <= 2 r, and only there.
        """
        return 0 < self.rounding < float("inf") and self.gap <= 2 * self.rounding


@dataclass(slots=True)
class CacheWatch:
    """Follows what the KV cache of one engine holds."""

    engine: Engine
    depth: SavedState | None = None
    """What each cold round finds in the cache, instead of nothing."""
    _held: list[int] | None = field(default_factory=list)
    """The ids that the cache can have; None where that is not known."""
    _specials: list[int] = field(default_factory=list)
    """What is put before a prompt, by ids."""
    _parts: dict[str, list[int]] = field(default_factory=dict)
    """Parts of chats by their text: as in any chat that goes on, what was said is not tokenized again."""

    @property
    def caching(self) -> CachingEngine | None:
        """The engine, if it keeps a cache and says what it reuses of it."""
        return self.engine if isinstance(self.engine, CachingEngine) else None

    def empty(self) -> None:
        """Have the cache hold nothing, or the depth."""
        self._parts.clear()
        if self.depth is not None and self.caching is not None:
            self.caching.restore_state(self.depth)
            self._held = list(self.depth.tokens)
            return
        self.engine.reset()
        self._held = []

    def deepen(self, tokens: Sequence[int], room: int) -> SavedState:
        """Have each cold round find *tokens* in the cache.

        :param room: tokens that have to fit into the context behind them.
        :raises EngineError: if the engine cannot keep the state of its cache.
        :raises PromptTooLongError: if they do not fit.
        """
        if self.caching is None:
            msg = "this backend cannot keep the state of its KV cache: depth is not possible"
            raise EngineError(msg)
        self._held = None
        self.caching.evaluate(tokens, room)
        self.depth = self.caching.save_state()
        self._held = list(self.depth.tokens)
        self._specials = self.engine.tokenize("")
        return self.depth

    def shallow(self) -> None:
        """Have each cold round find nothing in the cache again, and hold nothing now."""
        self.depth = None
        self.empty()

    def tokenize(self, text: str) -> list[int]:
        """The ids that a plain text has as a prompt, what lies before it in the cache left out.

        Below a depth no special token is put before it: the depth has it.
        """
        return self._without_specials(self.engine.tokenize(text))

    def prompt_of(
        self, text: str, messages: Sequence[Message] | None, answers: Sequence[Sequence[int]]
    ) -> list[int]:
        """The ids of a prompt, a depth in front of it included.

        :param messages: instead of *text*.
        :param answers: the ids of the assistant's messages, where they are known.
        """
        if messages is None:
            ids = self.tokenize(text)
        else:
            ids = self._without_specials(self.tokens_of(messages, answers))
        return ids if self.depth is None else [*self.depth.tokens, *ids]

    def _without_specials(self, ids: list[int]) -> list[int]:
        return ids if self.depth is None else ids[common_prefix(ids, self._specials) :]

    def tokens_of(self, messages: Sequence[Message], answers: Sequence[Sequence[int]]) -> list[int]:
        """The ids of a chat in which the assistant's messages are *answers*, by ids.

        So the prompt of a turn has the very tokens that were generated: text that is tokenized again may give
        others. Where the model's template does not keep the answers as they are, it is the text all the same.
        """
        caching = self.caching
        marked, marks = _marked(messages, len(answers)) if answers and caching is not None else ((), ())
        if caching is None or not marks:
            return self.engine.tokenize_rendered(self.engine.render_chat(messages))
        parts = _split(self.engine.render_chat(marked), marks)
        if parts is None:
            return self.engine.tokenize_rendered(self.engine.render_chat(messages))
        first, *others = parts
        ids = list(self._part(first, self.engine.tokenize_rendered))
        for answer, part in zip(answers, others, strict=True):
            ids += answer
            ids += self._part(part, caching.tokenize_part)
        return ids

    def _part(self, text: str, tokenize: Callable[[str], list[int]]) -> list[int]:
        if text not in self._parts:
            self._parts[text] = tokenize(text)
        return self._parts[text]

    def choice(
        self, prompt: Sequence[int], output: Sequence[int], tokens: Sequence[int], params: GenerationParams
    ) -> Choice | None:
        """How near two *tokens* are after *prompt* and *output*; None where the engine gives no logits.

        The gap is that of a prompt that is evaluated at once, as with an empty cache. In a conversation,
        what was generated came one by one: so the end of the prompt does when it is evaluated again, and what
        that changes is rounding. The cache is empty afterwards.
        """
        engine = self.engine
        if not isinstance(engine, GivesLogits):
            return None
        whole = [*prompt, *output]
        try:
            cold, other = (
                engine.logits(whole, at_once, params)
                for at_once in (len(prompt), max(1, len(prompt) - ONE_BY_ONE))
            )
        finally:
            self.empty()
        one, another = tokens
        moved = [abs(a - b) for a, b in zip(cold, other, strict=True) if isfinite(a) and isfinite(b)]
        return Choice(abs(cold[one] - cold[another]), max(moved, default=0.0))

    def lost(self) -> None:
        """What the cache holds is not known any more."""
        self._held = None

    def after(self, prompt: Sequence[int], output: Sequence[int]) -> Json:
        """What a generation could have reused, and what it did; the cache has it now.

        ``possible``: tokens at the beginning of *prompt* that the cache could have; ``break_at``: where the
        prompt left what it had, None if it did not; the others as in :class:`.Reuse`.
        """
        held, self._held = self._held, [*prompt, *output[:-1]]
        possible = break_at = None
        if held is not None:
            common = common_prefix(held, prompt)
            # The last token of the prompt is always evaluated: its logits are needed.
            possible = min(common, len(prompt) - 1)
            break_at = common if common < len(held) else None
        told: Json = {"tokens": None, "source": None, "reason": NOT_TOLD}
        if self.caching is not None:
            reuse = self.caching.reused()
            told = asdict(reuse)
        return {"possible": possible, "break_at": break_at, **told}


def _marked(messages: Sequence[Message], answers: int) -> tuple[list[Message], list[str]]:
    """The messages with marks in place of the first *answers* of the assistant, and the marks."""
    marks: list[str] = []
    found: list[Message] = []
    for message in messages:
        if message["role"] == "assistant" and len(marks) < answers:
            marks.append(_ANSWER.format(number=len(marks) + 1))
            message = Message(role="assistant", content=marks[-1])
        found.append(message)
    return found, marks


def _split(text: str, marks: Iterable[str]) -> list[str] | None:
    """The parts of a rendered chat between its marks; None if a mark is not there exactly once, in order."""
    parts: list[str] = []
    for mark in marks:
        if text.count(mark) != 1:
            return None
        before, _, text = text.partition(mark)
        parts.append(before)
    return [*parts, text]

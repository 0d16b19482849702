"""Did a warm cache change what the model generates?

At temperature 0 a turn has to be answered the same whether the cache had the beginning of its prompt or not.
Only equal prompts are held against each other: after an answer that differs, the prompts of later turns do.

An engine rounds a little differently when it evaluates more or fewer tokens at once, and where two tokens are
as good as equally likely, that decides. So where an answer leaves the other one, the engine is asked how far
the two tokens are apart with an empty cache, and how much it rounds there (:class:`.Choice`). Only what is
further apart than that accuses the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmbench import errors
from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.measure.engine import Generation
from pytest_llmbench.measure.kv_cache import Choice
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.run import Round

Weigh = Callable[[Plan, Sequence[int], tuple[int, int]], Choice | None]
"""Asks an engine how near two tokens are after the prompt of a plan and an output."""


class OutputDiffersError(errors.EngineError):
    """A warm cache changed what the model generates."""


@dataclass(frozen=True, slots=True)
class Output:
    """What was generated."""

    digest: str
    ids: tuple[int, ...] | None = None
    """With one that ended it; None where they are not known, as of a server."""

    @classmethod
    def of(cls, generation: Generation) -> Output:
        ids, end = generation.ids, generation.end
        return cls(generation.timeline.output_hash, ids if ids is None or end is None else (*ids, end))

    def leaves(self, other: Output) -> int | None:
        """The first token (from 1) at which it is another than *other*; None where the ids are not known."""
        if self.ids is None or other.ids is None:
            return None
        return common_prefix(self.ids, other.ids) + 1


@dataclass(slots=True)
class _Asked:
    """A warm turn whose cold output is not known, or is another."""

    warm: Round
    output: Output
    plan: Plan


@dataclass(slots=True)
class SameOutput:
    """Holds warm output against cold output, over all processes of one side of a case."""

    conversation: str
    differing: list[str] = field(default_factory=list)
    """The turns whose output was another, for a person."""
    ties: list[str] = field(default_factory=list)
    """Likewise those where it was rounding that decided."""
    unsteady: bool = False
    """Whether the engine gave two cold outputs for one prompt."""
    _unweighed: bool = False
    """Whether one of the differing ones is of an engine that does not tell how much it rounds."""
    _known: dict[str, Output] = field(default_factory=dict)
    """What a prompt, by its hash, was answered with a cold cache."""
    _open: list[_Asked] = field(default_factory=list)

    def asked(self, warm: Round, generation: Generation, plan: Plan, cold: Generation | None = None) -> None:
        """A turn was asked warm, by *plan*.

        :param cold: what it gave with an empty cache, if it was asked so.
        """
        if cold is not None and cold.timeline.prompt_hash == warm.timeline.prompt_hash:
            self._known[warm.timeline.prompt_hash] = Output.of(cold)
        output = Output.of(generation)
        if (
            known := self._known.get(warm.timeline.prompt_hash)
        ) is not None and known.digest == output.digest:
            _note(warm, same=True)
        else:
            self._open.append(_Asked(warm, output, plan))

    def settle(self, ask: Callable[[Plan], Generation], weigh: Weigh) -> None:
        """The process's rounds are over: ask cold what is not known, or was answered differently.

        What another process answered does not accuse this one, and neither does an engine that does not
        repeat itself.

        :param ask: asks this process for a generation that is not recorded.
        :param weigh: asks it how near two tokens are.
        """
        here: dict[str, Output] = {}
        weighed: dict[tuple[str, str], Choice | None] = {}
        differed = False
        asked, self._open = self._open, []
        for one in asked:
            prompt = one.warm.timeline.prompt_hash
            if prompt not in here:
                if differed and prompt not in self._known:
                    # Its prompt has an answer that should not be: what came of it says nothing more.
                    continue
                here[prompt] = Output.of(ask(replace(one.plan, prefix_cache=False)))
                self._known.setdefault(prompt, here[prompt])
                if one.output.digest != here[prompt].digest:
                    again = Output.of(ask(replace(one.plan, prefix_cache=False)))
                    self.unsteady = self.unsteady or again.digest != here[prompt].digest
            cold = here[prompt]
            if one.output.digest == cold.digest:
                _note(one.warm, same=True)
                continue
            key = (prompt, one.output.digest)
            if key not in weighed:
                weighed[key] = _weighed(one, cold, weigh)
            choice = weighed[key]
            tie = choice is not None and choice.tie
            _note(one.warm, same=False, tie=tie)
            differed = differed or not tie
            self._unweighed = self._unweighed or choice is None
            (self.ties if tie else self.differing).append(_where(one.warm, one.output.leaves(cold), choice))

    def forget(self) -> None:
        """The process failed: what it was not asked stays unknown."""
        self._open = []

    def check(self) -> None:
        """Raise if an output was another, and warn of those that rounding alone made another.

        :raises OutputDiffersError: saying at which turns.
        """
        if self.ties:
            number = len(self.ties)
            errors.warn(
                f"the conversation {self.conversation}: {number} warm turn{'s' if number > 1 else ''} had "
                "another answer than with an empty cache, because two tokens were nearly equally likely: "
                f"{errors.few(self.ties, 5)}. Rounding decides that, and not what the cache had; "
                "the document says which rounds it was (tie)"
            )
        if not self.differing:
            return
        if self.unsteady:
            why = "the engine does not repeat itself with an empty cache either, so the cache may be right"
        elif self._unweighed:
            why = (
                "either it reuses what it should not, or its numbers depend on how much of a prompt is "
                "evaluated at once"
            )
        else:
            why = "rounding does not explain that, so it reuses what it should not"
        msg = (
            f"the conversation {self.conversation}: at temperature 0, the model answers differently with a "
            f"warm cache than with a cold one: {errors.few(self.differing, 5)}; {why}. --llm-same-output=no "
            "lets it pass, and the document says which rounds it was (same_output)"
        )
        raise OutputDiffersError(msg)


def _where(warm: Round, token: int | None, choice: Choice | None) -> str:
    """``turn 3 (round 2) from its token 16 on (logits 0.002 apart, rounding 0.005)``."""
    turn = warm.turn
    assert turn is not None
    where = "" if token is None else f" from its token {token} on"
    again = "" if turn.repetition == 1 else f" (round {turn.repetition})"
    apart = (
        "" if choice is None else f" (logits {choice.gap:.3g} apart, rounding up to {choice.rounding:.3g})"
    )
    return f"turn {turn.turn}{again}{where}{apart}"


def _weighed(one: _Asked, cold: Output, weigh: Weigh) -> Choice | None:
    """How near the two tokens are at which the answers part; None where that is not known."""
    token = one.output.leaves(cold)
    if token is None or one.output.ids is None or cold.ids is None:
        return None
    common, index = one.output.ids[: token - 1], token - 1
    if index >= min(len(one.output.ids), len(cold.ids)):
        return None
    return weigh(one.plan, common, (one.output.ids[index], cold.ids[index]))


def _note(warm: Round, *, same: bool, tie: bool = False) -> None:
    assert warm.turn is not None
    warm.turn = replace(warm.turn, same_output=same, tie=tie)

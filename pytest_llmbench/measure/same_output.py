"""Did a warm cache change what the model generates?

At temperature 0 a turn has to be answered the same whether the cache had the beginning of its prompt or not.
Only equal prompts are held against each other: after an answer that differs, the prompts of later turns do.

An engine rounds a little differently when it evaluates more or fewer tokens at once, and where two tokens are
as good as equally likely, that decides. So where an answer leaves the other one, the engine is asked with an
empty cache for that token again, with more and more of the answer before it evaluated with the prompt. Should
it then take the warm answer's token too, the model hesitates there, and the cache is not to blame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pytest_llmbench import errors
from pytest_llmbench.backends.prefix import common_prefix
from pytest_llmbench.measure.engine import Generation
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.run import Round

_TRIES = 16
"""With how much more of an answer evaluated at once it is asked again for one token."""


class OutputDiffersError(errors.EngineError):
    """A warm cache changed what the model generates."""


@dataclass(frozen=True, slots=True)
class Output:
    """What was generated."""

    digest: str
    ids: tuple[int, ...] | None = None
    """None where they are not known, as of a server."""

    @classmethod
    def of(cls, generation: Generation) -> Output:
        return cls(generation.timeline.output_hash, generation.ids)

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
    hesitating: list[str] = field(default_factory=list)
    """Likewise those where the model takes either token with an empty cache too."""
    unsteady: bool = False
    """Whether the engine gave two cold outputs for one prompt."""
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

    def settle(self, ask: Callable[[Plan], Generation]) -> None:
        """The process's rounds are over: ask cold what is not known, or was answered differently.

        What another process answered does not accuse this one, and neither does an engine that does not
        repeat itself.

        :param ask: asks this process for a generation that is not recorded.
        """
        here: dict[str, Output] = {}
        either: dict[str, bool] = {}
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
                    either[prompt] = _takes_either(one, here[prompt], ask)
            cold = here[prompt]
            same = one.output.digest == cold.digest
            _note(one.warm, same=same)
            if not same:
                differed = True
                told = _where(one.warm, one.output.leaves(cold))
                (self.hesitating if either.get(prompt) else self.differing).append(told)

    def forget(self) -> None:
        """The process failed: what it was not asked stays unknown."""
        self._open = []

    def check(self) -> None:
        """Raise if an output was another, and warn of what rounding alone made another.

        :raises OutputDiffersError: saying at which turns.
        """
        if self.hesitating:
            errors.warn(
                f"the conversation {self.conversation}: at temperature 0, the model answers differently with "
                f"a warm cache: {errors.few(self.hesitating, 5)}. It is not the cache: two tokens are nearly "
                "as likely there, and with an empty cache, too, the engine takes either, depending on how "
                "much it evaluates at once"
            )
        if not self.differing:
            return
        why = (
            "the engine does not repeat itself with an empty cache either, so the cache may be right"
            if self.unsteady
            else "either it reuses what it should not, or its numbers depend on how much of a prompt is "
            "evaluated at once"
        )
        msg = (
            f"the conversation {self.conversation}: at temperature 0, the model answers differently with a "
            f"warm cache than with a cold one: {errors.few(self.differing, 5)}; {why}. --llm-same-output=no "
            "lets it pass, and the document says which rounds it was (same_output)"
        )
        raise OutputDiffersError(msg)


def _where(warm: Round, token: int | None) -> str:
    """``turn 3 (round 2) from its token 16 on``."""
    turn = warm.turn
    assert turn is not None
    where = "" if token is None else f" from its token {token} on"
    again = "" if turn.repetition == 1 else f" (round {turn.repetition})"
    return f"turn {turn.turn}{again}{where}"


def _takes_either(one: _Asked, cold: Output, ask: Callable[[Plan], Generation]) -> bool:
    """Whether with an empty cache, too, the warm answer's token comes where the answers part."""
    token, prompt = one.output.leaves(cold), one.plan.prompt
    if token is None or prompt is None or one.output.ids is None or len(one.output.ids) < token:
        return False
    wanted = one.output.ids[:token]
    for known in range(token - 1, max(-1, token - 1 - _TRIES), -1):
        plan = replace(
            one.plan,
            prefix_cache=False,
            prompt=replace(prompt, begun=wanted[:known]),
            params=replace(one.plan.params, max_new_tokens=token - known),
        )
        if known and ask(plan).ids == wanted[known:]:
            return True
    return False


def _note(warm: Round, *, same: bool) -> None:
    assert warm.turn is not None
    warm.turn = replace(warm.turn, same_output=same)

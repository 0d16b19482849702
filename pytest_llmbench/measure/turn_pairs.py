"""How are two engines measured against each other in a conversation?

A pair is two fresh processes, one of each side, that hold the conversation at the same time, turn by turn in
alternation: who is asked first is drawn for each turn, and for each way in which it is asked, by an
independent seeded coin. So each turn of it has a pair, of that turn's rounds on both sides.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmbench.measure.loop import Bench, EnginePool, Monitor, ProgressListener
from pytest_llmbench.measure.pairs import OTHER_WORK, SIDES, Pair, SideBySide, SideName
from pytest_llmbench.measure.run import ProcessRun
from pytest_llmbench.measure.same_output import SameOutput
from pytest_llmbench.measure.talk import ChatBench, Telling, Waiting
from pytest_llmbench.measure.turns import ChatPlan, ChatRun, TurnKey
from pytest_llmbench.metrics.row import Scope


@dataclass(slots=True)
class ChatSide:
    """What one side measures, and where it goes."""

    chat: ChatPlan
    run: ChatRun
    same: SameOutput = field(init=False)

    def __post_init__(self) -> None:
        self.same = SameOutput(self.chat.conversation.name)


class TurnPair(Pair):
    """The rounds of one turn on both sides."""

    __slots__ = ()

    @property
    def invalid(self) -> str | None:
        """As of :class:`.Pair`; a history of other answers has other lengths."""
        why = super().invalid
        if why is None or not why.startswith(OTHER_WORK):
            return why
        return f"{why}; with --llm-history=recorded the answers before a turn are the same on both sides"


class TurnPairs(SideBySide[ChatBench]):
    """Measures pair after pair of a conversation, and gives one for each of its turns.

    :param coin: as in :class:`.SideBySide`.
    """

    def __init__(
        self,
        base: ChatSide,
        now: ChatSide,
        pool: EnginePool,
        monitor: Monitor | None,
        progress: ProgressListener,
        *,
        coin: random.Random,
        wait: Waiting | None = None,
    ) -> None:
        super().__init__(coin)
        self._sides: dict[SideName, ChatSide] = {"base": base, "now": now}
        self._pool = pool
        self._monitor = monitor
        self._progress = progress
        self._wait = wait
        self.keys: list[TurnKey] = now.chat.keys
        """Which turn, and in which way, each pair of :meth:`pairs` is of."""

    def scopes(self, key: TurnKey) -> tuple[Scope, ...]:
        """Of which scopes a turn has metrics: what a process has itself counts for the first."""
        return ("round", "gap", "process") if key == self.keys[0] else ("round", "gap")

    def pairs(self) -> list[Pair]:
        """Measure the next pair: one of each of :attr:`keys`.

        :raises errors.EngineError: when an engine of either side fails.
        """
        self._both()
        base, now = (self._sides[name].run.runs for name in SIDES)
        return [
            TurnPair(base[key].processes[-1], now[key].processes[-1], self.alternating) for key in self.keys
        ]

    def check(self) -> None:
        """Raise if a warm cache changed what a side generated.

        :raises OutputDiffersError: saying at which turns.
        """
        for name in ("now", "base"):
            self._sides[name].same.check()

    def _processes(self, name: SideName) -> Sequence[ProcessRun]:
        return next(iter(self._sides[name].run)).processes

    def _kept(self) -> str:
        kept = sum(side.run.kept for side in self._sides.values())
        return f"{kept} measured turns of both sides are kept." if kept else ""

    def _open(self, name: SideName) -> ChatBench:
        side = self._sides[name]
        bench = Bench(side.chat.plan, self._pool, self._monitor, self._progress)
        label = f"pair {self._number}, {name}, {side.chat.plan.engine.label}"
        tell = Telling(self._progress, label, side.chat.turns)
        held = ChatBench(side.chat, bench, side.run, side.same, tell, self._wait)
        try:
            held.warm_up()
        except BaseException:
            held.close()
            raise
        return held

    def _alternate(self, opened: Mapping[SideName, ChatBench]) -> None:
        rounds = self._sides["now"].chat.plan.rounds
        for number in range(1, rounds + 1):
            held = {name: one.begin(number, rounds) for name, one in opened.items()}
            # Both sides are the same kind of engine or server, and take their turns in the same order.
            for _ in range(max(len(one) for one in held.values())):
                for name in self._drawn():
                    held[name].next()
        for one in opened.values():
            one.check()

    def _alone(self, name: SideName, opened: ChatBench) -> None:
        rounds = self._sides["now"].chat.plan.rounds
        for number in range(1, rounds + 1):
            opened.hold(number, rounds)
        opened.check()

"""What is measured of a conversation, and where does it go?

Each turn is a round, and has a run of its own: turns are never pooled, since their prompts differ. The first
turn finds an empty cache, whatever is asked; of the others

- ``cold``: the cache is empty before each of them;
- ``warm``: each finds what the turn before left;
- ``paired``: each is asked warm and then cold, and has a run for either.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import median_low
from typing import Literal, TypeAlias

from pytest_llmbench import errors
from pytest_llmbench.measure.loop import Plan
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.units import UNKNOWN, percent, seconds, times
from pytest_llmbench.workloads.scenarios.conversation import Conversation

Warmth = Literal["warm", "cold"]
TurnKey: TypeAlias = tuple[int, Warmth]
"""Which turn (from 1), and what it found in the cache."""

_OWN = ("rounds", "measured")
"""What of a process each turn has for itself."""


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """How one conversation is to be measured."""

    plan: Plan
    """What holds for each turn; its prompt is the turn's."""
    conversation: Conversation
    """Its texts are made by the engine, where they are to be made."""
    cache: Literal["cold", "warm", "paired"] = "warm"
    same_output: bool = True
    """Whether it fails if a warm turn generates something else than the cold one, at temperature 0."""
    whole: bool = True
    """Whether all turns are known; False for one that a test holds turn by turn."""

    @property
    def turns(self) -> int:
        """How many it has."""
        return len(self.conversation.turns)

    @property
    def keys(self) -> list[TurnKey]:
        """Everything that is measured of it, in this order."""
        return [(turn, way) for turn in range(1, self.turns + 1) for way in self.ways(turn)]

    def ways(self, turn: int) -> Sequence[Warmth]:
        """How a turn is asked, in this order."""
        if turn == 1 or self.cache == "cold":
            return ("cold",)
        # The cold one comes last: it leaves what the next warm one is to find, and the warm one needs what
        # the turn before left.
        return ("warm", "cold") if self.cache == "paired" else ("warm",)

    @property
    def checks(self) -> bool:
        """Whether warm output is held against cold output."""
        return self.same_output and self.plan.params.temperature == 0

    def of_turn(self, turn: int) -> Plan:
        """The plan of a turn (from 1), without its prompt."""
        tokens = self.conversation.turns[turn - 1].max_new_tokens
        params = self.plan.params
        return replace(
            self.plan,
            params=params if tokens is None else replace(params, max_new_tokens=tokens),
            turn=True,
        )

    def protocol(self, turn: int, way: Warmth) -> dict[str, object]:
        """How a turn was measured, for the results document: cases compare only if these are equal."""
        conversation = self.conversation
        plan = replace(self.of_turn(turn), prefix_cache=way == "warm")
        # Of what a test makes up as it goes, what comes later says nothing of this turn.
        known = conversation.documents if self.whole else any(one.add for one in conversation.turns[:turn])
        return {
            **plan.protocol(),
            "chat": True,
            "conversation": conversation.name,
            # What a test makes up as it goes is known by the prompts of its rounds.
            "prompts": conversation.digest if self.whole else None,
            "task": conversation.task,
            "turn": turn,
            "turns": self.turns if self.whole else None,
            "cache": self.cache,
            "history": conversation.history,
            "placement": conversation.placement if known else None,
            "think_time": conversation.turns[turn - 1].think_time or None,
        }


@dataclass(slots=True, repr=False)
class ChatRun:
    """What ``llm_chat.run`` returns: a run of each turn, and of each way in which it was asked."""

    conversation: str
    turns: int = 0
    runs: dict[TurnKey, Run] = field(default_factory=dict)
    """By turn (from 1) and way; each is a case of its own in the results. The first turn is cold."""
    _record: ProcessRun | None = None
    """Of the process that is measured now."""
    _parts: dict[TurnKey, ProcessRun] = field(default_factory=dict)
    """What each turn has of it."""

    @classmethod
    def of(cls, chat: ChatPlan, label: str, ending: str = "") -> ChatRun:
        """One in which nothing is measured yet.

        :param label: stands before those of its runs, and *ending* after them.
        """
        run = cls(chat.conversation.name)
        run.extend(chat, label, ending)
        return run

    def extend(self, chat: ChatPlan, label: str, ending: str = "") -> list[Run]:
        """Have runs for the turns of *chat* that it has none for; returns these."""
        added = []
        for turn, way in chat.keys:
            if (turn, way) not in self.runs:
                how = " cold" if way == "cold" and turn > 1 else ""
                run = Run(f"{label} turn {turn}{how}{ending}", chat.protocol(turn, way))
                self.runs[turn, way] = run
                added.append(run)
        self.turns = max(self.turns, chat.turns)
        return added

    def __repr__(self) -> str:
        return f"<ChatRun {self.conversation}: {self.turns} turns>"

    def __str__(self) -> str:
        """A table with a line for each turn: what its cache had, and what that saved."""
        lines = [
            (f"{self.conversation}: turn", "prompt", "cached/possible", "ttft cold", "ttft warm", "speedup")
        ]
        for number in range(1, self.turns + 1):
            warm, cold = self.runs.get((number, "warm")), self.runs.get((number, "cold"))
            shown = warm or cold
            if shown is not None:
                prompts = [r.timeline.prompt_tokens for r in shown if r.timeline.prompt_tokens]
                cached, possible = (_median(shown, name) for name in ("cached_tokens", "cached_possible"))
                lines.append(
                    (
                        str(number),
                        _count(median_low(prompts) if prompts else None),
                        f"{_count(cached)}/{_count(possible)}",
                        seconds(_median(cold, "ttft")),
                        seconds(_median(warm, "ttft")),
                        times(_median(warm, "cache_speedup")),
                    )
                )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(map(str.rjust, line, widths)) for line in lines]
        rate = self.cache_hit_rate
        return "\n".join([*table, *([] if rate is None else [f"hit rate {percent(rate)}"])])

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs.values())

    def turn(self, number: int, cache: Warmth | None = None) -> Run:
        """What was measured of a turn, from 1; of one that was asked both ways, the warm one.

        The first turn is the same either way: nothing was in the cache.

        :raises errors.UsageError: if it was not asked so.
        """
        ways: Sequence[Warmth] = ("warm", "cold") if cache is None or number == 1 else (cache,)
        found = next((self.runs[number, way] for way in ways if (number, way) in self.runs), None)
        if found is None:
            how = "" if cache is None else f" with a {cache} cache"
            there = f"it has turns 1 to {self.turns}" if self.turns else "it has no turn yet"
            msg = f"the conversation {self.conversation} was not measured at turn {number!r}{how}; {there}"
            raise errors.UsageError(msg)
        return found

    @property
    def cache_hit_rate(self) -> float | None:
        """Cached tokens over prompt tokens, summed over the rounds of all turns, the warm ones where there
        are any; None where it is not known."""
        all_turns = [self.turn(number) for number in range(1, self.turns + 1)]
        return Run("", {}, [p for run in all_turns for p in run.processes]).value("cache_hit_rate")

    @property
    def kept(self) -> int:
        """How many turns were measured."""
        return sum(len(run.rounds) for run in self)

    # -- what is measured -------------------------------------------------------------------

    def begin(self, record: ProcessRun) -> None:
        """The rounds of this process come next."""
        self._record, self._parts = record, {}

    def add(self, measured: Round, text: str) -> None:
        """One turn was asked, and *text* is what it answered."""
        assert measured.turn is not None
        assert self._record is not None
        key: TurnKey = (measured.turn.turn, "warm" if measured.turn.cache == "warm" else "cold")
        run = self.runs[key]
        if key not in self._parts:
            self._parts[key] = replace(self._record, rounds=[], measured={})
            run.processes.append(self._parts[key])
        self._parts[key].rounds.append(measured)
        run.text = text if run.text is None else run.text

    def end(self) -> None:
        """The process is over: what is known of it alone goes to the first turn, so that it counts once."""
        record, parts = self._record, self._parts
        if record is None:
            return
        if not parts and self.runs:
            next(iter(self)).processes.append(replace(record, rounds=[]))
        for part in parts.values():
            for one in fields(record):
                if one.name not in _OWN:
                    setattr(part, one.name, getattr(record, one.name))
        if parts:
            next(iter(parts.values())).measured = dict(record.measured)
        self._record, self._parts = None, {}


def _median(run: Run | None, metric: str) -> float | None:
    found = None if run is None else run.metric(metric)
    return found.median if found is not None and found.n else None


def _count(tokens: float | None) -> str:
    return UNKNOWN if tokens is None else f"{tokens:.10g}"

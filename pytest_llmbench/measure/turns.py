"""In which order is everything done when a conversation is measured?

For each process: load, warm-up, then the conversation from its first turn to its last, ``rounds`` times. Each
turn of it is a round, and has a run of its own: turns are never pooled, since their prompts differ.

- ``cold``: the cache is empty before each turn.
- ``warm``: it is empty before the first turn; each other one finds what the turn before left.
- ``paired``: each turn is asked warm and then cold. At temperature 0 both generate the same, so that the cold
  one leaves in the cache what the warm one had left, and the next turn finds that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median_low
from typing import Literal

from pytest_llmbench import errors
from pytest_llmbench.measure.engine import Generation, Prompt
from pytest_llmbench.measure.facts import TurnFacts
from pytest_llmbench.measure.loop import Bench, EnginePool, Monitor, Plan, ProgressListener
from pytest_llmbench.measure.run import ProcessRun, Round, Run
from pytest_llmbench.metrics.units import UNKNOWN, percent, seconds, times
from pytest_llmbench.workloads.scenarios.conversation import Conversation, messages_at

Warmth = Literal["warm", "cold"]
_BOTH: tuple[Warmth, Warmth] = ("warm", "cold")
_SEEDS = 1000
"""Seeds apart for the texts of one conversation: no two texts of a case have the same."""


class OutputDiffersError(errors.EngineError):
    """A warm cache changed what the model generates."""


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

    @property
    def ways(self) -> Sequence[Warmth]:
        """How each turn is asked, in this order."""
        return _BOTH if self.cache == "paired" else (self.cache,)

    @property
    def checks(self) -> bool:
        """Whether warm output is held against cold output."""
        return self.same_output and self.cache != "cold" and self.plan.params.temperature == 0

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
        return {
            **plan.protocol(),
            "chat": True,
            "conversation": conversation.name,
            "prompts": conversation.digest,
            "task": conversation.task,
            "turn": turn,
            "turns": len(conversation.turns),
            "cache": self.cache,
            "history": conversation.history,
            "placement": conversation.placement if conversation.documents else None,
            "think_time": conversation.turns[turn - 1].think_time or None,
        }


@dataclass(slots=True, repr=False)
class ChatRun:
    """What ``llm_chat.run`` returns: a run of each turn, and of each way in which it was asked."""

    conversation: str
    turns: int
    runs: dict[tuple[int, Warmth], Run]
    """By turn (from 1) and way; each is a case of its own in the results."""

    @classmethod
    def of(cls, chat: ChatPlan, label: str) -> ChatRun:
        """One in which nothing is measured yet; *label* stands before those of its runs."""
        numbers = range(1, len(chat.conversation.turns) + 1)
        return cls(
            chat.conversation.name,
            len(numbers),
            {
                (number, way): Run(
                    f"{label} turn {number}{' cold' if way == 'cold' else ''}", chat.protocol(number, way)
                )
                for number in numbers
                for way in chat.ways
            },
        )

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
                cached, possible = (_median(warm, name) for name in ("cached_tokens", "cached_possible"))
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

    def turn(self, number: int, cache: Warmth | None = None) -> Run:
        """What was measured of a turn, from 1; of one that was asked both ways, the warm one.

        :raises errors.UsageError: if it was not asked so.
        """
        ways: Sequence[Warmth] = _BOTH if cache is None else (cache,)
        found = next((self.runs[number, way] for way in ways if (number, way) in self.runs), None)
        if found is None:
            how = "" if cache is None else f" with a {cache} cache"
            msg = f"the conversation {self.conversation} was not measured at turn {number}{how}"
            raise errors.UsageError(msg)
        return found

    @property
    def cache_hit_rate(self) -> float | None:
        """Cached tokens over prompt tokens, summed over the warm rounds of all turns."""
        warm = Run("", {}, [p for (_, way), run in self.runs.items() if way == "warm" for p in run.processes])
        return warm.value("cache_hit_rate")

    def take(self, record: ProcessRun) -> None:
        """Give each turn its rounds of a process; what the process has itself goes to the first turn."""
        parts: dict[tuple[int, Warmth], list[Round]] = {}
        for one in record.rounds:
            assert one.turn is not None
            parts.setdefault((one.turn.turn, "warm" if one.turn.cache == "warm" else "cold"), []).append(one)
        own: Mapping[str, float | None] = record.measured
        for key in self.runs:
            if key in parts:
                self.runs[key].processes.append(replace(record, rounds=parts[key], measured=dict(own)))
                own = {}


def _median(run: Run | None, metric: str) -> float | None:
    found = None if run is None else run.metric(metric)
    return found.median if found is not None and found.n else None


def _count(tokens: float | None) -> str:
    return UNKNOWN if tokens is None else f"{tokens:.10g}"


@dataclass(slots=True)
class Talk:
    """One time that a conversation is held with an engine."""

    chat: ChatPlan
    bench: Bench
    conversation: Conversation
    """With its texts made."""
    repetition: int
    """From 1; 0 for a warm-up, which is not recorded."""
    _texts: list[str] = field(default_factory=list)
    _ids: list[tuple[int, ...]] = field(default_factory=list)

    def turn(self, number: int, ways: Sequence[Warmth]) -> Iterator[tuple[Generation, Round | None]]:
        """Ask turn *number* in each of *ways*; its answer is the first one's."""
        live = self.conversation.history == "live"
        prompt = Prompt(
            messages=messages_at(self.conversation, number, self._texts),
            answers=tuple(self._ids) if live and len(self._ids) == number - 1 else (),
        )
        plan = replace(self.chat.of_turn(number), prompt=prompt)
        for place, way in enumerate(ways):
            cold = way == "cold" or number == 1
            asked = replace(plan, prefix_cache=not cold)
            if self.repetition:
                measured, generation = self.bench.round(asked)
                measured.turn = TurnFacts(
                    conversation=self.conversation.name,
                    turn=number,
                    repetition=self.repetition,
                    cache=way,
                    think_time=self.conversation.turns[number - 1].think_time,
                )
            else:
                measured, generation = None, self.bench.warm_up(asked)
            if not place:
                self._texts.append(generation.text)
                if generation.ids is not None:
                    self._ids.append(generation.ids)
            yield generation, measured


class Waiting:
    """Lets think time pass."""

    def __call__(self, seconds: float) -> None:
        import time

        time.sleep(seconds)


class Telling:
    """Tells a person which turn is asked."""

    def __init__(self, progress: ProgressListener, label: str, turns: int) -> None:
        self._progress, self._label, self._turns = progress, label, turns
        self.process, self.processes = 1, 1

    def __call__(self, number: int, rounds: int, turn: int, *, warmup: bool = False) -> None:
        label = f"{self._label}, turn {turn}/{self._turns}"
        self._progress.round(label, self.process, self.processes, number, max(number, rounds), warmup=warmup)


@dataclass(slots=True)
class ChatBench:
    """One engine process with which a conversation is held."""

    chat: ChatPlan
    bench: Bench
    wait: Waiting
    references: dict[int, str]
    """By turn, the hash of what was generated with a cold cache; of all processes of a case."""
    differing: list[str] = field(default_factory=list)
    """Turns whose warm output differed from the cold one, for a person."""
    _filled: Conversation = field(init=False)

    def __post_init__(self) -> None:
        seed = self.chat.plan.params.seed * _SEEDS
        self._filled = self.chat.conversation.fill(
            lambda tokens, number: self.bench.text_of(tokens, seed + number)
        )

    def warm_up(self, tell: Telling) -> None:
        """Hold the conversation without recording it.

        The first time of a case that checks warm output, it is held cold, to know what is to come.
        """
        rounds = self.chat.plan.warmup_rounds
        cold = self.chat.checks and self.chat.cache == "warm" and not self.references
        for number in range(1, max(rounds, int(cold)) + 1):
            talk = Talk(self.chat, self.bench, self._filled, 0)
            for turn in range(1, len(self._filled.turns) + 1):
                tell(number, rounds, turn, warmup=True)
                for generation, _ in talk.turn(turn, ("cold",) if cold else self.chat.ways):
                    if cold:
                        self.references[turn] = generation.timeline.output_hash
            cold = False

    def hold(self, repetition: int, rounds: int, tell: Telling) -> None:
        """Hold the conversation once; each turn is a round in the record the moment it is over."""
        talk = Talk(self.chat, self.bench, self._filled, repetition)
        for turn in range(1, len(self._filled.turns) + 1):
            tell(repetition, rounds, turn)
            think = self._filled.turns[turn - 1].think_time
            if turn > 1 and think:
                self.wait(think)
            found = [measured for _, measured in talk.turn(turn, self.chat.ways) if measured is not None]
            self._compare(turn, found)

    def _compare(self, turn: int, found: Sequence[Round]) -> None:
        """Hold the warm round of a turn against the cold one."""
        by_way = {one.turn.cache: one for one in found if one.turn is not None}
        warm, cold = by_way.get("warm"), by_way.get("cold")
        if warm is None or warm.turn is None:
            return
        if cold is not None and turn > 1:
            cold_ttft, warm_ttft = cold.value("ttft"), warm.value("ttft")
            if cold_ttft is not None and warm_ttft:
                warm.measured["cache_speedup"] = cold_ttft / warm_ttft
        expected = self.references.get(turn) if cold is None else cold.timeline.output_hash
        if not self.chat.checks or expected is None:
            return
        same = warm.timeline.output_hash == expected
        warm.turn = replace(warm.turn, same_output=same)
        if not same:
            self.differing.append(f"turn {turn} (repetition {warm.turn.repetition})")


def measure_chat(
    chat: ChatPlan,
    run: ChatRun,
    pool: EnginePool,
    monitor: Monitor | None,
    progress: ProgressListener,
    wait: Waiting | None = None,
) -> None:
    """Measure a conversation into *run*.

    :raises errors.EngineError: when the engine fails; *run* keeps every turn until then.
    :raises OutputDiffersError: at the end, if a warm turn generated something else than the cold one.
    """
    plan = chat.plan
    references: dict[int, str] = {}
    differing: list[str] = []
    tell = Telling(progress, plan.engine.label, len(chat.conversation.turns))
    for process in range(1, plan.processes + 1):
        tell.process, tell.processes = process, plan.processes
        bench = Bench(plan, pool, monitor, progress)
        try:
            held = ChatBench(chat, bench, wait or Waiting(), references, differing)
            held.warm_up(tell)
            for number in range(1, plan.rounds + 1):
                held.hold(number, plan.rounds, tell)
        except errors.LLMBenchError as error:
            kept = sum(len(one.rounds) for one in run.runs.values()) + len(bench.record.rounds)
            error.add_note(f"{kept} measured turns are kept." if kept else "Nothing was measured.")
            raise
        finally:
            try:
                bench.close()
            finally:
                run.take(bench.record)
    if differing:
        raise OutputDiffersError(_differs(chat.conversation.name, differing))


def _differs(name: str, turns: Sequence[str]) -> str:
    return (
        f"the conversation {name}: at temperature 0, a warm cache changed what is generated, at "
        f"{errors.few(turns)}: the cache is wrong, or its numbers are just different enough; compare outputs "
        "with --llm-cache=paired, or let it pass with --llm-same-output=no"
    )

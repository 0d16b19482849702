"""In which order is everything done when a conversation is measured?

For each process: load, warm-up, then the conversation from its first turn to its last, ``rounds`` times. Each
turn of it is a round. When they are over, what the warm turns generated is held against what they generate
with an empty cache, where that is not known already.

A turn that is asked both ways is asked warm first: it needs what the turn before left. The cold one evaluates
the same prompt, and leaves what the next turn is to find. On a server where a cold prompt has to have words
of its own, all turns are asked warm before any is asked cold, and their outputs do not compare.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pytest_llmbench import errors
from pytest_llmbench.measure.engine import Generation, Prompt
from pytest_llmbench.measure.facts import TurnFacts
from pytest_llmbench.measure.loop import Bench, EnginePool, Monitor, Plan, ProgressListener
from pytest_llmbench.measure.run import ProcessRun, Round
from pytest_llmbench.measure.same_output import SameOutput
from pytest_llmbench.measure.turns import ChatPlan, ChatRun, Warmth
from pytest_llmbench.workloads.scenarios.conversation import Conversation, messages_at

_SEEDS = 1000
"""Seeds apart for the texts of one conversation: no two texts of a case have the same."""


class Waiting:
    """Lets think time pass."""

    def __call__(self, seconds: float) -> None:
        time.sleep(seconds)


class Telling:
    """Tells a person which turn is asked."""

    def __init__(self, progress: ProgressListener, label: str, turns: int | None) -> None:
        self._progress, self._label = progress, label
        self._of = "" if turns is None else f"/{turns}"
        self.process, self.processes = 1, 1

    def __call__(self, number: int, rounds: int, turn: int, *, warmup: bool = False) -> None:
        label = f"{self._label}, turn {turn}{self._of}"
        self._progress.round(label, self.process, self.processes, number, max(number, rounds), warmup=warmup)

    def checking(self) -> None:
        """Turns are asked cold, to hold their output against the warm one."""
        self._progress.asking(self._label, "comparing warm output with cold output")


@dataclass(slots=True)
class Talk:
    """One time that a conversation is held with an engine."""

    bench: Bench
    repetition: int
    """From 1; 0 for a warm-up, which is not recorded."""
    wait: Waiting
    _texts: dict[int, str] = field(default_factory=dict)
    _ids: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _answered: float = 0.0
    """When the last answer was there, in seconds of the monotonic clock."""

    def plan(self, chat: ChatPlan, number: int, way: Warmth) -> Plan:
        """The plan of turn *number* of *chat*, whose texts are made and of which all turns before it were
        asked."""
        conversation, before = chat.conversation, range(1, number)
        texts = [self._texts[turn] for turn in before]
        known = conversation.history == "live" and all(turn in self._ids for turn in before)
        prompt = Prompt(
            messages=messages_at(conversation, number, texts),
            answers=tuple(self._ids[turn] for turn in before) if known else (),
        )
        warm, first = way == "warm", number == 1
        return replace(chat.of_turn(number), prompt=prompt, prefix_cache=warm, begins=first)

    def ask(
        self, chat: ChatPlan, number: int, way: Warmth, plan: Plan | None = None
    ) -> tuple[Generation, Round | None]:
        """Ask turn *number* by *plan*, by default :meth:`plan`; its answer stands in the turns after it."""
        plan = plan or self.plan(chat, number, way)
        think = chat.conversation.turns[number - 1].think_time
        measured: Round | None = None
        if self.repetition:
            if number > 1 and think and (left := self._answered + think - time.monotonic()) > 0:
                self.wait(left)
            measured, generation = self.bench.round(plan)
            measured.turn = TurnFacts(
                conversation=chat.conversation.name,
                turn=number,
                repetition=self.repetition,
                cache=way,
                think_time=think if number > 1 else 0.0,
            )
        else:
            generation = self.bench.warm_up(plan)
        self._answered = time.monotonic()
        # What was asked last is in the cache. Should the answers differ, the history goes on with that one;
        # of a server, which may keep cold prompts apart, with the warm one.
        if number not in self._texts or generation.ids is not None:
            self._texts[number] = generation.text if generation.answer is None else generation.answer
            if generation.ids is not None:
                self._ids[number] = generation.ids
        return generation, measured


class ChatBench:
    """One engine process with which conversations are held, and where its rounds go.

    :param chat: its texts are made here.
    :param same: of all processes of a side.
    """

    def __init__(
        self,
        chat: ChatPlan,
        bench: Bench,
        run: ChatRun,
        same: SameOutput,
        tell: Telling,
        wait: Waiting | None = None,
    ) -> None:
        self.bench = bench
        self.same = same
        self._run = run
        self._tell = tell
        self._wait = wait or Waiting()
        run.begin(bench.record)
        try:
            self.chat = replace(chat, conversation=self.fill(chat.conversation))
        except BaseException:
            self.close()
            raise

    @property
    def record(self) -> ProcessRun:
        """The process's, with the rounds of all turns."""
        return self.bench.record

    def fill(self, conversation: Conversation, before: int = 0) -> Conversation:
        """The conversation with its texts made, by the engine's tokenizer.

        :param before: how many texts it had before these.
        """
        seed = self.bench.plan.params.seed * _SEEDS + before
        return conversation.fill(lambda tokens, number: self.bench.text_of(tokens, seed + number))

    def talk(self, repetition: int) -> Talk:
        """Begin the conversation."""
        return Talk(self.bench, repetition, self._wait)

    def warm_up(self) -> None:
        """Hold the conversation without recording it."""
        rounds = self.chat.plan.warmup_rounds
        for number in range(1, rounds + 1):
            talk = self.talk(0)
            for turn in range(1, self.chat.turns + 1):
                self._tell(number, rounds, turn, warmup=True)
                for way in self.chat.ways(turn):
                    talk.ask(self.chat, turn, way)

    def begin(self, repetition: int, rounds: int) -> Holding:
        """Begin to hold the conversation, for whoever wants to say when each of its turns is asked."""
        return Holding(self, repetition, rounds)

    def hold(self, repetition: int, rounds: int) -> None:
        """Hold the conversation once."""
        held = self.begin(repetition, rounds)
        for _ in range(len(held)):
            held.next()

    def turn(self, talk: Talk, number: int, chat: ChatPlan | None = None) -> list[tuple[Round, Generation]]:
        """Ask a turn in each of its ways, as :meth:`one` does, and :meth:`compare` them."""
        chat = chat or self.chat
        if len(ways := chat.ways(number)) > 1 and self.bench.own_words:
            msg = (
                "on this server, cache=paired is for whole conversations (llm_chat.run): a cold turn has "
                "words of its own before it, and could push out what the next turn is to find"
            )
            raise errors.UsageError(msg)
        asked = [self.one(talk, number, way, chat) for way in ways]
        self.compare(asked, chat)
        return [(measured, generation) for measured, generation, _ in asked]

    def one(
        self, talk: Talk, number: int, way: Warmth, chat: ChatPlan | None = None
    ) -> tuple[Round, Generation, Plan]:
        """Ask a turn in one way; it is in its run the moment it is over."""
        chat = chat or self.chat
        plan = talk.plan(chat, number, way)
        generation, measured = talk.ask(chat, number, way, plan)
        assert measured is not None
        self._run.add(measured, generation.text)
        return measured, generation, plan

    def compare(self, asked: Sequence[tuple[Round, Generation, Plan]], chat: ChatPlan | None = None) -> None:
        """Hold what :meth:`one` returned of a turn's ways against each other."""
        chat = chat or self.chat
        by_way = {one[2].prefix_cache: one for one in asked}
        if True not in by_way:
            return
        warm, generation, plan = by_way[True]
        cold = by_way.get(False)
        if cold is not None:
            cold_ttft, warm_ttft = cold[0].value("ttft"), warm.value("ttft")
            if cold_ttft is not None and warm_ttft:
                warm.measured["cache_speedup"] = cold_ttft / warm_ttft
        if chat.checks and not self.bench.own_words:
            self.same.asked(warm, generation, plan, None if cold is None else cold[1])

    def tell(self, repetition: int, rounds: int, turn: int) -> None:
        """Say to a person which turn is asked."""
        self._tell(repetition, rounds, turn)

    def check(self) -> None:
        """The rounds are over: find out what is not known of their cold output."""
        self.bench.rounds_over()

        def ask(plan: Plan) -> Generation:
            self._tell.checking()
            return self.bench.warm_up(plan)

        self.same.settle(ask, self.bench.choice)

    def close(self) -> None:
        """Give the engine back; the run has all that is known of the process then."""
        self.same.forget()
        try:
            self.bench.close()
        finally:
            self._run.end()


class Holding:
    """A conversation that is being held once: :meth:`next` asks the next turn, in the next of its ways."""

    def __init__(self, held: ChatBench, repetition: int, rounds: int) -> None:
        self._held = held
        self._repetition, self._rounds = repetition, rounds
        self._talk = held.talk(repetition)
        self._asked: dict[int, list[tuple[Round, Generation, Plan]]] = {}
        keys = held.chat.keys
        if held.bench.own_words:
            # First all turns in the first of their ways.
            keys = sorted(keys, key=lambda key: held.chat.ways(key[0]).index(key[1]))
        self._left = deque(keys)

    def __len__(self) -> int:
        """How many are left."""
        return len(self._left)

    def next(self) -> None:
        """Ask the next one."""
        turn, way = self._left.popleft()
        self._held.tell(self._repetition, self._rounds, turn)
        asked = self._asked.setdefault(turn, [])
        asked.append(self._held.one(self._talk, turn, way))
        if len(asked) == len(self._held.chat.ways(turn)):
            self._held.compare(asked)


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
    same = SameOutput(chat.conversation.name)
    tell = Telling(progress, plan.engine.label, chat.turns)
    for process in range(1, plan.processes + 1):
        tell.process, tell.processes = process, plan.processes
        held: ChatBench | None = None
        try:
            held = ChatBench(chat, Bench(plan, pool, monitor, progress), run, same, tell, wait)
            held.warm_up()
            for number in range(1, plan.rounds + 1):
                held.hold(number, plan.rounds)
            held.check()
        except errors.LLMBenchError as error:
            error.add_note(f"{run.kept} measured turns are kept." if run.kept else "Nothing was measured.")
            raise
        finally:
            if held is not None:
                held.close()
    same.check()

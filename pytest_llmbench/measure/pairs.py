"""How are two engines measured against each other, so that the machine's mood hits both?

A pair is two fresh processes, one of each side, that live at the same time and take their rounds in
alternation; who goes first is drawn for each round by an independent seeded coin, which makes a
sign-flip test exact whatever the machine does meanwhile (Fisher's randomisation argument). Measured
on a quiet machine, the differences within such pairs spread by 3.3%, those of whole processes one
after the other by 7.3%.

Where memory, the host's or a GPU's, does not hold both, the two processes come one after the other, in
drawn order, and the pair says so.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Generic, Literal, Protocol, TypeVar

from pytest_llmbench import errors
from pytest_llmbench.backends.cpu_time import thread_counts, why_incomparable
from pytest_llmbench.hardware.gpus import free_memory
from pytest_llmbench.hardware.memory import available
from pytest_llmbench.measure.loop import Bench, EnginePool, Monitor, Plan, ProgressListener
from pytest_llmbench.measure.run import ProcessRun, Round, Run, unknown_of
from pytest_llmbench.metrics.row import Scope
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.metrics.timeline import Untimed
from pytest_llmbench.metrics.values import process_values

KEEP_AT_LEAST = 0.5
"""Of a pair's rounds: with fewer undisturbed ones the whole pair is dropped."""
HEADROOM = 1.2
"""Free memory that a second process must find, in sizes of the first."""

OTHER_WORK = "the two sides did not do the same work"

SideName = Literal["base", "now"]
SIDES: tuple[SideName, SideName] = ("base", "now")


class MeasuredPair(Protocol):
    """One measurement of each side, as the gate takes it."""

    @property
    def invalid(self) -> str | None:
        """Why the sides cannot be compared at all, in words; None if they can."""

    @property
    def incomparable(self) -> str | None:
        """Why CPU times of the sides do not compare beside other load; None if they do."""

    @property
    def burden(self) -> tuple[float, float]:
        """How much of others' load each side bore, (base, now): shares from 0 to 1."""

    @property
    def unlike(self) -> str | None:
        """Why the same load of others is not the same for both sides, where that is known beforehand."""

    def dropped(self, metric: str, *, disturbed: bool = False) -> str | None:
        """The reason codes, joined by ``+``, if so much was disturbed that a metric's difference is not to be
        taken; its timing has no say.

        :param disturbed: what was disturbed is taken too; there may be a reason still.
        """

    def value(self, side: SideName, metric: str, *, disturbed: bool = False) -> float | None:
        """What one side had, in the metric's unit; None where it was not measured.

        :param disturbed: take what was disturbed too.
        """

    def unknown(self, metric: str) -> Untimed | None:
        """Why a side has no value, as a key of :data:`.UNTIMED`, where that is known."""

    def difference(self, metric: str, *, disturbed: bool = False) -> float | None:
        """Log ratio of the sides, oriented so that positive is worse; None where there is none."""


class PairSource(Protocol):
    """What measures pair after pair."""

    scopes: tuple[Scope, ...]
    """Of which scopes its pairs have the metrics."""

    @property
    def order(self) -> str | None:
        """How the sides of a pair came, for the report; None where they alternated round by round."""

    def pair(self) -> MeasuredPair:
        """Measure the next pair."""


class PairsSource(Protocol):
    """What measures pairs of several runs at once, such as the turns of a conversation."""

    @property
    def order(self) -> str | None:
        """As of :class:`PairSource`."""

    def pairs(self) -> Sequence[MeasuredPair]:
        """Measure the next pair of each, always in the same order."""


@dataclass(slots=True)
class Pair:
    """One process of each side, and their rounds side by side."""

    base: ProcessRun
    now: ProcessRun
    alternating: bool
    """False where one process came after the other."""

    def kept(self, metric: str, *, disturbed: bool = False) -> list[tuple[Round, Round]]:
        """The rounds of both sides, (base, now), where neither was disturbed so that it reaches the metric.

        :param disturbed: all of them.
        """
        both = zip(self.base.rounds, self.now.rounds, strict=False)
        return [
            (b, n)
            for b, n in both
            if disturbed or not (self.base.marks(b, metric) or self.now.marks(n, metric))
        ]

    def dropped(self, metric: str, *, disturbed: bool = False) -> str | None:
        """The reason codes if less than half of the rounds are left for a metric."""
        rounds = min(len(self.base.rounds), len(self.now.rounds))
        if disturbed or len(self.kept(metric)) >= KEEP_AT_LEAST * rounds:
            return None
        codes = {code for p in (self.base, self.now) for r in p.rounds for code in p.marks(r, metric)}
        return "+".join(sorted(codes))

    @property
    def incomparable(self) -> str | None:
        """What the engine of a side says of its CPU time."""
        return incomparable_of((self.base, self.now))

    @property
    def burden(self) -> tuple[float, float]:
        """Of the time that a side's threads wanted a CPU, the share that they waited for one.

        Where the kernel does not tell it, the share of its rounds that were disturbed.
        """
        waited = (_waited(self.base), _waited(self.now))
        if waited[0] is not None and waited[1] is not None:
            return waited[0], waited[1]
        return disturbed_share(self.base), disturbed_share(self.now)

    @property
    def unlike(self) -> str | None:
        """That the sides have other numbers of threads: with more of them, one is more likely held up."""
        counts = [thread_counts(p.engine) for p in (self.base, self.now)]
        both = ([those.get(name) for those in counts] for name in counts[0] | counts[1])
        base, now = next((pair for pair in both if pair[0] != pair[1]), (None, None))
        if base == now:
            return None
        return f"the base side has {base} and the new side {now} threads, which other load does not hit alike"

    @property
    def invalid(self) -> str | None:
        """Why the sides cannot be compared: figures that cannot be right, or other work."""
        for side, process in (("base", self.base), ("new", self.now)):
            if (why := next((r.invalid for r in process.rounds if r.invalid is not None), None)) is not None:
                return f"on the {side} side, {why}"
        if self.same_work:
            return None
        return f"{OTHER_WORK}: other prompt or output lengths"

    @property
    def same_work(self) -> bool:
        """Whether both sides took prompts of equal length and generated equally many tokens, round by round.

        How long a prompt with words of its own is does not matter.
        """
        both = zip(self.base.rounds, self.now.rounds, strict=False)
        return all(_work_of(base) == _work_of(now) for base, now in both)

    def unknown(self, metric: str) -> Untimed | None:
        """Why a side has no value, where that is known."""
        return unknown_of((self.base, self.now), metric)

    def value(self, side: SideName, metric: str, *, disturbed: bool = False) -> float | None:
        """Median over one side's rounds or gaps that count, or the process's own value."""
        kept = self.kept(metric, disturbed=disturbed)
        rounds = [base if side == "base" else now for base, now in kept]
        values = process_values(metric, self.base if side == "base" else self.now, rounds)
        return median(values) if values else None

    def difference(self, metric: str, *, disturbed: bool = False) -> float | None:
        """Median over the rounds of log(now / base), oriented so that positive is worse.

        Of what is not one of a round, that of the sides' values. None where the sides have no value above 0.
        """
        sign = METRICS[metric].sign
        if METRICS[metric].scope != "round":
            base_value = self.value("base", metric, disturbed=disturbed)
            now_value = self.value("now", metric, disturbed=disturbed)
            if base_value is None or now_value is None or min(base_value, now_value) <= 0:
                return None
            return sign * math.log(now_value / base_value)
        logs = [
            sign * math.log(now / base)
            for b, n in self.kept(metric, disturbed=disturbed)
            if (base := b.value(metric) or 0) > 0 and (now := n.value(metric) or 0) > 0
        ]
        return median(logs) if logs else None


def _work_of(measured: Round) -> tuple[int | None, int]:
    """Tokens of a round: of its prompt, where they are to be the same on both sides, and of its output."""
    line = measured.timeline
    return None if measured.own_words else line.prompt_tokens, line.output_tokens


def _waited(process: ProcessRun) -> float | None:
    """The share of the time in which its threads wanted a CPU that they had none; None if it is not known."""
    had = waited = 0.0
    for r in process.rounds:
        if r.cpu_wait is None or (per_token := r.value("cpu_time_per_token")) is None:
            return None
        waited += r.cpu_wait
        had += per_token * r.timeline.output_tokens
    return waited / (waited + had) if waited + had > 0 else None


def disturbed_share(process: ProcessRun, metric: str = "") -> float:
    """The share of its rounds that count and were disturbed; so that it reaches *metric*, if one is given."""
    counted = [r for r in process.rounds if r.counted]
    return sum(bool(process.marks(r, metric)) for r in counted) / len(counted) if counted else 0.0


def incomparable_of(sides: Sequence[ProcessRun]) -> str | None:
    """What the first of *sides* whose CPU time does not compare says of it; None if all compare."""
    return next((why for p in sides if (why := why_incomparable(p.engine)) is not None), None)


@dataclass(slots=True)
class Side:
    """What one side measures, and where it goes."""

    plan: Plan
    run: Run


class Opened(Protocol):
    """A process of one side, ready for its rounds."""

    @property
    def record(self) -> ProcessRun: ...

    def close(self) -> None: ...


OpenedT = TypeVar("OpenedT", bound=Opened)


class SideBySide(ABC, Generic[OpenedT]):
    """Has a process of each side at once, as long as memory holds both.

    :param coin: decides who goes first. Each measurement needs one of its own: were it the same in all,
        what the order does would come again in each and not average out.
    """

    def __init__(self, coin: random.Random) -> None:
        self._coin = coin
        self._number = 0
        """Of the pair, from 1."""
        self.alternating = True
        """False from the first pair on that memory did not hold at once."""

    @property
    def order(self) -> str | None:
        """How the processes of a pair came; None where they alternated."""
        return None if self.alternating else "one after the other: memory does not hold both"

    @abstractmethod
    def _open(self, name: SideName) -> OpenedT:
        """Start the next process of a side, and warm it up."""

    @abstractmethod
    def _alternate(self, opened: Mapping[SideName, OpenedT]) -> None:
        """Take the rounds of both, in alternation."""

    @abstractmethod
    def _alone(self, name: SideName, opened: OpenedT) -> None:
        """Take the rounds of one."""

    @abstractmethod
    def _processes(self, name: SideName) -> Sequence[ProcessRun]:
        """Those of a side so far, as far as they have values of their own."""

    @abstractmethod
    def _kept(self) -> str:
        """What of both sides is kept, for a person; empty for nothing."""

    def _drawn(self) -> tuple[SideName, SideName]:
        """Who goes first, and who comes then."""
        return ("base", "now") if self._coin.random() < 0.5 else ("now", "base")

    def _both(self) -> dict[SideName, OpenedT]:
        """A process of each side, measured and over.

        :raises errors.EngineError: when an engine of either side fails.
        """
        self._number += 1
        first, second = self._drawn()
        opened: dict[SideName, OpenedT] = {}
        try:
            free = free_memory() if self.alternating else []
            opened[first] = self._open(first)
            self.alternating = (
                self.alternating
                and room_for_another(opened[first].record)
                and gpus_hold_another(free, free_memory(), self._peak_vram(second))
            )
            if self.alternating:
                opened[second] = self._open(second)
                self._alternate(opened)
            else:
                self._alone(first, opened[first])
                opened[first].close()
                opened[second] = self._open(second)
                self._alone(second, opened[second])
        except errors.LLMBenchError as error:
            error.add_note(self._kept() or "Nothing was measured.")
            raise
        finally:
            with ExitStack() as closing:
                for one in opened.values():
                    closing.callback(one.close)
        return opened

    def _peak_vram(self, name: SideName) -> int | None:
        """What earlier processes of a side took of all GPUs at most; None where that is not known."""
        known = [p.peak_vram for p in self._processes(name) if p.peak_vram is not None]
        return int(max(known)) if known else None


class PairedBench(SideBySide[Bench]):
    """Measures pair after pair of *base* and *now*.

    The processes are in the sides' runs from their start, so that a failure loses no round.

    :param coin: as in :class:`SideBySide`.
    """

    scopes: tuple[Scope, ...] = ("round", "gap", "process")

    def __init__(
        self,
        base: Side,
        now: Side,
        pool: EnginePool,
        monitor: Monitor | None,
        progress: ProgressListener,
        *,
        coin: random.Random,
    ) -> None:
        super().__init__(coin)
        self._sides: dict[SideName, Side] = {"base": base, "now": now}
        self._pool = pool
        self._monitor = monitor
        self._progress = progress

    def pair(self) -> Pair:
        """Measure the next pair.

        :raises errors.EngineError: when an engine of either side fails.
        """
        benches = self._both()
        return Pair(benches["base"].record, benches["now"].record, self.alternating)

    def _processes(self, name: SideName) -> Sequence[ProcessRun]:
        return self._sides[name].run.processes

    def _kept(self) -> str:
        kept = sum(len(side.run.rounds) for side in self._sides.values())
        return f"{kept} measured rounds of both sides are kept." if kept else ""

    def _open(self, name: SideName) -> Bench:
        side = self._sides[name]
        bench = Bench(side.plan, self._pool, self._monitor, self._progress)
        side.run.processes.append(bench.record)
        for number in range(1, side.plan.warmup_rounds + 1):
            self._tell(name, number, side.plan.warmup_rounds, warmup=True)
            bench.warm_up()
        return bench

    def _alternate(self, opened: Mapping[SideName, Bench]) -> None:
        for number in range(1, self._sides["now"].plan.rounds + 1):
            for name in self._drawn():
                self._round(name, opened[name], number)

    def _alone(self, name: SideName, opened: Bench) -> None:
        for number in range(1, self._sides["now"].plan.rounds + 1):
            self._round(name, opened, number)

    def _round(self, name: SideName, bench: Bench, number: int) -> None:
        side = self._sides[name]
        self._tell(name, number, self._sides["now"].plan.rounds)
        _, generation = bench.round()
        side.run.text = generation.text if side.run.text is None else side.run.text

    def _tell(self, name: SideName, number: int, rounds: int, *, warmup: bool = False) -> None:
        label = f"pair {self._number}, {name}, {self._sides[name].plan.engine.label}"
        self._progress.round(label, 1, 1, number, rounds, warmup=warmup)


def room_for_another(record: ProcessRun) -> bool:
    """Whether the memory of this machine and of its control groups holds a second process like *record*'s.

    Asked while that one is loaded. Where neither can be told, it is taken to hold.
    """
    import psutil

    try:
        needed = psutil.Process(record.pid).memory_info().rss
        return available() > HEADROOM * needed
    except psutil.Error:
        return True


def gpus_hold_another(
    before: Sequence[int | None], after: Sequence[int | None], peak: int | None = None
) -> bool:
    """Whether the GPUs' memory holds a second process beside one that was just loaded.

    *before* and *after* its loading are the free bytes of each GPU: a second one is taken to need as
    much of each. *peak* is what a process of the other side is known to need of all together. What
    cannot be told is taken to hold.
    """
    known = [(b - a, a) for b, a in zip(before, after, strict=False) if b is not None and a is not None]
    used = [(taken, free) for taken, free in known if taken > 0]
    if any(free <= HEADROOM * taken for taken, free in used):
        return False
    room = sum(free for _, free in used or known)
    return peak is None or not known or room > HEADROOM * peak

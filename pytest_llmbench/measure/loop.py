"""In which order is everything done when a case is measured?

For each process: load, warm-up rounds, measured rounds. Each round: empty the caches, read the
energy counters, generate, read them again. Whatever was measured is in the run the moment it is
known, so that a failure later loses none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Protocol

from pytest_llmbench import errors
from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.hardware.facts import Energy, HardwareSummary
from pytest_llmbench.hardware.monitor import Edge
from pytest_llmbench.measure.engine import Depth, EngineHandle, Generation, Prompt
from pytest_llmbench.measure.kv_cache import Choice
from pytest_llmbench.measure.rounds import round_of, tell_cache
from pytest_llmbench.measure.run import MONITOR_OFF, ProcessRun, Round, Run
from pytest_llmbench.models.spec import ModelSpec, ResolvedModel, spec_of
from pytest_llmbench.models.synthetic.shapes import is_synthetic
from pytest_llmbench.workloads.needle import Needle


class Monitor(Protocol):
    """What the loop needs of the hardware monitor."""

    def follow(self, pid: int) -> None: ...

    def unfollow(self, pid: int) -> None: ...

    def edge(self) -> Edge: ...

    def energy(self, start: Edge, end: Edge) -> Energy: ...

    def disturbance(self, start_ns: int, end_ns: int) -> tuple[str, ...] | None: ...

    def unwatched(self, start_ns: int, end_ns: int) -> str | None: ...

    def summary(self, start_ns: int, end_ns: int) -> HardwareSummary: ...

    def peak_rss_of(self, pid: int) -> int | None: ...


class Startable(Protocol):
    """What can be measured: an engine to load, or a server that runs. Equal ones can share a process."""

    @property
    def label(self) -> str: ...

    @property
    def model(self) -> ResolvedModel | ModelSpec: ...

    @property
    def options(self) -> Mapping[str, object]: ...

    def told(self) -> Mapping[str, object]:
        """What of the plan's protocol holds otherwise for it; known when it was asked."""

    def start(
        self, isolation: str, timeout: float | None, started: Callable[[int], None]
    ) -> EngineHandle: ...


class ProgressListener(Protocol):
    """Where a person sees what is going on; told between rounds only."""

    def loading(self, label: str) -> None: ...

    def asking(self, label: str, what: str) -> None: ...

    def round(
        self,
        label: str,
        process: int,
        processes: int,
        round: int,  # noqa: A002  # the vocabulary's word
        rounds: int,
        warmup: bool = False,
        tokens_per_second: float | None = None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How one case is to be measured."""

    engine: Startable
    params: GenerationParams
    rounds: int = 5
    warmup_rounds: int = 1
    processes: int = 1
    timeout: float | None = None
    """Seconds for one load or one generation."""
    isolation: str = "test"
    prefix_cache: bool = False
    """Leave the KV cache of the round before, as a chat application would."""
    begins: bool = False
    """It is cold, and those after it that are not find what it left, and nothing from before it."""
    turn: bool = False
    """It is a turn of a conversation: a generation says which tokens came, and a round what the cache had."""
    prompt: Prompt | None = None
    prompt_tokens: int | None = None
    """Instead of ``prompt``: a text of exactly so many tokens."""
    task: str | None = None
    """What kind of work it is; None where nothing is said of it."""
    before: str = ""
    """What the text of ``prompt_tokens`` begins with: what is to be done with the rest."""
    needle: float | None = None
    """Where in the text of ``prompt_tokens`` a fact stands that is asked for, from 0 to 1."""
    depth: int = 0
    """Tokens that lie in the KV cache before the prompt, made once for each process."""

    def protocol(self) -> dict[str, object]:
        """How it was measured, for the results document: cases compare only if these are equal."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "chat": self.prompt is not None and self.prompt.messages is not None,
            **asdict(self.params),
            "rounds": self.rounds,
            "warmup_rounds": self.warmup_rounds,
            "processes": self.processes,
            "isolation": self.isolation,
            "prefix_cache": self.prefix_cache,
            **({} if self.task is None else {"task": self.task}),
            **({"depth": self.depth} if self.depth else {}),
            **({} if self.needle is None else {"needle": self.needle}),
            "timeout": self.timeout,
            "options": dict(self.engine.options),
            **self.engine.told(),
        }


class EnginePool:
    """Gives each measurement the engine that its isolation asks for.

    With ``test`` an engine is fresh and ends with its use; with ``model`` and ``none`` the last
    one is kept for as long as consecutive cases ask for the same.
    """

    def __init__(self) -> None:
        self._kept: EngineHandle | None = None
        self._kept_for: tuple[str, Startable] | None = None
        self._followed: dict[EngineHandle, tuple[Monitor | None, list[int]]] = {}

    def acquire(
        self, plan: Plan, progress: ProgressListener, monitor: Monitor | None
    ) -> tuple[EngineHandle, bool]:
        """An engine, and whether it was loaded for this call.

        The monitor follows its process from the first moment to the last: neither what a start takes
        nor what an end takes is the load of others.
        """
        wanted = (plan.isolation, plan.engine)
        if plan.isolation != "test" and self._kept is not None and self._kept_for == wanted:
            self._kept.renew()
            return self._kept, False
        self.close()
        progress.loading(plan.engine.label)
        started: list[int] = []

        def follow(pid: int) -> None:
            started.append(pid)
            if monitor is not None:
                monitor.follow(pid)

        try:
            engine = plan.engine.start(plan.isolation, plan.timeout, follow)
        except BaseException:
            _unfollow(monitor, started)
            raise
        self._followed[engine] = (monitor, started)
        if plan.isolation != "test":
            self._kept, self._kept_for = engine, wanted
        return engine, True

    def release(self, engine: EngineHandle, *, failed: bool = False) -> None:
        """Give an engine back; one that failed is never used again."""
        if engine is self._kept and not failed:
            return
        if engine is self._kept:
            self._kept = self._kept_for = None
        self._end(engine)

    def close(self) -> None:
        """End the engine that is kept, if there is one."""
        kept, self._kept, self._kept_for = self._kept, None, None
        if kept is not None:
            self._end(kept)

    def _end(self, engine: EngineHandle) -> None:
        try:
            engine.close()
        finally:
            _unfollow(*self._followed.pop(engine, (None, ())))


def _unfollow(monitor: Monitor | None, pids: Sequence[int]) -> None:
    if monitor is not None:
        for pid in pids:
            monitor.unfollow(pid)


@dataclass(slots=True)
class Bench:
    """One engine in use: it does rounds and puts them into a process's record."""

    plan: Plan
    pool: EnginePool
    monitor: Monitor | None
    progress: ProgressListener
    record: ProcessRun = field(init=False)
    _engine: EngineHandle = field(init=False)
    _made: dict[tuple[int, int, bool, str], Prompt] = field(init=False, default_factory=dict)
    _depth: int = field(init=False, default=0)
    """What the engine was last deepened to; the pool gives it with none."""
    _lies: Depth | None = field(init=False, default=None)
    """What lies in the cache before the prompt."""
    _edges: list[tuple[Edge, Edge]] = field(init=False, default_factory=list)
    """The monitor's, of each round."""
    _failed: bool = field(init=False, default=False)
    _closed: bool = field(init=False, default=False)
    _over: bool = field(init=False, default=False)
    """Whether what comes is not of its rounds any more."""

    def __post_init__(self) -> None:
        self._engine, fresh = self.pool.acquire(self.plan, self.progress, self.monitor)
        loaded = self._engine.loaded
        self.record = ProcessRun(
            pid=loaded.pid,
            engine=loaded.engine,
            versions=loaded.versions,
            measured={"load_time": loaded.load_time if fresh else None},
            unwatched=MONITOR_OFF if self.monitor is None else None,
        )

    def warm_up(self, plan: Plan | None = None) -> Generation:
        """One generation that is not part of a round.

        :param plan: what to ask, if not what the bench was made for; the engine stays.
        """
        plan = plan or self.plan
        with self._asking():
            prompt = self._ready(plan, timed=False)
            return self._engine.generate(prompt, plan.params, keep_ids=plan.turn)

    def choice(self, plan: Plan, output: Sequence[int], tokens: tuple[int, int]) -> Choice | None:
        """As :meth:`.EngineHandle.choice`, for the prompt of *plan*."""
        with self._asking():
            return self._engine.choice(self._prompt(plan), plan.params, output, tokens)

    @property
    def own_words(self) -> bool:
        """Whether cold prompts have words of their own; see :attr:`.EngineHandle.own_words`."""
        return self._engine.own_words

    def text_of(self, tokens: int, seed: int) -> str:
        """A made text of *tokens* tokens, as the engine's tokenizer counts them."""
        with self._asking():
            return self._engine.prompt_of_tokens(tokens, seed).text or ""

    def round(self, plan: Plan | None = None) -> tuple[Round, Generation]:
        """One measured round; it is in the record when this returns.

        :param plan: what to ask, if not what the bench was made for; the engine stays.
        """
        plan = plan or self.plan
        with self._asking():
            prompt = self._ready(plan)
            start = self.monitor.edge() if self.monitor is not None else None
            generation = self._engine.generate(prompt, plan.params, keep_ids=plan.turn)
            end = self.monitor.edge() if self.monitor is not None else None
            reuse = self._engine.reuse(generation)
        measured = round_of(generation)
        # What was to be cold and was not says so all the same, and so does what cannot be.
        if reuse is not None and (
            plan.turn or plan.prefix_cache or plan.depth or reuse.tokens or reuse.doubt is not None
        ):
            tell_cache(measured, reuse, self._lies, warm=plan.prefix_cache)
        if self.monitor is not None and start is not None and end is not None:
            measured.measured["energy"] = self.monitor.energy(start, end).joules
            self._edges.append((start, end))
        if plan.needle is not None:
            found = self._needle(plan).found_in(generation.text)
            # Random weights know nothing: that they do not find it says nothing of them.
            synthetic = is_synthetic(spec_of(plan.engine.model).name)
            measured.measured["needle_recall"] = None if synthetic else float(found)
        self.record.rounds.append(measured)
        self._keep_peak(generation.peak_rss)
        return measured, generation

    def rounds_over(self) -> None:
        """All rounds are measured: what else the engine is asked counts for nothing, its memory neither."""
        if not self._over and self.monitor is not None and self.record.rounds:
            self._take_peak(self.monitor)
        self._over = True

    def close(self) -> None:
        """Give the engine back, and take what the monitor saw of its rounds. Once is enough."""
        if self._closed:
            return
        self._closed = True
        self.record.settle()
        try:
            if self.monitor is not None and self.record.rounds:
                self._take_hardware(self.monitor)
        finally:
            self.pool.release(self._engine, failed=self._failed)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """An engine that fails now is never used again."""
        try:
            yield
        except BaseException:
            self._failed = True
            raise

    def _take_hardware(self, monitor: Monitor) -> None:
        record = self.record
        # Only now: a round is judged by the samples on both its sides, and so is its power.
        methods: set[str] = set()
        for measured, (start, end) in zip(record.rounds, self._edges, strict=True):
            energy = monitor.energy(start, end)
            measured.measured["energy"] = energy.joules
            if energy.method is not None:
                methods.add(energy.method)
        judge(record, monitor)
        summary = monitor.summary(record.rounds[0].timeline.sent, record.rounds[-1].timeline.done)
        if methods:
            # The process's own energy may be known otherwise: its span is longer.
            summary = replace(summary, methods={**summary.methods, "energy": "+".join(sorted(methods))})
        record.hardware = summary
        if not self._over:
            self._take_peak(monitor)
        record.measured["peak_vram"] = summary.peak_vram

    def _take_peak(self, monitor: Monitor) -> None:
        if self.plan.isolation == "test":
            # With other isolations the peak may be that of another test, or of pytest itself.
            self._keep_peak(monitor.peak_rss_of(self.record.pid))

    def _keep_peak(self, rss: int | None) -> None:
        known = [value for value in (self.record.measured.get("peak_rss"), rss) if value is not None]
        self.record.measured["peak_rss"] = max(known, default=None)

    def _ready(self, plan: Plan, *, timed: bool = True) -> Prompt:
        """Everything that has to be done before a generation, and its prompt."""
        if plan.depth != self._depth:
            if plan.depth:
                self.progress.asking(plan.engine.label, f"{plan.depth} tokens into its KV cache")
            asked = 1 if plan.prompt_tokens is None else plan.prompt_tokens
            room = asked + plan.params.max_new_tokens
            # A text of its own: the prompt must not begin as what lies before it does.
            self._lies = self._engine.deepen(plan.depth, plan.params.seed + 1, room)
            self._depth = plan.depth
        prompt = self._prompt(plan)
        self._engine.prepare(cold=not plan.prefix_cache, begins=plan.begins, timed=timed)
        return prompt

    def _prompt(self, plan: Plan) -> Prompt:
        if plan.prompt is not None:
            return plan.prompt
        if plan.prompt_tokens is None:
            msg = "a measurement needs a prompt, messages, or prompt_tokens=N"
            raise errors.UsageError(msg)
        if plan.needle is not None:
            hidden = self._needle(plan).in_haystack(plan.prompt_tokens, plan.needle, self.text_of)
            return Prompt(text=hidden)
        # Below a depth no special token is counted: it needs a text of its own.
        key = (plan.prompt_tokens, plan.params.seed, plan.depth > 0, plan.before)
        if key not in self._made:
            self._made[key] = self._engine.prompt_of_tokens(
                plan.prompt_tokens, plan.params.seed, *([plan.before] if plan.before else [])
            )
        return self._made[key]

    def _needle(self, plan: Plan) -> Needle:
        """That of the next round: another in each, and the same in each process and session."""
        return Needle.drawn(plan.params.seed, plan.prompt_tokens, plan.needle, len(self.record.rounds))


def measure(
    plan: Plan, run: Run, pool: EnginePool, monitor: Monitor | None, progress: ProgressListener
) -> None:
    """Measure *plan* into *run*.

    :raises errors.EngineError: when the engine fails; *run* keeps every round until then.
    """
    for process in range(1, plan.processes + 1):
        bench = Bench(plan, pool, monitor, progress)
        run.processes.append(bench.record)
        tell = partial(progress.round, plan.engine.label, process, plan.processes)
        speed: float | None = None
        try:
            for number in range(1, plan.warmup_rounds + 1):
                tell(number, plan.warmup_rounds, warmup=True)
                bench.warm_up()
            for number in range(1, plan.rounds + 1):
                tell(number, plan.rounds, tokens_per_second=speed)
                measured, generation = bench.round()
                speed = measured.value("decode_throughput")
                run.text = generation.text if run.text is None else run.text
        except errors.LLMBenchError as error:
            kept = len(run.rounds)
            error.add_note(
                f"{kept} measured rounds of this case are kept." if kept else "Nothing was measured."
            )
            raise
        finally:
            bench.close()


def judge(record: ProcessRun, monitor: Monitor, span: int | None = None) -> None:
    """Note of each round what else the machine did meanwhile.

    :param span: ns; rounds are judged by the spans of that length that they touch, each judged once: a load
        level has thousands, and they overlap. None judges each by its own time.
    """
    if not record.rounds:
        return
    begin = min(r.timeline.sent for r in record.rounds)
    end = max(r.timeline.done for r in record.rounds)
    judged: dict[tuple[int, int], tuple[str, ...] | None] = {}
    for measured in record.rounds:
        sent, done = measured.timeline.sent, measured.timeline.done
        spans = [(sent, done)]
        if span is not None:
            # Not beyond the first and the last of all: there was no watch, and none was needed.
            spans = [
                (max(n * span, begin), min((n + 1) * span, end))
                for n in range(sent // span, done // span + 1)
            ]
        codes: set[str] = set()
        known = True
        for one in spans:
            if one not in judged:
                judged[one] = monitor.disturbance(*one)
                if judged[one] is None:
                    record.unwatched = record.unwatched or monitor.unwatched(*one)
                    record.watch_lost = True
            known = known and judged[one] is not None
            codes.update(judged[one] or ())
        measured.disturbance = tuple(sorted(codes)) if codes or known else None

"""What is the model that a test measures, and what can the test ask of it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pytest_llmbench.bench.measurement import Measurement, ModelFixture
from pytest_llmbench.cases.need import of_prompt, of_texts
from pytest_llmbench.errors import LLMBenchError, UsageError, suggest, warn
from pytest_llmbench.gate.ab import BASE_SUFFIX
from pytest_llmbench.measure.engine import Prompt
from pytest_llmbench.measure.loop import Bench, Plan, measure
from pytest_llmbench.measure.pairs import PairedBench, Side
from pytest_llmbench.measure.run import Round, Run
from pytest_llmbench.metrics.table import METRICS
from pytest_llmbench.workloads.lengths import LONGEST
from pytest_llmbench.workloads.messages import Message
from pytest_llmbench.workloads.tasks import TASKS, TaskName, task_of

if TYPE_CHECKING:
    from pytest_llmbench.gate.pairing import Pairing
    from pytest_llmbench.results.verdict import Judgment

FIRST_LABEL = "default"
GENERATE_LABEL = "generate"


@dataclass(frozen=True, slots=True, repr=False)
class Generated:
    """What ``llm_model.generate`` returns: the text, and the round that recorded it.

    Each metric of a round is an attribute: ``generated.ttft`` (seconds).
    """

    text: str
    round: Round

    def __repr__(self) -> str:
        return f"<Generated {len(self.text)} characters: {self.round!r}>"

    def __getattr__(self, name: str) -> float | None:
        if name in METRICS:
            return self.round.value(name)
        msg = f"a generation has no metric {name!r}; it has {', '.join(self.round.values)}"
        raise AttributeError(msg)


@dataclass(frozen=True, slots=True)
class TwoPass:
    """Latencies estimated without looking at single tokens, as a cross-check of the timeline.

    ``ttft`` is the median time of a whole generation of one token, ``tpot`` what each further
    token added: (time of N tokens - time of one) / (N - 1), from medians. Both in seconds.
    """

    ttft: float
    tpot: float
    one: Run
    full: Run


@dataclass(slots=True, repr=False)
class LLMModel(ModelFixture):
    """The fixture ``llm_model``: one model on one backend, ready to be measured."""

    fixture = "llm_model"

    _benchmark: Callable[[], Any] = lambda: None
    """pytest-benchmark's fixture, where the test has it."""
    _generator: Bench | None = None
    _generate_run: Run | None = None
    _benchmark_rounds: list[int] = field(default_factory=list)
    _settled: bool = False
    """Whether the rounds that count are known: a verdict needs them before the test's end does."""

    def measure(
        self,
        prompt: str | Sequence[Message] | None = None,
        *,
        prompt_tokens: int | None = None,
        task: TaskName | None = None,
        label: str | None = None,
        **settings: object,
    ) -> Run:
        """Warm up and measure ``rounds`` generations in each of ``processes`` fresh processes.

        :param prompt: a text, or chat messages for the model's own template.
        :param prompt_tokens: instead of a prompt: a made text of exactly so many tokens.
        :param task: instead of a prompt: ``text-generation``, ``summarization`` or ``question-answering``,
            with one of the package's own texts, which the seed chooses; with *prompt_tokens*, a made text
            stands in its place, and the whole has exactly so many tokens.
        :param label: names this measurement, where a test makes several.
        :param settings: what is measured in this call (``max_new_tokens``, ``temperature``, ...), and how
            often (``rounds``, ``processes``, ...) where the command line does not set that. The reference of
            settings says of each whether a call can set it.
        :raises LLMBenchError: if the prompt, the model or the engine fails; rounds that were
            measured until then are kept.
        """
        __tracebackhide__ = True
        try:
            plan = self._plan(prompt, prompt_tokens, settings, task)
            self._stop_generator()
            run = Run(free_label(label, self.runs), plan.protocol())
            measured = Measurement(run)
            self.measurements.append(measured)
            try:
                if (pairing := self._runtime.pairing) is not None:
                    measured.paired = self._measure_pairs(pairing, plan, run)
                else:
                    measure(plan, run, self._runtime.pool, self._runtime.loop_monitor, self._runtime.progress)
            finally:
                run.protocol = {**run.protocol, **plan.engine.told()}
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._runtime.progress.done()
        for told in run.doubts if run.invalid is None else [run.invalid, *run.doubts]:
            warn(f"{self._case.id}: {told}")
        return run

    def generate(
        self,
        prompt: str | Sequence[Message] | None = None,
        *,
        prompt_tokens: int | None = None,
        **settings: object,
    ) -> Generated:
        """One generation, recorded as one round; no warm-up of ours comes before it.

        All calls of a test use one engine, and their rounds make up one case. Under
        pytest-benchmark (``benchmark(llm_model.generate, "...")``) the case has the rounds that
        pytest-benchmark measured: its calibration and warm-up are left out.

        :raises LLMBenchError: as :meth:`measure`.
        """
        __tracebackhide__ = True
        try:
            plan = self._plan(prompt, prompt_tokens, settings)
            if self._generator is None:
                self._generate_run = Run(GENERATE_LABEL, plan.protocol())
                self.measurements.append(Measurement(self._generate_run))
                self._generator = Bench(
                    plan, self._runtime.pool, self._runtime.loop_monitor, self._runtime.progress
                )
                self._generate_run.processes.append(self._generator.record)
            measured, generation = self._generator.round(plan)
            if self._generate_run is not None:
                self._generate_run.protocol = {**self._generate_run.protocol, **plan.engine.told()}
        except LLMBenchError as error:
            raise error.with_traceback(None) from None
        finally:
            self._runtime.progress.done()
        if self._generate_run is not None and self._generate_run.text is None:
            self._generate_run.text = generation.text
        self._benchmark_rounds.append(_rounds_so_far(self._benchmark()))
        return Generated(generation.text, measured)

    def two_pass(
        self,
        prompt: str | Sequence[Message] | None = None,
        *,
        prompt_tokens: int | None = None,
        task: TaskName | None = None,
        **settings: object,
    ) -> TwoPass:
        """Estimate TTFT and TPOT from whole generations of one token and of ``max_new_tokens``.

        Where a server ends before it was to, its generations have as many tokens as came.
        """
        import statistics

        __tracebackhide__ = True
        full = self.measure(prompt, prompt_tokens=prompt_tokens, task=task, label="two-pass-full", **settings)
        tokens = statistics.median(r.timeline.output_tokens for r in full.rounds)
        if tokens < 2:
            msg = (
                "two_pass() needs generations of 2 tokens at least, since one token has no next one: "
                f"max_new_tokens is {full.protocol['max_new_tokens']}, and {tokens:g} came"
            )
            raise UsageError(msg)
        one = self.measure(
            prompt,
            prompt_tokens=prompt_tokens,
            task=task,
            label="two-pass-one",
            **{**settings, "max_new_tokens": 1},
        )
        first, whole = one.metric("e2e_latency").median, full.metric("e2e_latency").median
        return TwoPass(first, (whole - first) / (tokens - 1), one, full)

    def finish(self) -> None:
        """The test is over: stop the engine and settle which rounds count; once is enough."""
        self._stop_generator()
        benchmark = self._benchmark()
        if self._generate_run is None or benchmark is None or not benchmark.stats or self._settled:
            return
        self._settled = True
        rounds = self._generate_run.rounds
        kept = measured_calls(self._benchmark_rounds, _rounds_so_far(benchmark), benchmark.stats.iterations)
        for process in self._generate_run.processes:
            process.rounds = [rounds[index] for index in kept]
        self._generate_run.protocol = {**self._generate_run.protocol, "rounds": len(kept)}
        benchmark.extra_info.update(
            model=self.name, backend=self.backend, quantization=self.quantization or "default"
        )
        for name, summary in self._generate_run.metrics.items():
            benchmark.extra_info[name] = summary.median

    def _measure_pairs(self, pairing: Pairing, plan: Plan, run: Run) -> tuple[Judgment, ...]:
        base = pairing.base
        if plan.isolation != "test":
            msg = f"isolation={plan.isolation!r} keeps one process; --llm-ab needs isolation='test'"
            raise UsageError(msg)
        options, target = self._options, self._case.target
        other = target.base_startable(self._case.spec, options, base, self._runtime)
        base_plan = replace(plan, engine=other)
        base_run = Run(f"{run.label}{BASE_SUFFIX}", {**base_plan.protocol(), "ab": base.to_json()})
        base_run.model = base_plan.engine.model
        self.measurements.append(Measurement(base_run))
        pairs = PairedBench(
            Side(base_plan, base_run),
            Side(plan, run),
            self._runtime.pool,
            self._runtime.loop_monitor,
            self._runtime.progress,
            coin=pairing.coin(),
        )
        try:
            settings = self.settings
            return pairing.measure(pairs, run, base_run, settings.thresholds, settings.clock)
        finally:
            base_run.protocol = {**base_run.protocol, **base_plan.engine.told()}

    def _stop_generator(self) -> None:
        generator, self._generator = self._generator, None
        if generator is not None:
            generator.close()

    def _plan(
        self,
        prompt: str | Sequence[Message] | None,
        prompt_tokens: int | None,
        settings: Mapping[str, object],
        task: TaskName | None = None,
    ) -> Plan:
        if task is not None and task not in TASKS:
            msg = f"task={task!r} is not one of {', '.join(TASKS)}{suggest(str(task), TASKS)}"
            raise UsageError(msg)
        if (prompt is None) == (prompt_tokens is None and task is None):
            msg = "give either a prompt (a text or chat messages), or prompt_tokens=N or a task or both"
            raise UsageError(msg)
        if prompt_tokens is not None and not (
            isinstance(prompt_tokens, int) and 1 <= prompt_tokens <= LONGEST
        ):
            msg = f"prompt_tokens={prompt_tokens!r} is not a whole number of at least 1, at most {LONGEST}"
            raise UsageError(msg)
        held = self._runtime.call_settings("llm_model", self.settings, settings, self._folder)
        if held.needle is not None and prompt_tokens is None:
            msg = f"needle={held.needle:g} hides a fact in made text: give prompt_tokens=N and no prompt"
            raise UsageError(msg)
        if held.needle is not None and task is not None:
            msg = f"needle={held.needle:g} is a task of its own: leave out task={task!r}"
            raise UsageError(msg)
        asked = None if task is None else task_of(task, held.seed)
        if asked is not None and prompt_tokens is None:
            prompt = asked.prompt
        if prompt_tokens is None and prompt is not None and held.depth:
            asked_for = Prompt.of(prompt)
            said = [one["content"] for one in asked_for.messages or ()] or [asked_for.text or ""]
            self._make_room(of_texts(held, said))
        else:
            self._make_room(of_prompt(held, prompt_tokens))
        return replace(
            self._base_plan(held),
            prefix_cache=held.prefix_cache,
            depth=held.depth,
            needle=held.needle,
            prompt=None if prompt is None else Prompt.of(prompt),
            prompt_tokens=prompt_tokens,
            task=task,
            before="" if asked is None else asked.before,
        )


def free_label(label: str | None, runs: Sequence[Run]) -> str:
    """The label of a test's next measurement: *label*, or the first that is free.

    :raises UsageError: if *label* is taken.
    """
    taken = {run.label for run in runs}
    if label is None:
        label, number = FIRST_LABEL, 2
        while label in taken:
            label, number = str(number), number + 1
    elif label in taken:
        msg = f"this test has a measurement {label!r} already; give each measure() a label of its own"
        raise UsageError(msg)
    return label


def measured_calls(rounds_before: Sequence[int], rounds: int, iterations: int) -> list[int]:
    """Which calls pytest-benchmark measured, as indices.

    :param rounds_before: for each call, how many rounds pytest-benchmark had finished before it.
    :param rounds: how many it finished in the end; *iterations*, calls a round.

    Calls of its calibration and warm-up come before the first round is finished, as do the first
    round's own; a call after the last round only fetches the result.
    """
    groups: dict[int, list[int]] = {}
    for index, before in enumerate(rounds_before):
        groups.setdefault(before, []).append(index)
    # A function under benchmark may generate several times: a later round tells how often.
    calls = len(groups[1]) if rounds > 1 and 1 in groups else iterations
    first = groups.get(0, [])[-calls:]
    return first + [index for number in range(1, rounds) for index in groups.get(number, [])]


def _rounds_so_far(benchmark: Any) -> int:
    """How many rounds pytest-benchmark has finished; 0 without it."""
    # Not its ``rounds``: pytest-benchmark would cache what it was at the first look.
    return len(benchmark.stats.stats.data) if benchmark is not None and benchmark.stats is not None else 0

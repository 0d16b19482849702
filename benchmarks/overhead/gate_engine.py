"""Which engine does the gate judge, and how much worse is its worse side?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

from delayed import Burden, backend, steps_per_second

from pytest_llmbench.backends.base import GenerationParams
from pytest_llmbench.backends.cpu_time import comparable
from pytest_llmbench.backends.options import option_values
from pytest_llmbench.backends.threads import THREADS
from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.engine import EngineSpec, Prompt
from pytest_llmbench.measure.loop import Bench, EnginePool, Plan
from pytest_llmbench.measure.run import Round
from pytest_llmbench.models.resolve import parse_spec, resolve
from pytest_llmbench.report.progress import Progress

_PROCESSES, _ROUNDS = 5, 5
"""That show what the plain engine takes: processes of one engine lie some percent apart."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an engine process is asked for."""

    rounds: int = 10
    tokens: int = 32
    """New ones of a round."""
    threads: int | None = None
    """None: what the engine takes where a user sets nothing."""
    model: str = "tiny"
    quantization: str = "f16"


def plan(burden: Burden, work: Work, *, processes: int = 1) -> Plan:
    """The measurement of llama.cpp, with what it has to bear.

    :raises ModelError: if there is no such model.
    """
    options = {} if work.threads is None else {THREADS: work.threads}
    spec = replace(parse_spec(work.model), quantization=work.quantization)
    model = resolve(spec, "gguf", quiet=True)
    engine = EngineSpec(
        "delayed",
        "delayed:backend",
        model,
        option_values(backend, options),
        environment=burden.environment(),
    )
    return Plan(
        engine,
        GenerationParams(max_new_tokens=work.tokens),
        rounds=work.rounds,
        processes=processes,
        timeout=120,
        prompt=Prompt.of("Explain what a benchmark is in three sentences."),
    )


@dataclass(frozen=True, slots=True)
class Natural:
    """What the engine takes without a burden: what a share of worse is a share of."""

    ttft: float
    """Seconds."""
    tpot: float
    """Seconds."""
    memory: int
    """Bytes."""
    steps: float
    """Steps of a burden, a second."""

    def worse(self, share: float) -> Burden:
        """What makes TTFT, TPOT and memory worse by *share*."""
        # The first token is held up like every other, which is a part of TTFT.
        prefill = max(0.0, self.ttft - self.tpot)
        return Burden(
            round(share * prefill * self.steps),
            round(share * self.tpot * self.steps),
            round(share * self.memory),
        )


def natural(work: Work) -> Natural:
    """Measure it, here and now.

    Of one thread by its CPU time, which is what it takes on a quiet machine and hardly more on another.
    """
    times: list[tuple[float, float]] = []
    steps, memory = [], 0.0
    for _ in range(_PROCESSES):
        bench = Bench(plan(Burden(), work), EnginePool(), None, Progress())
        try:
            bench.warm_up()
            rounds = [bench.round()[0] for _ in range(_ROUNDS)]
            steps.append(steps_per_second())
        finally:
            bench.close()
        times += map(_cpu_times if comparable(bench.record.engine) else _wall_times, rounds)
        memory = max(memory, bench.record.peak_rss or 0.0)
    ttft, tpot = (median(values) for values in zip(*times, strict=True))
    return Natural(ttft, tpot, int(memory), median(steps))


def _wall_times(measured: Round) -> tuple[float, float]:
    return measured.value("ttft") or 0.0, measured.value("tpot") or 0.0


def _cpu_times(measured: Round) -> tuple[float, float]:
    """The same in CPU time; the first token is there as soon as the prompt is evaluated."""
    tokens = measured.timeline.output_tokens
    prefill = measured.value("prefill_cpu_time") or 0.0
    whole = tokens * (measured.value("cpu_time_per_token") or 0.0)
    return prefill, (whole - prefill) / (tokens - 1)


@contextmanager
def watching(wanted: bool) -> Iterator[HardwareMonitor | None]:
    """The hardware monitor, or none."""
    if not wanted:
        yield None
        return
    with HardwareMonitor() as monitor:
        yield monitor

"""What does each number mean?

One table, read by everything that computes, stores, prints or judges a metric. The field uses
the same names for different formulas, so each row has its formula and where it comes from.
Units are SI (and tokens); better is ``lower`` or ``higher``.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmbench.errors import UsageError, suggest
from pytest_llmbench.metrics import formulas
from pytest_llmbench.metrics.row import Metric, Shown, Statistic, problem_of

_VLLM = "vLLM, benchmarks/serve.py, calculate_metrics"
_CPU_TIME_LIMITS = (
    "It does not see waiting: for a lock, a disk, a GPU. Threads that wait for each other in a loop take CPU "
    "time and do no work, so that it compares only for one thread wherever others use the machine; the "
    "engine's cpu_time says whether it does"
)
_TAILS: tuple[Statistic, ...] = ("p50", "p90", "p95", "p99")


MOST_TOLD = 1000
"""Metrics that only documents know."""


class Table(dict[str, Metric]):
    """The rows by their names: those that are built in, that were added, and that documents told."""

    def __init__(self, rows: Iterable[Metric]) -> None:
        super().__init__({row.name: row for row in rows})
        self._told: set[str] = set()

    def add(self, row: Metric) -> None:
        """Add a row of another plugin.

        :raises UsageError: if it cannot be one, or there is a metric of its name.
        """
        if (problem := problem_of(row)) is not None:
            msg = f"cannot register the metric {getattr(row, 'name', row)!r}: {problem}"
            raise UsageError(msg)
        if row.name in self and row.name not in self._told:
            msg = f"cannot register the metric {row.name!r}: there is one already; give it another name"
            raise UsageError(msg)
        self._told.discard(row.name)
        self[row.name] = row

    def learn(self, row: Metric) -> None:
        """Know the row of a metric that a document has and nothing added here.

        Of :data:`MOST_TOLD` at most: whatever documents are read, in a process that reads them for long.
        """
        if row.name not in self and len(self._told) < MOST_TOLD and problem_of(row) is None:
            self._told.add(row.name)
            self[row.name] = row

    def named(self, name: str) -> Metric:
        """The row called *name*.

        :raises UsageError: if there is none; it lists what there is.
        """
        if name not in self:
            hint = suggest(name, list(self)) or "."
            msg = f"there is no metric {name!r}{hint} There are {', '.join(self)}"
            raise UsageError(msg)
        return self[name]


METRICS = Table(
    (
        Metric(
            name="ttft",
            unit="s",
            better="lower",
            scope="round",
            formula="first token - call with text",
            source=_VLLM,
            compute=formulas.ttft,
            on_cpu="prefill_cpu_time",
            gates=True,
            slo=True,
            head="TTFT",
            shown=(
                Shown(table="cases", place=10, wide=("median", "p95"), spread=True),
                Shown(table="levels", place=50, statistics=("p50", "p99"), wide=_TAILS),
                Shown(table="turns", place=10, spread=True, both=True),
            ),
        ),
        Metric(
            name="tpot",
            unit="s",
            better="lower",
            scope="round",
            formula="(last token - first token) / tokens after the first; of a server: (last chunk - first "
            "chunk) / (output tokens - those of the first chunk - those that were counted and never sent)",
            source=f"{_VLLM}; MLPerf LoadGen, logging.cc: where the first chunk has one token and all were "
            "sent",
            compute=formulas.tpot,
            on_cpu="cpu_time_per_token",
            needs_gaps=True,
            gates=True,
            slo=True,
            head="TPOT",
            shown=(
                Shown(table="cases", place=20, wide=("median", "p95"), spread=True),
                Shown(table="levels", place=60, statistics=("p50", "p99"), wide=_TAILS),
            ),
        ),
        Metric(
            name="itl",
            unit="s",
            better="lower",
            scope="gap",
            formula="token i - token i-1, all gaps of all rounds pooled; of a server: chunk i - chunk i-1",
            source=_VLLM,
            on_cpu="cpu_time_per_token",
            needs_gaps=True,
            head="gap",
            shown=(Shown(table="levels", place=70, statistics=("p99",)),),
        ),
        Metric(
            name="e2e_latency",
            unit="s",
            better="lower",
            scope="round",
            formula="last token - call with text",
            source=_VLLM,
            compute=formulas.e2e_latency,
            on_cpu="cpu_time_per_token",
            slo=True,
            head="E2E",
            shown=(Shown(table="levels", place=80, statistics=(), wide=("p50", "p99")),),
        ),
        Metric(
            name="prefill_throughput",
            unit="tokens/s",
            better="higher",
            scope="round",
            formula="prompt tokens / (prompt evaluated - prompt tokenized); of a prompt of which the cache "
            "had a part there is none",
            source="llama.cpp, llama-bench, test pp",
            of_round=formulas.prefill_throughput,
            on_cpu="prefill_cpu_time",
            head="prefill tok/s",
            # At a depth, the prompt's own tokens are those that were not cached.
            shown=(Shown(table="cases", place=40, instead="uncached_prefill_throughput"),),
        ),
        Metric(
            name="uncached_prefill_throughput",
            unit="tokens/s",
            better="higher",
            scope="round",
            formula="(prompt tokens - those that the cache had) / (prompt evaluated - prompt tokenized)",
            source="llama.cpp, llama-bench, test pp at a depth",
            of_round=formulas.uncached_prefill_throughput,
            on_cpu="prefill_cpu_time",
            head="uncached tok/s",
            shown=(Shown(table="turns", place=40, statistics=(), wide=("median",), when="measured"),),
        ),
        Metric(
            name="cached_tokens",
            unit="tokens",
            better="higher",
            scope="round",
            formula="prompt tokens that lay in the prefix cache and were not evaluated again, as the engine "
            "or the server reports",
            source="OpenAI API reference, usage.prompt_tokens_details.cached_tokens; llama.cpp, "
            "llama_memory_seq_rm",
            judged="exact",
            allowed=0.0,
            head="cached",
        ),
        Metric(
            name="cached_possible",
            unit="tokens",
            better="higher",
            scope="round",
            formula="longest beginning that the prompt has in common with the prompt and the answer before "
            "it (without the answer's last token), by token ids, at most the prompt but its last token",
            source="vLLM, automatic prefix caching; llama.cpp, server, cache_prompt",
            judged="never",
            head="possible",
        ),
        Metric(
            name="cache_hit_rate",
            unit="share",
            better="higher",
            scope="case",
            formula="sum of cached tokens / sum of prompt tokens; none unless they are known of all rounds",
            source="vLLM, prefix_cache_hits / prefix_cache_queries",
            of_case=formulas.cache_hit_rate,
            judged="never",
            head="hit rate",
        ),
        Metric(
            name="cache_speedup",
            unit="times",
            better="higher",
            scope="round",
            formula="TTFT of a turn with an empty cache / TTFT of the same turn with what the turn before "
            "left, one after the other in one process",
            source="pytest-llmbench, cache=paired",
            judged="never",
            head="speedup",
            shown=(Shown(table="turns", place=20, spread=True, when="measured"),),
        ),
        Metric(
            name="needle_recall",
            unit="share",
            better="higher",
            scope="round",
            formula="1 where the number that a made text had in one place was in the answer, 0 where it was "
            "not; of random weights there is none",
            source="RULER, arXiv 2404.06654, single needle",
            judged="never",
            head="found",
            shown=(Shown(table="cases", place=65, when="measured"),),
        ),
        Metric(
            name="decode_throughput",
            unit="tokens/s",
            better="higher",
            scope="round",
            formula="1 / TPOT",
            source="llama.cpp, llama-bench, test tg; AIPerf, output token throughput per user",
            compute=formulas.decode_throughput,
            on_cpu="cpu_time_per_token",
            needs_gaps=True,
            gates=True,
            reciprocal_of="tpot",
            head="decode tok/s",
            shown=(
                Shown(table="cases", place=30),
                Shown(table="levels", place=30, head="user tok/s"),
                Shown(table="turns", place=30),
            ),
        ),
        Metric(
            name="output_throughput",
            unit="tokens/s",
            better="higher",
            scope="round",
            formula="output tokens, those too that were never sent: they were made in that time / "
            "(last token - call with text)",
            source="AIPerf, metrics reference",
            compute=formulas.output_throughput,
            on_cpu="cpu_time_per_token",
            head="output tok/s",
        ),
        Metric(
            name="system_throughput",
            unit="tokens/s",
            better="higher",
            scope="level",
            formula="output tokens of successful requests that arrived in the window / window; those that "
            "were never sent are the server's work too, and count with the first chunk",
            source=f"{_VLLM}; AIPerf, metrics reference, Output Token Throughput",
            head="out tok/s",
            shown=(Shown(table="levels", place=20),),
        ),
        Metric(
            name="request_throughput",
            unit="requests/s",
            better="higher",
            scope="level",
            formula="successful requests, by the share of their tokens in the window / window",
            source=_VLLM,
            head="req/s",
            shown=(Shown(table="levels", place=10),),
        ),
        Metric(
            name="goodput",
            unit="requests/s",
            better="higher",
            scope="level",
            formula="successful requests that are known to have met every SLO, likewise / window",
            source=_VLLM,
            head="good req/s",
            shown=(Shown(table="levels", place=40, when="measured"),),
        ),
        Metric(
            name="load_time",
            unit="s",
            better="lower",
            scope="process",
            formula="model ready - load asked for, engine import left out",
            source="optimum-benchmark, load latency",
            head="load",
        ),
        Metric(
            name="peak_rss",
            unit="bytes",
            better="lower",
            scope="process",
            formula="highest resident set of the engine's process tree",
            source="getrusage(2) ru_maxrss; /proc/PID/smaps_rollup",
            # A process's memory repeats itself to a few pages.
            judged="exact",
            gates=True,
            allowed=0.02,
            head="memory",
            shown=(Shown(table="cases", place=50),),
        ),
        Metric(
            name="peak_vram",
            unit="bytes",
            better="lower",
            scope="process",
            formula="highest GPU memory of the engine's process tree",
            source="NVML, nvmlDeviceGetComputeRunningProcesses",
            judged="exact",
            allowed=0.02,
            head="VRAM",
            shown=(Shown(table="cases", place=60, when="above 0"),),
        ),
        Metric(
            name="energy",
            unit="J",
            better="lower",
            scope="round",
            formula="energy counter at the round's end - at its start; a GPU's under 2 s: power over the "
            "time",
            source="NVML, nvmlDeviceGetTotalEnergyConsumption, NVML_FI_DEV_POWER_INSTANT; powercap, "
            "energy_uj",
            head="energy",
            shown=(
                Shown(table="cases", place=70, when="measured"),
                Shown(table="turns", place=70, statistics=(), wide=("median",), when="measured"),
            ),
        ),
        Metric(
            name="energy_per_token",
            unit="J/token",
            better="lower",
            scope="round",
            formula="energy / output tokens",
            source="InferenceX, aggregate_power.py",
            of_round=formulas.energy_per_token,
            head="J/token",
        ),
        Metric(
            name="cpu_time_per_token",
            unit="s",
            better="lower",
            scope="round",
            formula="CPU time, user and system, of the engine's process over the round / output tokens; of "
            "a server: of its process tree over the round, or over the level / output tokens of all its "
            "requests",
            source="getrusage(2); clock_gettime(2), CLOCK_PROCESS_CPUTIME_ID; of a server "
            "clock_getcpuclockid(3), and proc_pid_stat(5), cutime and cstime",
            limits=_CPU_TIME_LIMITS,
            clock="cpu",
            head="CPU/token",
        ),
        Metric(
            name="prefill_cpu_time",
            unit="s",
            better="lower",
            scope="round",
            formula="CPU time, user and system, of the engine's process from the call with text until the "
            "prompt is evaluated; of a server it is not known",
            source="getrusage(2); clock_gettime(2), CLOCK_PROCESS_CPUTIME_ID",
            limits=_CPU_TIME_LIMITS,
            clock="cpu",
            head="prefill CPU",
        ),
        Metric(
            name="instructions_per_token",
            unit="instructions/token",
            better="lower",
            scope="round",
            formula="instructions of the engine's process in user space / output tokens",
            source="perf_event_open(2), PERF_COUNT_HW_INSTRUCTIONS",
            of_round=formulas.instructions_per_token,
            # It repeats itself to a few thousand instructions: a little more is more.
            judged="exact",
            allowed=0.01,
            head="instr/token",
        ),
        Metric(
            name="tpot_all_tokens",
            unit="s",
            better="lower",
            scope="round",
            formula="(last token - first token) / (output tokens - 1), whatever came in the first chunk or "
            "was never sent: what other tools call TPOT",
            source=f"{_VLLM}; MLPerf LoadGen, logging.cc",
            compute=formulas.tpot_all_tokens,
            on_cpu="cpu_time_per_token",
            needs_gaps=True,
            head="TPOT all",
        ),
    )
)


def timeline_rows() -> tuple[Metric, ...]:
    """The metrics that the timeline alone gives."""
    return tuple(row for row in METRICS.values() if row.compute is not None)


def gated_metrics() -> tuple[str, ...]:
    """What fails a test by default."""
    return tuple(row.name for row in METRICS.values() if row.gates)


def slo_metrics() -> tuple[str, ...]:
    """What a service-level objective may limit."""
    return tuple(row.name for row in METRICS.values() if row.slo)


def chances(metrics: Iterable[str]) -> set[str]:
    """Which of *metrics* can each be found worse by noise alone.

    Those that repeat themselves cannot; and of two of which one is the other's reciprocal, both are wrong
    together.
    """
    noisy = {name for name in metrics if METRICS[name].judged == "noisy"}
    return {name for name in noisy if METRICS[name].reciprocal_of not in noisy}

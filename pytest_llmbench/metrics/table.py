"""What does each number mean?

One table, read by everything that computes, stores, prints or judges a metric. The field uses
the same names for different formulas, so each row has its formula and where it comes from.
Units are SI (and tokens); better is ``lower`` or ``higher``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from pytest_llmbench.metrics.timeline import NANO, Timeline
from pytest_llmbench.metrics.units import percent, quantity

Better = Literal["lower", "higher"]
Scope = Literal["round", "gap", "process", "load"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    ``scope`` says what one value belongs to: a ``round``, one ``gap`` between two tokens, one
    ``process``, or a whole ``load`` level. ``compute`` is set where the value is a function of
    the timeline alone.
    """

    name: str
    unit: str
    better: Better
    scope: Scope
    formula: str
    source: str
    compute: Callable[[Timeline], float | None] | None = None


def _ttft(t: Timeline) -> float | None:
    return (t.token_times[0] - t.sent) * NANO if t.token_times else None


def _shared(t: Timeline, tokens: int) -> float | None:
    """The time from the first token to the last, shared among *tokens*."""
    if t.untimed is not None or len(t.token_times) < 2 or tokens < 1:
        return None
    return (t.token_times[-1] - t.token_times[0]) * NANO / tokens


def _tpot(t: Timeline) -> float | None:
    # A server may send several tokens in one chunk, and count tokens that it never sends.
    return _shared(t, t.timed_tokens)


def _tpot_all_tokens(t: Timeline) -> float | None:
    return _shared(t, t.output_tokens - 1)


def _e2e_latency(t: Timeline) -> float | None:
    return (t.token_times[-1] - t.sent) * NANO if t.token_times else None


def _prefill_throughput(t: Timeline) -> float | None:
    # Nobody counted a prompt of 0 tokens.
    if t.prefilled is None or t.prefilled <= t.tokenized or not t.prompt_tokens:
        return None
    return t.prompt_tokens / ((t.prefilled - t.tokenized) * NANO)


def _decode_throughput(t: Timeline) -> float | None:
    tpot = _tpot(t)
    return 1.0 / tpot if tpot else None


def _output_throughput(t: Timeline) -> float | None:
    latency = _e2e_latency(t)
    return t.output_tokens / latency if latency else None


_VLLM = "vLLM, benchmarks/serve.py, calculate_metrics"

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("ttft", "s", "lower", "round", "first token - call with text", _VLLM, _ttft),
        Metric(
            "tpot",
            "s",
            "lower",
            "round",
            "(last token - first token) / tokens after the first; of a server: (last chunk - first chunk) / "
            "(output tokens - those of the first chunk - those that were counted and never sent)",
            f"{_VLLM}; MLPerf LoadGen, logging.cc: where the first chunk has one token and all were sent",
            _tpot,
        ),
        Metric(
            "itl",
            "s",
            "lower",
            "gap",
            "token i - token i-1, all gaps of all rounds pooled; of a server: chunk i - chunk i-1",
            _VLLM,
        ),
        Metric("e2e_latency", "s", "lower", "round", "last token - call with text", _VLLM, _e2e_latency),
        Metric(
            "prefill_throughput",
            "tokens/s",
            "higher",
            "round",
            "prompt tokens / (prompt evaluated - prompt tokenized)",
            "llama.cpp, llama-bench, test pp",
            _prefill_throughput,
        ),
        Metric(
            "decode_throughput",
            "tokens/s",
            "higher",
            "round",
            "1 / TPOT",
            "llama.cpp, llama-bench, test tg; AIPerf, output token throughput per user",
            _decode_throughput,
        ),
        Metric(
            "output_throughput",
            "tokens/s",
            "higher",
            "round",
            "output tokens, those too that were never sent: they were made in that time / "
            "(last token - call with text)",
            "AIPerf, metrics reference",
            _output_throughput,
        ),
        Metric(
            "system_throughput",
            "tokens/s",
            "higher",
            "load",
            "output tokens of successful requests that arrived in the window / window; those that were never "
            "sent are the server's work too, and count with the first chunk",
            f"{_VLLM}; AIPerf, metrics reference, Output Token Throughput",
        ),
        Metric(
            "request_throughput",
            "requests/s",
            "higher",
            "load",
            "successful requests, by the share of their tokens in the window / window",
            _VLLM,
        ),
        Metric(
            "goodput",
            "requests/s",
            "higher",
            "load",
            "successful requests that are known to have met every SLO, likewise / window",
            _VLLM,
        ),
        Metric(
            "load_time",
            "s",
            "lower",
            "process",
            "model ready - load asked for, engine import left out",
            "optimum-benchmark, load latency",
        ),
        Metric(
            "peak_rss",
            "bytes",
            "lower",
            "process",
            "highest resident set of the engine's process tree",
            "getrusage(2) ru_maxrss; /proc/PID/smaps_rollup",
        ),
        Metric(
            "peak_vram",
            "bytes",
            "lower",
            "process",
            "highest GPU memory of the engine's process tree",
            "NVML, nvmlDeviceGetComputeRunningProcesses",
        ),
        Metric(
            "energy",
            "J",
            "lower",
            "round",
            "energy counter at the round's end - at its start; a GPU's under 2 s: power over the time",
            "NVML, nvmlDeviceGetTotalEnergyConsumption, NVML_FI_DEV_POWER_INSTANT; powercap, energy_uj",
        ),
        Metric(
            "energy_per_token",
            "J/token",
            "lower",
            "round",
            "energy / output tokens",
            "InferenceX, aggregate_power.py",
        ),
        Metric(
            "instructions_per_token",
            "instructions/token",
            "lower",
            "round",
            "instructions of the engine's process in user space / output tokens",
            "perf_event_open(2), PERF_COUNT_HW_INSTRUCTIONS",
        ),
        Metric(
            "tpot_all_tokens",
            "s",
            "lower",
            "round",
            "(last token - first token) / (output tokens - 1), whatever came in the first chunk or was never "
            "sent: what other tools call TPOT",
            f"{_VLLM}; MLPerf LoadGen, logging.cc",
            _tpot_all_tokens,
        ),
    )
}

UNTIMED_METRICS = ("tpot", "tpot_all_tokens", "itl", "decode_throughput")
"""What a generation without times between tokens does not have."""

TIMELINE_METRICS: tuple[Metric, ...] = tuple(m for m in METRICS.values() if m.compute is not None)


def timeline_metrics(timeline: Timeline) -> dict[str, float | None]:
    """Every metric that the timeline alone gives; None where it cannot: one token has no TPOT, nor has a
    stream that was buffered on its way."""
    return {m.name: m.compute(timeline) for m in TIMELINE_METRICS if m.compute is not None}


def gaps(timeline: Timeline) -> list[float]:
    """Seconds between successive tokens, of a server between chunks; shape (token_times - 1,).

    None at all where the times are not the engine's.
    """
    times = () if timeline.untimed is not None else timeline.token_times
    return [(after - before) * NANO for before, after in pairwise(times)]


# A percentile q of n values stands on values beyond it: with none there, it is the maximum.
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True, repr=False)
class Summary:
    """The values of one metric and their statistics; all in the metric's unit.

    Percentiles interpolate linearly between order statistics (Hyndman and Fan 1996, type 7), as
    numpy, pandas and vLLM do. A percentile q needs at least ``100 / (100 - q)`` values (20 for
    p95, 100 for p99) for one of them to lie beyond it; with fewer, :meth:`supports` is False,
    ``unsupported`` names it, and tables mark it.
    """

    metric: str
    values: tuple[float, ...]
    unknown: str | None = None
    """Why there are no values, where that is known."""

    def __repr__(self) -> str:
        # A failing assert shows it: no values, of which there may be thousands.
        return f"<{self}>"

    def __str__(self) -> str:
        """``ttft: median 6.40 ms ±2%, 6.31 ms to 6.70 ms, n 15``."""
        if not self.values:
            return f"{self.metric}: no value" + (f" ({self.unknown})" if self.unknown else "")
        text = f"{self.metric}: median {quantity(self.median, self.unit)}"
        if self.n == 1:
            return f"{text}, n 1"
        spread = f" ±{percent(ratio)}" if (ratio := self.spread) is not None else ""
        low, high = (quantity(value, self.unit) for value in (self.min, self.max))
        return f"{text}{spread}, {low} to {high}, n {self.n}"

    @property
    def unit(self) -> str:
        return METRICS[self.metric].unit

    @property
    def better(self) -> Better:
        return METRICS[self.metric].better

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        self._need_values()
        return sum(self.values) / self.n

    @property
    def median(self) -> float:
        return self.percentile(50)

    @property
    def stddev(self) -> float | None:
        """Sample standard deviation (n - 1); None for fewer than two values."""
        import statistics

        return statistics.stdev(self.values) if self.n > 1 else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over the median; None for fewer than two values or a median of 0."""
        return None if self.stddev is None or not self.median else self.stddev / abs(self.median)

    @property
    def min(self) -> float:
        self._need_values()
        return min(self.values)

    @property
    def max(self) -> float:
        self._need_values()
        return max(self.values)

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p90(self) -> float:
        return self.percentile(90)

    @property
    def p95(self) -> float:
        return self.percentile(95)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    def percentile(self, q: float) -> float:
        """The *q*-th percentile, 0 to 100."""
        self._need_values()
        ordered = sorted(self.values)
        position = (len(ordered) - 1) * q / 100
        low = int(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (position - low)

    def supports(self, q: float) -> bool:
        """Whether enough values were taken for one to lie beyond the *q*-th percentile."""
        return self.n * (100 - q) >= 100

    @property
    def unsupported(self) -> tuple[str, ...]:
        """The percentiles among :data:`PERCENTILES` that this many values cannot support."""
        return tuple(f"p{q}" for q in PERCENTILES if not self.supports(q))

    def to_json(self) -> dict[str, Any]:
        """The summary as the results document keeps it, without the values."""
        return {
            "unit": self.unit,
            "better": self.better,
            "n": self.n,
            "median": self.median,
            "mean": self.mean,
            "stddev": self.stddev,
            "min": self.min,
            "max": self.max,
            "p50": self.p50,
            "p90": self.p90,
            "p95": self.p95,
            "p99": self.p99,
            "unsupported": list(self.unsupported),
        }

    def _need_values(self) -> None:
        if not self.values:
            msg = f"{self.metric} has no value: {self.unknown or 'no round of this case measured it'}"
            raise ValueError(msg)


def summarize(metric: str, values: Iterable[float | None] | Sequence[float]) -> Summary:
    """A summary of the values that are known."""
    return Summary(metric, tuple(float(v) for v in values if v is not None))

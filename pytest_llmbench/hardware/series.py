"""How do raw readings become figures over time?

A sample is what the sampler process read at one moment (:mod:`pytest_llmbench.hardware.probes`
has the names and units), with ``t``, ns of ``time.perf_counter_ns``, and ``edge``, true where the
monitor asked for it out of turn. Counters become rates here, against their own last reading,
because slow sources do not answer at every beat.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pytest_llmbench.hardware.facts import Energy

NANO = 1e-9
COUNTER_SPAN = 2.0
"""Seconds from which on a GPU's energy counter is believed. It moves every 100 ms or so: over 2 s that is
an error of 5%, and over 20 ms, as seen on an H100, one round had the energy of six and the others none."""
NEAR = 1_000_000_000
"""ns around a span in which a power sample still speaks for it."""
Sample = Mapping[str, Any]
CPU_TIME = "cpu_time_core"
_SHARES = {f"{name}_pressure_time": f"{name}_pressure" for name in ("cpu", "memory", "io")}
_RATES = {"swap_in_bytes": "swap_in", "swap_out_bytes": "swap_out", "own_time": "own_cpu"}
_BITS = ("event_reasons", "pi_throttled")


def is_counter(name: str) -> bool:
    """Whether a field only grows."""
    return name.endswith(("_time", "_energy", "_bytes", "_count")) or name.startswith(CPU_TIME)


def is_bits(name: str) -> bool:
    """Whether a field is a bit mask, of which no mean can be taken."""
    return name.endswith(_BITS)


def span(samples: Sequence[Sample], start_ns: int, end_ns: int) -> tuple[int, int]:
    """Indices of the last sample at or before the start and the first at or after the end.

    Where there is none on a side: the outermost sample. *samples* must not be empty.
    """
    first = max(bisect_right(samples, start_ns, key=_time) - 1, 0)
    last = min(bisect_left(samples, end_ns, key=_time), len(samples) - 1)
    return min(first, last), last


def _time(sample: Sample) -> int:
    return int(sample["t"])


def grown(samples: Sequence[Sample], name: str) -> tuple[float, float] | None:
    """By how much counter *name* grew over *samples*, and in how many seconds.

    The first and the last sample that have it count; None if there are not two.
    """
    first = next((s for s in samples if name in s), None)
    last = next((s for s in reversed(samples) if name in s), None)
    if first is None or last is None or first is last:
        return None
    return last[name] - first[name], (last["t"] - first["t"]) * NANO


def others_cpu(samples: Sequence[Sample], cores: Sequence[int], at_least: float = 0.0) -> float | None:
    """CPU that others used on *cores* over *samples*, in cores: all tasks' time less our own.

    A shorter span than *at_least* seconds counts as that long.
    """
    own = grown(samples, "own_time")
    busy = [grown(samples, f"{CPU_TIME}{core}") for core in cores]
    known = [value for value in busy if value is not None]
    if own is None or not known or own[1] <= 0:
        return None
    return max(0.0, (sum(value for value, _ in known) - own[0]) / max(own[1], at_least))


def rows(samples: Sequence[Sample], cores: Sequence[int]) -> Iterator[dict[str, float]]:
    """One row a beat: ``t`` (ns), the gauges, and the counters as rates since their last beat.

    ``cpu_percent`` is the mean of the cores; ``foreign_cpu`` and ``own_cpu`` count in cores;
    pressures and ``steal`` are shares from 0 to 1; ``swap_in`` and ``swap_out`` are bytes a
    second; ``packageN_power`` is in W. The first beat has gauges only.
    """
    last: dict[str, tuple[int, float]] = {}
    before: Sample | None = None
    for sample in samples:
        if sample.get("edge"):
            continue
        row: dict[str, float] = {"t": sample["t"]}
        percents: list[float] = []
        for name, value in sample.items():
            if not is_counter(name):
                if name not in ("t", "edge"):
                    row[name] = value
                continue
            known = last.get(name)
            last[name] = (sample["t"], value)
            if known is None or sample["t"] <= known[0]:
                continue
            rate = (value - known[1]) / ((sample["t"] - known[0]) * NANO)
            if name.startswith(CPU_TIME):
                percents.append(min(100.0, 100.0 * rate))
                row[f"cpu_percent_core{name.removeprefix(CPU_TIME)}"] = percents[-1]
            elif name in _SHARES:
                row[_SHARES[name]] = min(1.0, rate)
            elif name in _RATES:
                row[_RATES[name]] = rate
            elif name.startswith("package"):
                row[name.replace("_energy", "_power")] = rate
            elif name == "steal_time":
                row["steal"] = min(1.0, rate / max(1, sum(n.startswith(CPU_TIME) for n in sample)))
        if percents:
            row["cpu_percent"] = sum(percents) / len(percents)
        if before is not None and (others := others_cpu((before, sample), cores)) is not None:
            row["foreign_cpu"] = others
        before = sample
        yield row


def bits_over(samples: Sequence[Sample], name: str) -> int:
    """The bits of mask *name* that were set in any of *samples*."""
    bits = 0
    for sample in samples:
        bits |= int(sample.get(name, 0))
    return bits


def energy_over(
    samples: Sequence[Sample], start_ns: int, end_ns: int, unavailable: Mapping[str, str]
) -> Energy:
    """Energy of every domain between two moments.

    A counter is read off between its neighboring samples; at an edge that is its very value.
    Where a GPU has no counter, or the span is shorter than :data:`COUNTER_SPAN`, the power samples
    are integrated by the trapezoidal rule instead.

    :param samples: with those within :data:`NEAR` of the span, whose power speaks for it.
    """
    names = {name for sample in samples for name in sample}
    domains: dict[str, float] = {}
    methods: set[str] = set()
    reasons = [f"{k}: {v}" for k, v in unavailable.items() if k == "gpu" or k.endswith("_energy")]
    for domain in sorted({n.rpartition("_")[0] for n in names if n.startswith("package")} | _gpus(names)):
        joules, method = None, "rapl" if domain.startswith("package") else "nvml_counter"
        begin, finish = (_value_at(samples, f"{domain}_energy", t) for t in (start_ns, end_ns))
        is_gpu = domain.startswith("gpu")
        too_short = is_gpu and (end_ns - start_ns) * NANO < COUNTER_SPAN
        if begin is not None and finish is not None and finish > begin and not too_short:
            joules = finish - begin
        elif is_gpu:
            joules, method = _integral(samples, f"{domain}_power", start_ns, end_ns), "power_integral"
        if joules is None:
            reasons.append(f"{domain}: the window is too short, or was not sampled")
        else:
            domains[domain] = joules
            methods.add(method)
    if not domains and not reasons:
        reasons.append("nothing was sampled")
    return Energy(
        sum(domains.values()) if domains else None,
        "+".join(sorted(methods)) or None,
        "; ".join(reasons) or None,
        domains,
    )


def _gpus(names: set[str]) -> set[str]:
    return {n.partition("_")[0] for n in names if n.startswith("gpu") and n.endswith(("_energy", "_power"))}


def _value_at(samples: Sequence[Sample], name: str, t: int) -> float | None:
    """A counter at *t*, on the line between its neighbors; None outside of what was sampled."""
    known = [(s["t"], s[name]) for s in samples if name in s]
    at = bisect_left(known, t, key=lambda pair: pair[0])
    if at == len(known):
        return None
    if known[at][0] == t:
        return float(known[at][1])
    if at == 0:
        return None
    (t0, v0), (t1, v1) = known[at - 1], known[at]
    return float(v0 + (v1 - v0) * (t - t0) / (t1 - t0))


def _integral(samples: Sequence[Sample], name: str, start_ns: int, end_ns: int) -> float | None:
    """Joules under the power samples; None if none lies near the window."""
    known = [(int(s["t"]), float(s[name])) for s in samples if name in s]
    if not any(start_ns - NEAR <= t <= end_ns + NEAR for t, _ in known):
        return None
    inside = [pair for pair in known if start_ns < pair[0] < end_ns]
    line = [(start_ns, _power_at(known, start_ns)), *inside, (end_ns, _power_at(known, end_ns))]
    return sum((p0 + p1) / 2 * (t1 - t0) * NANO for (t0, p0), (t1, p1) in pairwise(line))


def _power_at(known: Sequence[tuple[int, float]], t: int) -> float:
    """Power at *t*, on the line between its neighbors; beyond the outermost, theirs."""
    at = bisect_left(known, t, key=lambda pair: pair[0])
    if at == 0 or at == len(known):
        return known[min(at, len(known) - 1)][1]
    (t0, p0), (t1, p1) = known[at - 1], known[at]
    return p0 + (p1 - p0) * (t - t0) / (t1 - t0)

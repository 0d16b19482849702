"""What else did the machine do, and did that spoil a round?

Decided from the load of others alone, never from the round's own times: a rule that looked at
those would throw away slow rounds and keep fast ones.

The kernel counts CPU time in ticks of 10 ms and gives each whole to who runs at that moment, so
short spans are noise. A decision therefore rests on at least :data:`MIN_SPAN` of samples: those
that bracket the round, and as many around it as that takes. Neighbors of a disturbed moment may
so be marked with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_llmbench.hardware.facts import Assessment
from pytest_llmbench.hardware.nvml import THROTTLING
from pytest_llmbench.hardware.raspberry import reasons_between
from pytest_llmbench.hardware.series import CPU_TIME, NANO, Sample, bits_over, grown, others_cpu, span

MIN_SPAN = 1.0
"""Seconds; 100 ticks a core, so that a tick more or less is 1% of a core."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure above ``mean`` over the round, or above ``burst`` in any second of it, is a reason."""

    code: str
    mean: float
    burst: float
    unit: str
    why: str
    probes: tuple[str, ...]
    """The sources without which it cannot be judged: :attr:`.probes.Probe.name`."""
    slows_cpu: bool = True
    """Whether the same work takes more CPU time by it, and not only more time until it is done."""


BOUNDS: dict[str, Bound] = {
    bound.code: bound
    for bound in (
        Bound(
            "foreign_cpu",
            0.15,
            0.5,
            "cores (or 2% and 10% of the usable cores, where that is more)",
            "an idle system's services stay below a tenth of a core; the tick adds a few hundredths",
            ("cpu", "processes"),
            slows_cpu=False,
        ),
        Bound(
            "steal",
            0.02,
            0.1,
            "of the CPU time that this machine wanted",
            "2% is what a threshold of 5% on a metric can bear; two ticks a second are below it",
            ("cpu",),
            slows_cpu=False,
        ),
        Bound(
            "cpu_pressure",
            0.1,
            0.3,
            "of the time, while others use 0.05 cores or more",
            "an engine with as many threads as cores waits for the sampler now and then, and one "
            "with more waits for itself: pressure counts only while other processes run",
            ("pressure",),
            slows_cpu=False,
        ),
        Bound(
            "memory_pressure",
            0.02,
            0.1,
            "of the time",
            "all tasks waited for memory: pages of the model are being read again",
            ("pressure",),
        ),
        Bound(
            "swap",
            2**20,
            2**23,
            "bytes a second, in and out",
            "a page now and then is the system tidying up; at 1 MiB a second a process waits for them",
            ("memory",),
        ),
        Bound(
            "foreign_gpu",
            5.0,
            5.0,
            "percent of a GPU (any process of others, where the driver does not report its share)",
            "a desktop or an idle notebook holds memory and computes nothing",
            ("gpu_processes",),
            slows_cpu=False,
        ),
        Bound(
            "throttled",
            0,
            0,
            "events",
            "heat, a power brake or low voltage lowered a clock of the CPU or a GPU; a power cap "
            "does not count, as cards reach it whenever they work hard",
            ("throttling", "gpu", "raspberry"),
        ),
    )
}
"""Every reason code, where it begins and why there."""


def slows_cpu(code: str) -> bool:
    """Whether what a code stands for makes the CPU time of the same work longer, as far as is known."""
    return code not in BOUNDS or BOUNDS[code].slows_cpu


PRESSURE_NEEDS = 0.05
"""Cores that others must use before CPU pressure is theirs."""


def assess(samples: Sequence[Sample], start_ns: int, end_ns: int, cores: Sequence[int]) -> Assessment:
    """Judge the span from *start_ns* to *end_ns* by the samples around it.

    :param samples: ordered in time; :param cores: those that our processes may run on.
    """
    measures: dict[str, Callable[[Sequence[Sample]], float | None]] = {
        "foreign_cpu": lambda part: others_cpu(part, cores, MIN_SPAN),
        "steal": steal,
        "cpu_pressure": lambda part: _rate(part, "cpu_pressure_time"),
        "memory_pressure": lambda part: _rate(part, "memory_pressure_time"),
        "swap": _swapped,
        "foreign_gpu": foreign_gpu,
        "throttled": throttled,
    }
    if not samples:
        return Assessment((), dict.fromkeys(measures), 0.0)
    part = _widened(samples, *span(samples, start_ns, end_ns))
    seconds = (part[-1]["t"] - part[0]["t"]) * NANO
    figures = {code: measure(part) for code, measure in measures.items()}
    pieces = _pieces(part)
    codes = [code for code, measure in measures.items() if _beyond(code, measure, part, pieces, cores)]
    return Assessment(tuple(codes), figures, seconds)


def gap(samples: Sequence[Sample], start_ns: int, end_ns: int, allowed: float) -> str | None:
    """What of the span the samples do not cover, in words; None if they cover it.

    :param allowed: seconds from one sample to the next.
    """
    if not samples or samples[-1]["t"] <= start_ns:
        return "nothing was read in that time"
    first, last = span(samples, start_ns, end_ns)
    if samples[first]["t"] > start_ns:
        return f"nothing was read in the first {(samples[first]['t'] - start_ns) * NANO:.3g} s"
    if samples[last]["t"] < end_ns:
        return f"nothing was read in the last {(end_ns - samples[last]['t']) * NANO:.3g} s"
    between = [(b["t"] - a["t"]) * NANO for a, b in pairwise(samples[first : last + 1])]
    longest = max(between, default=0.0)
    return f"nothing was read for {longest:.3g} s" if longest > allowed else None


def _beyond(
    code: str,
    measure: Callable[[Sequence[Sample]], float | None],
    part: Sequence[Sample],
    pieces: Sequence[Sequence[Sample]],
    cores: Sequence[int],
) -> bool:
    mean, burst = BOUNDS[code].mean, BOUNDS[code].burst
    if code == "foreign_cpu":
        mean, burst = max(mean, 0.02 * len(cores)), max(burst, 0.1 * len(cores))

    def over(samples: Sequence[Sample], bound: float) -> bool:
        value = measure(samples)
        if value is None or value <= bound:
            return False
        return code != "cpu_pressure" or (others_cpu(samples, cores, MIN_SPAN) or 0.0) >= PRESSURE_NEEDS

    return over(part, mean) or any(over(piece, burst) for piece in pieces)


def _widened(samples: Sequence[Sample], first: int, last: int) -> Sequence[Sample]:
    """The samples from *first* to *last*, with neighbors until they span :data:`MIN_SPAN`."""
    while (samples[last]["t"] - samples[first]["t"]) * NANO < MIN_SPAN:
        if first == 0 and last == len(samples) - 1:
            break
        first, last = max(first - 1, 0), min(last + 1, len(samples) - 1)
    return samples[first : last + 1]


def _pieces(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """Consecutive parts of at least :data:`MIN_SPAN`; what is left over is not a part."""
    parts, begin = [], 0
    for at in range(len(samples)):
        if (samples[at]["t"] - samples[begin]["t"]) * NANO >= MIN_SPAN:
            parts.append(samples[begin : at + 1])
            begin = at
    return parts


def _rate(samples: Sequence[Sample], name: str) -> float | None:
    change = grown(samples, name)
    return change[0] / max(change[1], MIN_SPAN) if change is not None else None


def steal(samples: Sequence[Sample]) -> float | None:
    """Share of the CPU time that this machine wanted and the hypervisor gave to others.

    Wanted is at least one core: a single tick stolen from an idle machine does not disturb.
    """
    stolen = grown(samples, "steal_time")
    if stolen is None:
        return None
    busy = [grown(samples, name) for name in samples[0] if name.startswith(CPU_TIME)]
    wanted = sum(value[0] for value in busy if value is not None) + stolen[0]
    return stolen[0] / max(wanted, stolen[1], MIN_SPAN)


def _swapped(samples: Sequence[Sample]) -> float | None:
    ways = [_rate(samples, "swap_in_bytes"), _rate(samples, "swap_out_bytes")]
    known = [rate for rate in ways if rate is not None]
    return sum(known) if known else None


def foreign_gpu(samples: Sequence[Sample]) -> float | None:
    """The largest share that a foreign process took of a GPU, percent.

    100 where there is such a process and the driver does not report its share.
    """
    shares: list[float] = []
    for sample in samples:
        for name, count in sample.items():
            if name.endswith("_foreign_processes"):
                share = sample.get(name.replace("_processes", "_utilization"), 100.0)
                shares.append(share if count else 0.0)
    return max(shares, default=None)


def throttled(samples: Sequence[Sample]) -> float | None:
    """Throttling events of the CPU, plus one for each GPU or Raspberry Pi that was held back."""
    names = {name for sample in samples for name in sample}
    events: list[float] = []
    if (counted := grown(samples, "throttle_count")) is not None:
        events.append(counted[0])
    events += [
        float(bool(bits_over(samples, name) & THROTTLING))
        for name in names
        if name.endswith("_event_reasons")
    ]
    if "pi_throttled" in names:
        readings = [int(s["pi_throttled"]) for s in samples if "pi_throttled" in s]
        events.append(float(bool(reasons_between(readings[0], *readings))))
    return sum(events) if events else None

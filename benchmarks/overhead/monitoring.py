"""What does the hardware monitor cost the engine, and what does it take itself?"""

from __future__ import annotations

import statistics
import time

from engines import LARGE, bench, decode_speed
from pairs import SETTLE, Bound, Measured, NotMeasuredError, Row, alternate, ratios

from pytest_llmbench.hardware.monitor import HardwareMonitor
from pytest_llmbench.measure.loop import Bench

_RATE = 10.0
_SPAN = 2.0


def _watched(ours: Bench) -> float:
    """The decode speed of a round that is watched as the plugin does it."""
    with HardwareMonitor(_RATE) as monitor:
        # This is answered when the sampler has started and read its probes once.
        monitor.follow(ours.record.pid)
        time.sleep(2 / _RATE)
        ours.monitor = monitor
        try:
            measured, _ = ours.round()
        finally:
            ours.monitor = None
        times = measured.timeline
        if not monitor.summary(times.sent, times.done).samples:
            why = monitor.unavailable.get("sampler", "the round was shorter than a beat")
            msg = f"the monitor took no sample in a round: {why}"
            raise NotMeasuredError(msg)
    return decode_speed(measured)


def _unwatched(ours: Bench) -> float:
    time.sleep(2 / _RATE)
    return decode_speed(ours.round()[0])


def _slowdown(pairs: int) -> Measured:
    with bench("llamacpp", LARGE, "f16", 48) as ours:
        return ratios(alternate(pairs, lambda: _watched(ours), lambda: _unwatched(ours)), "tokens/s")


def _sampler(spans: int) -> Measured:
    """Percent of one core, one value for each span of rounds, edges and summaries included."""
    values = []
    with bench("llamacpp", LARGE, "f16", 16) as ours, HardwareMonitor(_RATE) as monitor:
        monitor.follow(ours.record.pid)
        ours.monitor = monitor
        ours.round()
        for _ in range(spans):
            time.sleep(SETTLE)
            began, before = time.perf_counter(), _cpu(monitor)
            while time.perf_counter() < began + _SPAN:
                ours.round()
            values.append(100 * (_cpu(monitor) - before) / (time.perf_counter() - began))
    return Measured(values, {"sampler, % of one core": statistics.fmean(values)})


def _cpu(monitor: HardwareMonitor) -> float:
    """Seconds of CPU time that the sampler process has used, as its own kernel clock says."""
    now = monitor.edge().time_ns
    used = monitor.summary(now, now).sampler_cpu
    if used is None:
        msg = f"the sampler does not run: {monitor.unavailable.get('sampler')}"
        raise NotMeasuredError(msg)
    return float(used)


ROWS = (
    Row(
        "monitor",
        "decode speed with the monitor at 10 Hz / without",
        Bound(at_least=0.99),
        32,
        _slowdown,
    ),
    Row("sampler", "the sampler's own CPU at 10 Hz, of one core", Bound(at_most=1.0), 10, _sampler, "%"),
)

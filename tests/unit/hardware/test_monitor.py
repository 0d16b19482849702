"""The monitor with a real sampler process that watches real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict

import psutil
import pytest

from pytest_llmbench.hardware.monitor import Edge, HardwareMonitor
from tests.waiting import until

MIB = 2**20
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="uses signals and orphans")


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[str]]:
    """A child that prints a line when it is ready and ends when its input does."""
    command = [sys.executable, "-c", f"import sys, os, time, threading\n{code}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


SPIN = """
def go():
    while True: pass
threading.Thread(target=go, daemon=True).start()
print(os.getpid(), flush=True); sys.stdin.read()
"""
ALLOCATE = """
print(flush=True); sys.stdin.readline()
a = bytearray(100 << 20); del a
print(flush=True); sys.stdin.read()
"""
Run = Callable[[str], AbstractContextManager["subprocess.Popen[str]"]]


@pytest.fixture
def monitor() -> Iterator[HardwareMonitor]:
    with HardwareMonitor(50.0) as made:
        yield made


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def own_cpu(monitor: HardwareMonitor, start: Edge) -> float:
    """Busy cores of ours since *start*, as far as there are samples."""
    values = monitor.summary(start.time_ns, monitor.edge().time_ns).values
    return float(values.get("own_cpu", {}).get("mean") or 0.0)


def test_memory_that_a_child_held_between_two_samples_shows_in_its_peak() -> None:
    with HardwareMonitor(0.01) as monitor, running(ALLOCATE) as child:
        monitor.begin()
        first_line(child)
        monitor.follow(child.pid)
        before = monitor.peak_rss
        assert before is not None
        assert before < 100 * MIB
        start = monitor.edge()
        say(child, "\n")
        first_line(child)
        peak = monitor.peak_rss
        assert peak is not None
        assert peak >= 100 * MIB
        assert monitor.peak_rss_of(child.pid) == peak
        summary = monitor.summary(start.time_ns, monitor.edge().time_ns)
        assert summary.peak_rss == peak
        assert summary.methods["peak_rss"] == "kernel_high_water"
        monitor.unfollow(child.pid)
        assert monitor.peak_rss == peak
        assert monitor.peak_rss_of(child.pid) == peak


def test_the_peak_of_an_earlier_test_is_forgotten(monitor: HardwareMonitor) -> None:
    with running(ALLOCATE) as child:
        first_line(child)
        monitor.follow(child.pid)
        say(child, "\n")
        first_line(child)
        assert (monitor.peak_rss or 0) >= 100 * MIB
        monitor.begin()
        assert 0 < (monitor.peak_rss or 0) < 100 * MIB


def test_a_spinning_process_of_others_is_a_disturbance(monitor: HardwareMonitor) -> None:
    with running(SPIN) as spinner:
        first_line(spinner)
        start = monitor.edge()
        until(lambda: "foreign_cpu" in monitor.disturbance(start.time_ns, monitor.edge().time_ns))
        end = monitor.edge()
        summary = monitor.summary(start.time_ns, end.time_ns)
    assert "foreign_cpu" in summary.disturbance.codes
    assert (summary.disturbance.figures["foreign_cpu"] or 0.0) > 0.15
    json.dumps(asdict(summary))


def test_a_spinning_engine_is_our_own_load(monitor: HardwareMonitor) -> None:
    with running(SPIN) as engine:
        first_line(engine)
        monitor.follow(engine.pid)
        start = monitor.edge()
        until(lambda: own_cpu(monitor, start) > 0.1)


def test_own_pids_are_no_others() -> None:
    with running(SPIN) as helper:
        first_line(helper)
        with HardwareMonitor(50.0, own_pids=[helper.pid]) as monitor:
            start = monitor.edge()
            until(lambda: own_cpu(monitor, start) > 0.1)
            summary = monitor.summary(start.time_ns, monitor.edge().time_ns)
    assert summary.peak_rss is None


def test_a_window_has_a_summary_and_the_samples_are_a_table(monitor: HardwareMonitor) -> None:
    monitor.begin()
    with monitor.window("part") as window:
        assert window.summary is None
        until(lambda: len(monitor.samples) > 5)
    assert monitor.windows["part"] is window
    assert window.summary.samples >= 1
    assert window.summary.rate == 50.0
    assert window.summary.sampler_cpu > 0
    assert set(window.summary.values["cpu_percent"]) == {"mean", "max"}
    table = monitor.samples
    assert list(table["time"]) == sorted(table["time"])
    assert table["time"].iloc[0] >= 0
    assert {"cpu_percent", "cpu_percent_core0"} <= set(table.columns)
    monitor.begin()
    assert monitor.windows == {}
    assert len(monitor.samples) < len(table)


def test_a_window_is_summed_up_though_its_body_raises(monitor: HardwareMonitor) -> None:
    with pytest.raises(RuntimeError), monitor.window("part"):
        raise RuntimeError
    assert monitor.windows["part"].summary.duration > 0


def test_a_span_without_a_beat_takes_the_nearest() -> None:
    with HardwareMonitor(2.0) as monitor:
        until(lambda: len(monitor.samples) > 2)
        start, end = monitor.edge(), monitor.edge()
        summary = monitor.summary(start.time_ns, end.time_ns)
    assert summary.samples in (0, 1)
    assert "memory_used" in summary.values or "cpu_percent" in summary.values


def test_what_cannot_be_read_is_null_with_a_reason(monitor: HardwareMonitor) -> None:
    start, end = monitor.edge(), monitor.edge()
    energy = monitor.energy(start, end)
    if energy.joules is None:
        assert energy.method is None
        assert energy.reason
    if monitor.peak_vram is None:
        assert "gpu" in monitor.unavailable
    assert monitor.peak_rss is None


def test_edges_use_the_clock_of_the_timelines(monitor: HardwareMonitor) -> None:
    before = time.perf_counter_ns()
    edge = monitor.edge()
    assert before <= edge.time_ns <= time.perf_counter_ns()


def sampler_of(monitor: HardwareMonitor) -> psutil.Process:
    assert monitor._process is not None
    return psutil.Process(monitor._process.pid)


def test_measuring_goes_on_when_the_sampler_dies(monitor: HardwareMonitor) -> None:
    start = monitor.edge()
    sampler_of(monitor).kill()
    end = monitor.edge()
    assert end.time_ns > start.time_ns
    monitor.follow(os.getpid())
    monitor.begin()
    assert "ended by itself" in monitor.unavailable["sampler"]
    summary = monitor.summary(start.time_ns, end.time_ns)
    assert "sampler" in summary.unavailable
    assert summary.energy.joules is None
    assert monitor.disturbance(start.time_ns, end.time_ns) is None
    assert "ended by itself" in (monitor.unwatched(start.time_ns, end.time_ns) or "")
    assert summary.disturbance.codes is None
    assert "ended by itself" in summary.disturbance.unknown
    assert monitor.samples.empty
    monitor.stop()


def test_a_span_before_the_sampler_died_was_watched_and_one_across_it_was_not(
    monitor: HardwareMonitor,
) -> None:
    start, end = monitor.edge(), monitor.edge()
    sampler_of(monitor).kill()
    later = monitor.edge()
    assert monitor.unwatched(start.time_ns, end.time_ns) is None
    assert monitor.unwatched(start.time_ns, later.time_ns) is not None


def test_samples_that_were_let_go_are_not_said_to_be_late(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.hardware.monitor.MAX_SAMPLES", 10)
    start = monitor.edge()
    while monitor._samples[0]["t"] <= start.time_ns:
        end = monitor.edge()
    told = monitor.unwatched(start.time_ns, end.time_ns)
    assert told == "10 samples are kept, and older ones were dropped; lower --llm-monitor-rate"


def test_a_sampler_that_was_stopped_for_a_while_has_not_watched_meanwhile(
    monitor: HardwareMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmbench.hardware.monitor.MAX_GAP", 0.2)
    start = monitor.edge()
    sampler = sampler_of(monitor)
    sampler.suspend()
    until(lambda: time.perf_counter_ns() > start.time_ns + 500_000_000)
    sampler.resume()
    end = monitor.edge()
    assert "nothing was read for" in (monitor.unwatched(start.time_ns, end.time_ns) or "")


def test_a_monitor_starts_again_after_a_stop(monitor: HardwareMonitor) -> None:
    monitor.start()
    first = sampler_of(monitor)
    monitor.start()
    assert sampler_of(monitor) == first
    monitor.stop()
    monitor.stop()
    assert not first.is_running()
    monitor.start()
    assert monitor.edge().time_ns > 0
    assert sampler_of(monitor) != first
    assert "sampler" not in monitor.unavailable


def test_a_monitor_that_was_never_started_says_nothing() -> None:
    monitor = HardwareMonitor()
    start, end = monitor.edge(), monitor.edge()
    assert monitor.disturbance(start.time_ns, end.time_ns) is None
    assert monitor.summary(start.time_ns, end.time_ns).values == {}
    assert monitor.peak_rss is None
    assert monitor.samples.empty


@pytest.mark.parametrize("rate", [0.0, -1.0])
def test_a_rate_that_is_not_above_zero_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        HardwareMonitor(rate)


PARENT = """
from pytest_llmbench.hardware.monitor import Edge, HardwareMonitor
m = HardwareMonitor(); m.start(); m.edge(); print(m._process.pid, flush=True); {after}
"""


@pytest.mark.parametrize(
    ("after", "forked"),
    [("time.sleep(600)", 0), ("os.fork() or time.sleep(30); time.sleep(600)", 1)],
    ids=["alone", "with a child that holds the pipe"],
)
def test_the_sampler_ends_when_its_parent_is_killed(after: str, forked: int) -> None:
    with running(PARENT.format(after=after)) as parent:
        sampler = psutil.Process(int(first_line(parent)))
        # The child comes after the line, and holds this test's pipe as well until it is killed.
        # Beside it there is the guard, which ends by itself.
        until(lambda: len(psutil.Process(parent.pid).children()) == 2 + forked)
        children = [c for c in psutil.Process(parent.pid).children() if c != sampler]
        parent.send_signal(signal.SIGKILL)
        until(lambda: not sampler.is_running())
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def test_the_sampler_ends_when_its_parent_ends_without_a_stop() -> None:
    with running(PARENT.format(after="")) as parent:
        sampler = psutil.Process(int(first_line(parent)))
        until(lambda: not sampler.is_running())


def test_ctrl_c_does_not_reach_the_sampler(monitor: HardwareMonitor) -> None:
    monitor.edge()
    sampler = sampler_of(monitor)
    assert os.getpgid(sampler.pid) != os.getpgid(os.getpid())
    sampler.send_signal(signal.SIGINT)
    monitor.edge()
    assert "sampler" not in monitor.unavailable
